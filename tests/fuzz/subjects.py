"""What is fuzzed: for each kind of file small good ones, and what reads them. `SUBJECTS` is the table."""

from __future__ import annotations

import base64
import functools
import io
import json
import random
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mutations import BYTES, JSON, TEXT, Mutation
from PIL import Image
from sections import reader_of

from mobilenet_tf import config, workflow
from mobilenet_tf.data import images
from mobilenet_tf.data.source import Source, user_errors
from mobilenet_tf.foreign.declaration import Declaration
from mobilenet_tf.inference.keras_loading import load_keras
from mobilenet_tf.utils.errors import UserError

STORED = Path(__file__).parents[1] / "stored" / "0.1.0.zip"  # runs and files of all tasks
SPLITS = ("train", "validation")


@dataclass(frozen=True)
class Subject:
    """One kind of file.

    build: (empty folder) -> the files to damage, one at a time.
    read: (that folder) reads all that is in it, or raises UserError.
    """

    build: Callable[[Path], list[Path]]
    read: Callable[[Path], object]
    mutations: list[Mutation]
    count: int  # of mutations in one run of the tests


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (24, 20), mode: str = "RGB", **options) -> Path:
    """A small image of noise, in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, **options)
    return path


def write(path: Path, text: str) -> Path:
    """A text file, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def load(source: Source) -> None:
    """Loads every sample, as training would."""
    with user_errors():
        for _ in source.items.map(source.load):
            pass


def read_all(task: str, reader: str, root: str = ".", **keys) -> Callable[[Path], None]:
    """A function that reads the train and the validation split of the files in a folder."""

    def read(folder: Path) -> None:
        values = {key: folder / value if isinstance(value, Path) else value for key, value in keys.items()}
        for split in SPLITS:
            load(reader_of(task)(reader, folder / root, split, size=32, **values))

    return read


# Images


def image_files(folder: Path) -> list[Path]:
    """An image of every format and of unusual modes, for a classifier."""
    kinds = {"a.jpg": {}, "b.png": {"mode": "RGBA"}, "c.bmp": {}, "d.gif": {"mode": "P"}, "e.webp": {}, "f.tif": {},
             "g.png": {"mode": "P"}, "h.jpg": {"progressive": True, "quality": 90}, "i.jpg": {"mode": "CMYK"},
             "j.png": {"mode": "I;16"}, "k.tif": {"mode": "L", "compression": "tiff_lzw"}}  # fmt: skip
    files = [picture(folder / "cat" / name, i, **options) for i, (name, options) in enumerate(kinds.items())]
    for i in range(3):
        picture(folder / "dog" / f"{i}.jpg", i)
    return files


def read_images(folder: Path) -> None:
    """As `predict` and as training read them."""
    for path in sorted((folder / "cat").iterdir()):
        with suppress(UserError):
            images.read(path)
    read_all("classification", "folder")(folder)


def image_set(folder: Path, count: int = 6) -> list[str]:
    """Names of images in the folder images/."""
    return [picture(folder / "images" / f"{i}.png", i).relative_to(folder).as_posix() for i in range(count)]


# Tables and lists


def classification_csv(folder: Path) -> list[Path]:
    """A table and a label file."""
    rows = [
        f"{name},{'cat' if i % 2 else 'dog'},{'train' if i < 4 else 'val'}" for i, name in enumerate(image_set(folder))
    ]
    table = write(folder / "t.csv", "\n".join(["path,label,split", *rows, ""]))
    return [table, write(folder / "classes.txt", "dog\ncat\n")]


def attributes_csv(folder: Path) -> list[Path]:
    """A table of two attributes."""
    rows = [f"{name},{i % 2},{['1', '0', ''][i % 3]}" for i, name in enumerate(image_set(folder))]
    return [write(folder / "t.csv", "\n".join(["path,Bald,Young", *rows, ""]))]


def celeba(folder: Path) -> list[Path]:
    """CelebA's two lists, and its archive."""
    names = [f"{i:06}.jpg" for i in range(6)]
    rows = [f"{name} {1 - 2 * (i % 2)} {2 * (i % 2) - 1}" for i, name in enumerate(names)]
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for i, name in enumerate(names):
            archive.write(picture(folder / "drawn" / name, i), f"img_align_celeba/{name}")
    return [
        write(folder / "list_attr_celeba.txt", "\n".join(["6", "Bald Young", *rows, ""])),
        write(folder / "list_eval_partition.txt", "".join(f"{name} {i // 4}\n" for i, name in enumerate(names))),
        folder / "img_align_celeba.zip",
    ]


def faces(folder: Path) -> list[Path]:
    """LFW's list of pairs, and one as CSV."""
    names = [f"{person}/{person}_{i:04}.png" for person in ("Ann", "Bob") for i in (1, 2, 3)]
    for i, name in enumerate(names):
        picture(folder / "faces" / name, i)
    lfw = ["1\t2", "Ann\t1\t2", "Bob\t1\t3", "Ann\t1\tBob\t1", "Ann\t2\tBob\t3"]
    table = ["a,b,same", f"faces/{names[0]},faces/{names[1]},1", f"faces/{names[0]},faces/{names[4]},0"]
    return [write(folder / "pairs.txt", "\n".join(lfw)), write(folder / "pairs.csv", "\n".join(table))]


def read_faces(folder: Path) -> None:
    """With both lists of pairs."""
    for name in ("pairs.txt", "pairs.csv"):
        with suppress(UserError):
            reader_of("embedding")("folder", folder / "faces", "test", pairs=folder / name)


def split_lists(folder: Path) -> list[Path]:
    """The lists of a run's splits, and a table of the images in them."""
    names = image_set(folder)
    rows = [f"{name},{'cat' if i % 2 else 'dog'}" for i, name in enumerate(names)]
    write(folder / "t.csv", "\n".join(["path,label", *rows, ""]))
    lists = {"train": names[:4], "validation": names[4:5], "test": names[5:]}
    return [write(folder / "splits.json", json.dumps(lists, indent=0))]


# Boxes


def coco(folder: Path, **more) -> list[Path]:
    """COCO's JSON with boxes, polygons, run lengths and a crowd."""
    names = image_set(folder)
    box = {"bbox": [2, 3, 10, 12], "area": 120, "iscrowd": 0, "segmentation": [[2, 3, 12, 3, 12, 15, 2, 15]]}
    entries = [{"id": i + 1, "image_id": i, "category_id": 1 + i % 2, **box} for i in range(len(names))]
    entries[1] |= {"iscrowd": 1, "segmentation": {"size": [24, 20], "counts": [100, 50, 330]}}
    content = {
        "images": [{"id": i, "file_name": name, "height": 24, "width": 20} for i, name in enumerate(names)],
        "annotations": entries,
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    return [write(folder / "a.json", json.dumps(content))]


COCO = {"annotations": {"train": "a.json"}, "images": {"train": "."}}


def voc(folder: Path) -> list[Path]:
    """A folder in the layout of Pascal VOC."""
    files = []
    for i in range(6):
        picture(folder / "JPEGImages" / f"{i}.jpg", i)
        body = f"<filename>{i}.jpg</filename><size><width>20</width><height>24</height><depth>3</depth></size>"
        corners = "<xmin>2</xmin><ymin>3</ymin><xmax>12</xmax><ymax>15</ymax>"
        name = "cat" if i % 2 else "dog"
        found = f"<object><name>{name}</name><difficult>0</difficult><bndbox>{corners}</bndbox></object>"
        files.append(write(folder / "Annotations" / f"{i}.xml", f"<annotation>{body}{found}</annotation>"))
    main = folder / "ImageSets" / "Main"
    return [*files[:2], write(main / "train.txt", "0\n1\n2\n3\n"), write(main / "val.txt", "4\n5\n")]


def yolo(folder: Path) -> list[Path]:
    """A folder in the layout of YOLO."""
    labels = []
    for i in range(6):
        part = "train" if i < 4 else "val"
        picture(folder / "images" / part / f"{i}.jpg", i)
        line = f"{i % 2} 0.5 0.5 0.4 0.5\n{i % 2} 0.1 0.1 0.6 0.1 0.6 0.6\n"
        labels.append(write(folder / "labels" / part / f"{i}.txt", line))
    table = "path: .\ntrain: images/train\nval: images/val\nnames: [cat, dog]\n"
    return [write(folder / "data.yaml", table), *labels[:2]]


def labelme(folder: Path) -> list[Path]:
    """labelme's files of every kind of shape, beside their images."""
    files = []
    for i in range(6):
        name = picture(folder / f"{i}.png", i).name
        points = {"polygon": [[2, 3], [12, 3], [12, 15]], "rectangle": [[2, 3], [9, 9]], "circle": [[8, 8], [8, 12]]}
        shapes = [
            {"label": "cat" if i % 2 else "dog", "shape_type": kind, "points": where, "group_id": None, "flags": {}}
            for kind, where in points.items()
        ]
        shapes.append({"label": "cat", "shape_type": "mask", "points": [[2, 2], [9, 9]], "mask": painted_png(8)})
        content = {"version": "5.4.1", "imagePath": name, "imageHeight": 24, "imageWidth": 20, "shapes": shapes}
        files.append(write(folder / f"{i}.json", json.dumps(content)))
    return files[:2]


def painted_png(side: int) -> str:
    """A mask as labelme keeps it inside its JSON."""
    file = io.BytesIO()
    Image.fromarray(np.tri(side, dtype=np.uint8) * 255).convert("1").save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


# A brush stroke in 24 x 20 pixels of four channels: 1,000 values of 0, and 920 of 255
STROKE = [0, 0, 7, 128, 57, 27, 255, 3, 231, 0, 224, 114, 255, 224]


def label_studio(folder: Path) -> list[Path]:
    """Label Studio's JSON of every kind of region."""
    size = {"original_width": 20, "original_height": 24, "image_rotation": 0}
    kinds = {
        "rectangle": {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 5},
        "polygon": {"points": [[10, 10], [60, 10], [60, 70]]},
        "ellipse": {"x": 50, "y": 50, "radiusX": 20, "radiusY": 10, "rotation": 30},
        "brush": {"format": "rle", "rle": STROKE},
    }
    tasks = []
    for i, name in enumerate(image_set(folder)):
        regions = [
            {"type": f"{kind}labels", "value": {**where, f"{kind}labels": ["cat" if i % 2 else "dog"]}, **size}
            for kind, where in kinds.items()
        ]
        url = f"/data/upload/1/0a1b2c3d-{Path(name).name}"
        tasks.append({"id": i, "data": {"image": url}, "annotations": [{"was_cancelled": False, "result": regions}]})
    return [write(folder / "export.json", json.dumps(tasks))]


def openimages(folder: Path) -> list[Path]:
    """Open Images' two tables."""
    rows = [
        f"{Path(name).stem},xclick,/m/0{i % 2},1,0.1,0.6,0.2,0.7,0,0,{i % 2},0,0"
        for i, name in enumerate(image_set(folder))
    ]
    head = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,Inside"
    return [
        write(folder / "train-annotations-bbox.csv", "\n".join([head, *rows, ""])),
        write(folder / "class-descriptions-boxable.csv", "/m/00,Cat\n/m/01,Guide dog\n"),
    ]


# Masks


def masks(folder: Path) -> list[Path]:
    """Images and masks in two folders, with a label file."""
    files = []
    for i in range(6):
        picture(folder / "images" / f"{i}.jpg", i)
        values = np.random.default_rng(i).integers(0, 3, (24, 20), np.uint8)
        mask = Image.fromarray(values).convert("L")
        if i == 1:
            mask = mask.convert("P")
        (folder / "masks").mkdir(exist_ok=True)
        mask.save(folder / "masks" / f"{i}.png")
        files.append(folder / "masks" / f"{i}.png")
    return [*files[:2], write(folder / "classes.txt", "sky\ncat\ndog\n")]


def color_masks(folder: Path) -> list[Path]:
    """Color masks with their table."""
    colors = np.array([[0, 0, 0], [255, 0, 0]], np.uint8)
    for i in range(6):
        picture(folder / "images" / f"{i}.jpg", i)
        (folder / "masks").mkdir(exist_ok=True)
        Image.fromarray(colors[np.random.default_rng(i).integers(0, 2, (24, 20))]).save(folder / "masks" / f"{i}.png")
    return [write(folder / "colors.csv", "red,green,blue,name\n0,0,0,sky\n255,0,0,cat\n"), folder / "masks" / "0.png"]


# Configs and model files


def config_file(folder: Path) -> list[Path]:
    """A shipped config."""
    return [write(folder / "mine.yaml", config.find("demo").read_text(encoding="utf-8"))]


def stored(*names: str) -> Callable[[Path], list[Path]]:
    """Files out of the runs of an earlier version."""

    def build(folder: Path) -> list[Path]:
        with zipfile.ZipFile(STORED) as archive:
            for name in names:
                archive.extract(name, folder)
        return [folder / name for name in names]

    return build


def open_models(folder: Path) -> None:
    """Inspects and runs every model file in the folder."""
    picture(folder / "image.png")
    for path in sorted([*folder.rglob("model*.*"), *folder.rglob("saved_model")]):
        for use in (workflow.inspect_model, lambda file: workflow.predict_files(file, [str(folder / "image.png")])):
            with suppress(UserError):
                use(path)


def restore(folder: Path) -> None:
    """Reads what a run would continue from."""
    from mobilenet_tf.training.state import Progress

    config.load(folder / "interrupted" / "config.yaml")
    Progress.load(folder / "interrupted" / "checkpoints" / "last.npz")


def weight_files(folder: Path) -> list[Path]:
    """A small backbone in each of Keras's files."""
    for name in ("a.weights.h5", "b.h5"):
        _backbone().save_weights(folder / name) if "weights" in name else _backbone().save(folder / name)
    return [folder / "a.weights.h5", folder / "b.h5"]


@functools.cache
def _backbone():
    import mobilenet_tf

    return mobilenet_tf.MobileNetV1((32, 32, 3), alpha=0.05, weights=None, include_top=False)


def read_weights(folder: Path) -> None:
    """Loads each of the files into the backbone."""
    from mobilenet_tf.models.weights import load

    for path in sorted(folder.iterdir()):
        with suppress(UserError):
            load(_backbone(), path, net="mobilenet_v1", alpha=0.05)


def keras2_config(folder: Path) -> list[Path]:
    """The config of a model as Keras 2 stores it: a nested network, preprocessing and a classifier."""
    image = {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 8, 8, 3], "name": "image"}}
    inner = [
        {**image, "name": "image", "inbound_nodes": []},
        _layer("DepthwiseConv2D", "block/depthwise", "image", kernel_size=[3, 3], groups=1),
        _layer("BatchNormalization", "block/BatchNorm", "block/depthwise", axis=[3]),
    ]
    net = _functional("net", inner, "block/BatchNorm", 0)
    scaled = {"class_name": "TFOpLambda", "config": {"name": "scaled", "function": "math.truediv"}, "name": "scaled"}
    outer = [
        {**image, "name": "image", "inbound_nodes": []},
        {**scaled, "inbound_nodes": [["image", 0, 0, {"y": 127.5, "name": None}]]},
        {**net, "name": "net", "inbound_nodes": [[["scaled", 0, 0, {}]]]},
        _layer("GlobalAveragePooling2D", "pool", "net", call=1),
        _layer("Dense", "dense", "pool", units=3, activation="softmax"),
    ]
    return [write(folder / "config.json", json.dumps(_functional("model", outer, "dense", 0)))]


def _layer(kind: str, name: str, before: str, call: int = 0, **options) -> dict:
    inbound = [[[before, call, 0, {}]]]
    return {"class_name": kind, "config": {"name": name, **options}, "name": name, "inbound_nodes": inbound}


def _functional(name: str, layers: list[dict], last: str, call: int) -> dict:
    ends = {"input_layers": [["image", 0, 0]], "output_layers": [[last, call, 0]]}
    return {"class_name": "Functional", "config": {"name": name, "layers": layers, **ends}}


def open_keras2(folder: Path) -> None:
    """Loads a whole model with the config; its weights are none, so that Keras refuses what it has built."""
    import h5py

    with h5py.File(folder / "model.h5", "w") as file:
        file.attrs["keras_version"] = "2.4.0"
        file.attrs["model_config"] = (folder / "config.json").read_bytes().replace(b"\0", b" ")  # h5py writes none
        file.create_group("model_weights").attrs["layer_names"] = []
    with suppress(UserError):
        load_keras(folder / "model.h5")


def class_lists(folder: Path) -> list[Path]:
    """Class names as people list them for models of others."""
    write(folder / "labels.txt", "0 cat\n1 dog\n2 bird\n")
    categories = [{"id": 1, "name": "cat"}, {"id": 3, "name": "dog"}]
    return [folder / "labels.txt", write(folder / "coco.json", json.dumps({"categories": categories}))]


def read_class_lists(folder: Path) -> None:
    """Reads each list."""
    for name in ("labels.txt", "coco.json"):
        with suppress(UserError):
            Declaration(classes=folder / name).class_names(3)


def foreign_tflite(folder: Path) -> list[Path]:
    """A file without metadata of this package."""
    [path] = stored(f"{CLASSIFICATION}.tflite")(folder)
    with zipfile.ZipFile(path) as archive:
        content = path.read_bytes()[: min(entry.header_offset for entry in archive.infolist())]
    (folder / "net.tflite").write_bytes(content)
    return [folder / "net.tflite"]


def open_foreign(folder: Path) -> None:
    """Predicts with what is said of the file."""
    said = Declaration(classes="numbered", input_range="0..255", ends_in="softmax")
    with suppress(UserError):
        workflow.predict_files(folder / "net.tflite", [str(picture(folder / "image.png"))], declaration=said)


CLASSIFICATION = "classification/exports/model"
SAVED_MODEL = "classification/exports/saved_model"
SAVED_MODEL_FILES = ("saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001",
                     "assets.extra/mobilenet_tf.json")  # fmt: skip

SUBJECTS = {
    "images": Subject(image_files, read_images, BYTES, 700),
    "classification_csv": Subject(
        classification_csv, read_all("classification", "csv", "t.csv", classes=Path("classes.txt")), TEXT, 350
    ),
    "split_lists": Subject(
        split_lists, read_all("classification", "csv", "t.csv", split_file=Path("splits.json")), JSON, 150
    ),
    "attributes_csv": Subject(attributes_csv, read_all("attributes", "csv", "t.csv"), TEXT, 250),
    "celeba": Subject(celeba, read_all("attributes", "celeba"), TEXT, 300),
    "pairs": Subject(faces, read_faces, TEXT, 250),
    "coco_boxes": Subject(coco, read_all("detection", "coco", **COCO), JSON, 600),
    "voc_boxes": Subject(voc, read_all("detection", "voc"), TEXT, 400),
    "yolo_boxes": Subject(yolo, read_all("detection", "yolo", "data.yaml"), TEXT, 400),
    "labelme_boxes": Subject(labelme, read_all("detection", "labelme"), JSON, 250),
    "label_studio_boxes": Subject(label_studio, read_all("detection", "label_studio"), JSON, 250),
    "openimages": Subject(openimages, read_all("detection", "openimages"), TEXT, 250),
    "coco_masks": Subject(coco, read_all("segmentation", "coco", **COCO), JSON, 500),
    "labelme_masks": Subject(labelme, read_all("segmentation", "labelme"), JSON, 250),
    "label_studio_masks": Subject(label_studio, read_all("segmentation", "label_studio"), JSON, 250),
    "masks": Subject(masks, read_all("segmentation", "folder", classes=Path("classes.txt")), TEXT, 400),
    "color_masks": Subject(color_masks, read_all("segmentation", "folder", mask_colors=Path("colors.csv")), TEXT, 250),
    "config": Subject(config_file, lambda folder: config.load(folder / "mine.yaml"), TEXT, 700),
    "tflite": Subject(stored(f"{CLASSIFICATION}.tflite"), open_models, BYTES, 120),
    "int8_tflite": Subject(stored(f"{CLASSIFICATION}_int8.tflite"), open_models, BYTES, 60),
    "onnx": Subject(stored(f"{CLASSIFICATION}.onnx"), open_models, BYTES, 120),
    "keras": Subject(stored("classification/model.keras"), open_models, BYTES, 60),
    "saved_model": Subject(stored(*(f"{SAVED_MODEL}/{name}" for name in SAVED_MODEL_FILES)), open_models, BYTES, 30),
    "keras2": Subject(keras2_config, open_keras2, JSON, 80),
    "class_lists": Subject(class_lists, read_class_lists, [*TEXT, *JSON], 150),
    "foreign_tflite": Subject(foreign_tflite, open_foreign, BYTES, 60),
    "weights": Subject(weight_files, read_weights, BYTES, 200),
    "checkpoint": Subject(stored("interrupted/checkpoints/last.npz", "interrupted/config.yaml"), restore, BYTES, 300),
}


def mutate(subject: Subject, files: list[Path], originals: list[bytes], rng: random.Random) -> str:
    """Damages one of the files and returns what was done."""
    index, mutation = rng.randrange(len(files)), rng.choice(subject.mutations)
    files[index].write_bytes(mutation(originals[index], rng))
    return f"{mutation.__name__} of {files[index].name}"


warnings.simplefilter("ignore")
