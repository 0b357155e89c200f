"""Readers of boxes: every format gives the same samples; ids, names and crowds survive; mistakes are one line."""

import json
from functools import partialmethod
from types import SimpleNamespace

import numpy as np
import pytest
from detection_sets import IMAGES, NAMES, coco_dict, write_coco, write_images, write_voc, write_yolo
from sections import reader_of

from mobilenet_tf.data.splits import SPLITS
from mobilenet_tf.utils.errors import UserError

read = reader_of("detection")


def samples(source) -> list[dict]:
    return [{key: value.numpy() for key, value in source.load(item).items()} for item in source.items]


def expected(place: int) -> np.ndarray:
    _, height, width, boxes = IMAGES[place]
    return np.array([[y / height, x / width, (y + h) / height, (x + w) / width] for _, x, y, w, h in boxes], np.float32)


def check(found: list[dict], ids: list[str], atol=1e-6):
    assert [sample["id"].decode() for sample in found] == ids
    for place, sample in enumerate(found):
        np.testing.assert_allclose(sample["boxes"], expected(place), atol=atol)
        assert sample["labels"].tolist() == [label for label, *_ in IMAGES[place][3]]
        assert sample["image"].shape == (*IMAGES[place][1:3], 3) and sample["image"].dtype == np.uint8
        assert sample["boxes"].dtype == np.float32 and sample["labels"].dtype == np.int32
        assert sample["crowd"].dtype == bool
        assert sample["original_size"].tolist() == list(IMAGES[place][1:3])


def test_coco_in_its_official_layout_keeps_its_ids(tmp_path):
    source = read("coco", write_coco(tmp_path), "validation")
    check(samples(source), ["11", "7"])
    assert source.classes == NAMES  # by ascending id, whatever the order in the file
    assert source.ground_truth == coco_dict()  # the data set's own annotations, untouched


def test_coco_from_any_file_and_folder_divides_what_has_no_validation_split(tmp_path):
    coco = coco_dict()
    for number in range(3):
        write_images(tmp_path / f"jpg/{number}")
        more = coco_dict(ids=(100 + number, 200 + number))
        coco["annotations"] += more["annotations"]
        coco["images"] += [image | {"file_name": f"{number}/{image['file_name']}"} for image in more["images"]]
    write_images(tmp_path / "jpg")
    (tmp_path / "boxes.json").write_text(json.dumps(coco))
    keys = {"annotations": {"train": "boxes.json"}, "images": {"train": "jpg"}, "validation_fraction": 0.25}
    parts = {split: samples(read("coco", tmp_path, split, **keys)) for split in SPLITS}
    names = {split: {sample["id"] for sample in part} for split, part in parts.items()}
    assert [len(names[split]) for split in SPLITS] == [4, 2, 2]
    assert len(set.union(*names.values())) == 8


def test_coco_crowds_with_run_lengths_are_kept_and_marked(tmp_path):
    coco = coco_dict()
    coco["annotations"][1] |= {"iscrowd": 1, "segmentation": {"size": [40, 80], "counts": "abc"}}
    found = samples(read("coco", write_coco(tmp_path, coco), "validation"))
    assert found[0]["crowd"].tolist() == [False, True]


def test_voc_counts_from_one_and_marks_the_difficult(tmp_path):
    source = read("voc", write_voc(tmp_path, difficult=[("a", 1)]), "train")
    found = samples(source)
    check(found, ["a", "b"])
    assert found[0]["crowd"].tolist() == [False, True]
    assert source.classes == NAMES
    assert [entry["bbox"] for entry in source.ground_truth["annotations"]] == [
        [float(v) for v in box] for _, _, _, boxes in IMAGES for _, *box in boxes
    ]


def test_voc_devkit_joins_lists_of_years(tmp_path):
    for year in ("2007", "2012"):
        write_voc(tmp_path / "VOCdevkit" / f"VOC{year}", lists=("trainval", "test"))
    source = read("voc", tmp_path, "test")
    assert source.count == 2 and len(source.classes) == 20
    assert read("voc", tmp_path, "train", splits={"train": "2007/trainval+2012/trainval"}).count == 4
    with pytest.warns(UserWarning, match="duplicate image id"):
        assert read("voc", tmp_path, "train", splits={"train": "2007/trainval+2007/test"}).count == 2
    with pytest.raises(UserError, match="a year before each list"):
        read("voc", tmp_path, "train", splits={"train": "trainval"})


def test_voc_without_lists_is_divided(tmp_path):
    root = write_voc(tmp_path, lists=())
    counts = [read("voc", root, split, validation_fraction=0.5).count for split in ("train", "validation")]
    assert counts == [1, 1]


@pytest.mark.parametrize("place", ["folder", "yaml"])
def test_yolo_boxes_and_polygons(tmp_path, place):
    write_yolo(tmp_path)
    source = read("yolo", tmp_path if place == "folder" else tmp_path / "data.yaml", "validation")
    check(samples(source), ["images/val/a.png", "images/val/b.png"], atol=1e-5)
    assert source.classes == NAMES and [c["id"] for c in source.ground_truth["categories"]] == [0, 1]


def test_yolo_images_without_a_label_file_are_negatives(tmp_path):
    write_yolo(tmp_path)
    (tmp_path / "labels/train/b.txt").unlink()
    found = samples(read("yolo", tmp_path, "train"))
    assert [len(sample["boxes"]) for sample in found] == [2, 0]
    (tmp_path / "labels/train/a.txt").unlink()
    with pytest.raises(UserError, match=r"must have boxes for the split train.*looked for .*labels/train/a.txt"):
        read("yolo", tmp_path, "train")


def test_a_label_file_chooses_and_orders_classes(tmp_path):
    (tmp_path / "names.txt").write_text("dog\n")
    source = read("coco", write_coco(tmp_path), "validation", classes=tmp_path / "names.txt")
    assert source.classes == ["dog"]
    assert [sample["labels"].tolist() for sample in samples(source)] == [[0], [0]]


def test_empty_images_leave_the_training_split_by_wish(tmp_path):
    coco = coco_dict()
    coco["annotations"] = coco["annotations"][:2]
    write_coco(tmp_path, coco, "train2017")
    assert read("coco", tmp_path, "train").count == 2
    assert read("coco", tmp_path, "train", skip_empty=True).count == 1


def test_scenes_hold_up_to_three_animals():
    source = read("scenes", None, "train", counts={"train": 12}, size=64)
    counts = [len(sample["boxes"]) for sample in samples(source)]
    assert max(counts) == 3 and min(counts) >= 1


@pytest.fixture
def invented(monkeypatch):
    """tensorflow_datasets, with invented records of which lists of objects are of one length and boxes in order."""
    tfds = pytest.importorskip("tensorflow_datasets")
    from tensorflow_datasets.testing.mocking import RandomFakeGenerator as generator

    whole = tfds.features.BBoxFeature.encode_example

    def ordered(self, box):
        low, high = np.sort([box[:2], box[2:]], axis=0)
        return whole(self, tfds.features.BBox(*low, *high))

    monkeypatch.setattr(generator, "__init__", partialmethod(generator.__init__, constant_dynamic_shape=True))
    monkeypatch.setattr(tfds.features.BBoxFeature, "encode_example", ordered)
    return tfds


@pytest.mark.parametrize("name", ["coco/2017", "voc/2007"])
def test_tfds_gives_boxes_ids_and_crowds(invented, tmp_path, name):
    with invented.testing.mock_data(num_examples=4):
        source = read("tfds", tmp_path, "train", name=name)
        found = samples(source)
    assert source.count == 4 and len(source.classes) == {"coco/2017": 80, "voc/2007": 20}[name]
    for sample in found:
        assert sample["boxes"].shape == (len(sample["labels"]), 4) and len(sample["crowd"]) == len(sample["labels"])
        assert sample["image"].dtype == np.uint8 and (sample["boxes"][:, 2:] > sample["boxes"][:, :2]).all()
    ids = [category["id"] for category in source.ground_truth["categories"]]
    assert ids == (list(range(1, 21)) if name == "voc/2007" else sorted(set(ids))) and len(ids) == len(source.classes)
    if name == "coco/2017":  # stop sign follows fire hydrant, 11; there is no 12
        assert ids[:12] == [*range(1, 12), 13] and ids[-1] == 90


def test_tfds_sets_without_boxes_are_refused(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    with tfds.testing.mock_data(num_examples=2), pytest.raises(UserError, match="with image and objects"):
        read("tfds", tmp_path, "train", name="mnist")


def test_tfds_sets_of_other_objects_are_refused(tmp_path, monkeypatch):
    features = pytest.importorskip("tensorflow_datasets").features
    number, box = features.Tensor(shape=(), dtype=np.int64), features.Tensor(shape=(4,), dtype=np.float32)
    for objects, message in (
        ({"bbox": features.BBoxFeature(), "label": number}, "a box and a named class an object"),
        ({"bbox": box, "label": features.ClassLabel(num_classes=2)}, "a box and a named class an object"),
        (box, "with image and objects"),
    ):
        table = features.FeaturesDict({"image": features.Image(), "objects": features.Sequence(objects)})
        builder = SimpleNamespace(info=SimpleNamespace(features=table))
        monkeypatch.setattr("mobilenet_tf.data.tfds.builder", lambda *_, built=builder: built)
        with pytest.raises(UserError, match=message):
            read("tfds", tmp_path, "train", name="other")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "annotations/instances_val2017.json").unlink(), "must name a JSON file"),
        (lambda root: (root / "annotations/instances_val2017.json").write_text("{"), "column 2 must be JSON"),
        (lambda root: (root / "annotations/instances_val2017.json").write_text("[]"), "with a list 'images'"),
        (
            lambda root: (root / "annotations/instances_val2017.json").write_text(
                '{"images": [{"id": 1}], "annotations": [], "categories": []}'
            ),
            "1 x no file name; the first .*image 1: None",
        ),
    ],
)
def test_unusable_coco_files_are_one_line(tmp_path, change, message):
    write_coco(tmp_path)
    change(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        read("coco", tmp_path, "validation")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("line", "message"), [("0 0.5 0.5 0.1", "class, x, y, width, height"), ("cat 0 0 1 1", "class, x, y")]
)
def test_unusable_yolo_lines_name_the_line(tmp_path, line, message):
    write_yolo(tmp_path)
    (tmp_path / "labels/train/a.txt").write_text(line)
    with pytest.raises(UserError, match=f"a.txt, line 1 must be {message}"):
        read("yolo", tmp_path, "train")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"reader": "pickle"}, "data.reader must be 'coco', 'voc', .* or 'scenes'. Received: 'pickle'"),
        ({"split": "dev"}, "split must be one of"),
        ({"reader": "voc", "root": "/nowhere"}, "data.root must be a folder"),
        ({"reader": "scenes", "classes": "names.txt"}, "data.classes goes with"),
    ],
)
def test_wrong_arguments_are_one_line(keys, message):
    keys = {"reader": "scenes", "root": None, "split": "train", "counts": {"train": 2}} | keys
    with pytest.raises(UserError, match=message):
        read(keys.pop("reader"), keys.pop("root"), keys.pop("split"), **keys)


@pytest.mark.real_data
def test_real_annotations_are_read_whole(real_data):
    source = read("coco", real_data / "coco_mini", "validation")
    assert source.count == 100 and len(source.classes) == 80
    assert source.ground_truth == json.loads((real_data / "coco_mini/annotations/instances_val2017.json").read_bytes())
    with pytest.warns(UserWarning, match="one pixel"):
        assert [read("voc", real_data / "bccd_voc", split).count for split in SPLITS] == [205, 87, 72]
