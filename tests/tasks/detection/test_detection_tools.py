"""What labelme, Label Studio and Open Images store."""

import json
import math
import tracemalloc
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import detection_sets
import numpy as np
import pytest
from PIL import Image

from mobilenet_tf.data.splits import SPLITS
from mobilenet_tf.utils.errors import UserError

labelme = partial(detection_sets.examine, "labelme")
studio = partial(detection_sets.examine, "label_studio")
openimages = partial(detection_sets.examine, "openimages")


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((40, 80, 3), 90, np.uint8)).save(path)
    return path


def boxes(found) -> list[tuple[str, list[float]]]:
    names = {category["id"]: category["name"] for category in found.coco["categories"]}
    entries = found.coco["annotations"]
    return [(names[entry["category_id"]], [round(float(v), 3) for v in entry["bbox"]]) for entry in entries]


# labelme


def shape(points, kind: str | None = "rectangle", label: object = "cat", **keys) -> dict:
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}} | keys


RECTANGLE = shape([[30, 25], [10, 5]])


def write_labelme(path: Path, *shapes, **keys) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"version": "5.4.1", "flags": {}, "shapes": list(shapes), "imagePath": f"..\\jpg\\{path.stem}.jpg",
               "imageData": None, "imageHeight": 40, "imageWidth": 80}  # fmt: skip
    path.write_text(json.dumps(content | keys))


def labelme_set(root: Path, *shapes, names: Sequence[str] = "a", images="", annotations="", **keys) -> Path:
    for name in names:
        image(root / images / f"{name}.jpg")
        write_labelme(root / annotations / f"{name}.json", *shapes, **keys)
    return root


SHAPES = {
    "rectangle": (RECTANGLE, [10, 5, 20, 20]),
    "four corners": (shape([[10, 5], [30, 5], [30, 25], [10, 25]]), [10, 5, 20, 20]),
    "polygon": (shape([[10, 15], [20, 5], [30, 25]], "polygon"), [10, 5, 20, 20]),
    "of an early version": (shape([[10, 15], [20, 5], [30, 25]], None), [10, 5, 20, 20]),
    "circle": (shape([[20, 20], [23, 24]], "circle"), [15, 15, 10, 10]),
    "rotated": (shape([[20, 5], [30, 15], [20, 25], [10, 15]], "rotation"), [10, 5, 20, 20]),
    "mask": (shape([[10, 5], [30, 25]], "mask", mask="iVBORw0KGgo="), [10, 5, 20, 20]),
    "numbers as text": (shape([["10", "5"], [30, 25.0]]), [10, 5, 20, 20]),
}


@pytest.mark.parametrize("case", SHAPES)
def test_labelme_shapes_become_boxes(tmp_path, case):
    found, findings = labelme(labelme_set(tmp_path, SHAPES[case][0]))
    assert boxes(found) == [("cat", SHAPES[case][1])] and not findings


def test_labelme_shapes_of_one_group_are_one_object(tmp_path):
    parts = [
        shape([[0, 0], [5, 5]], group_id=1),
        shape([[20, 20], [30, 30]], group_id=1),
        shape([[0, 0], [5, 5]], group_id=2),
    ]
    found, _ = labelme(labelme_set(tmp_path, *parts))
    assert boxes(found) == [("cat", [0, 0, 30, 30]), ("cat", [0, 0, 5, 5])]


def test_labelme_shapes_that_are_no_boxes_are_counted(tmp_path):
    with pytest.warns(UserWarning, match=r"3 shapes are no boxes \(1 line, 2 point\); left out"):
        others = [shape([[1, 2]], "point"), shape([[1, 2]], "point"), shape([[1, 2], [3, 4]], "line")]
        found, _ = labelme(labelme_set(tmp_path, RECTANGLE, *others))
    assert len(boxes(found)) == 1


@pytest.mark.parametrize(
    ("images", "annotations"), [("", ""), ("images", "annotations"), ("jpg", "labels"), ("photos", "json")]
)
def test_labelme_folders_are_divided(tmp_path, images, annotations):
    labelme_set(tmp_path, RECTANGLE, names="abcdef", images=images, annotations=annotations)
    parts = [[path.stem for path in labelme(tmp_path, split)[0].paths] for split in SPLITS]
    assert sorted(sum(parts, [])) == list("abcdef") and all(parts)


def test_labelme_splits_are_folders(tmp_path):
    for folder, names in (("train", "ab"), ("valid", "c")):
        labelme_set(tmp_path / folder, RECTANGLE, names=names)
    assert [path.stem for path in labelme(tmp_path)[0].paths] == ["a", "b"]
    assert [path.stem for path in labelme(tmp_path, "validation")[0].paths] == ["c"]


def test_labelme_copies_keep_their_own_image(tmp_path):
    labelme_set(tmp_path, RECTANGLE, names=["a", "b"], imagePath="a.jpg")
    parts = [labelme(tmp_path, split)[0].paths for split in SPLITS[:2]]
    assert sorted(path.name for paths in parts for path in paths) == ["a.jpg", "b.jpg"]
    write_labelme(tmp_path / "0001.json", RECTANGLE, imagePath="/home/me/photo.jpg")
    image(tmp_path / "photo.jpg")
    parts = [path.name for split in SPLITS[:2] for path in labelme(tmp_path, split)[0].paths]
    assert sorted(parts) == ["a.jpg", "b.jpg", "photo.jpg"]


LABELME_FAULTS = {
    "no points": (shape([]), r"shapes\[1\] must have 2 points or more, being a rectangle. Received: 0"),
    "null": (shape(None), r"shapes\[1\]: points must be a list. Received: None"),
    "one number": (shape([[1], [2, 3]]), r"points\[0\] must be two numbers x, y. Received: 1"),
    "text": (shape([["a", 1], [2, 3]]), r"points\[0\] must be a number. Received: 'a'"),
    "NaN": (shape([[float("nan"), 1], [2, 3]]), r"points\[0\] must be a number. Received: nan"),
    "far": (shape([[1e300, 1], [2, 3]]), r"points\[0\] must be a number. Received: 1e\+300"),
    "no label": (shape([[1, 1], [2, 3]], label=None), r"label must be text. Received: None"),
    "no object": ([], r"shapes\[1\] must be an object"),
}


@pytest.mark.parametrize("case", LABELME_FAULTS)
def test_labelme_faults_are_one_line_with_file_and_index(tmp_path, case):
    faulty, message = LABELME_FAULTS[case]
    with pytest.raises(UserError, match=f"a.json: .*{message}") as error:
        labelme(labelme_set(tmp_path, RECTANGLE, faulty))
    assert "\n" not in str(error.value)


def test_files_of_other_tools_are_left_out_and_that_is_said(tmp_path):
    labelme_set(tmp_path, RECTANGLE)
    (tmp_path / "settings.json").write_text('{"theme": "dark"}')
    with pytest.warns(UserWarning, match="1 JSON files are not labelme's, the first .*settings.json; left out"):
        assert boxes(labelme(tmp_path)[0]) == [("cat", [10, 5, 20, 20])]


def test_other_json_is_named(tmp_path):
    image(tmp_path / "a.jpg")
    with pytest.raises(UserError, match="data.root must be a folder with labelme's JSON files.* which holds 1 .jpg"):
        labelme(tmp_path)
    for content, message in (("{", "must be JSON"), ("[]", "with a list 'shapes'. Received: list"),
                             ('{"images": []}', "COCO's format: data.reader=coco")):  # fmt: skip
        (tmp_path / "a.json").write_text(content)
        with pytest.raises(UserError, match=message):
            labelme(tmp_path)


# Label Studio


def region(kind="rectanglelabels", labels=("cat",), size=(40, 80), **value) -> dict:
    rectangle = {"x": 12.5, "y": 12.5, "width": 25, "height": 50, "rotation": 0} if kind == "rectanglelabels" else {}
    sides = {"original_height": size[0], "original_width": size[1]}
    return {"type": kind, "image_rotation": 0, **sides, "value": rectangle | value | {kind: list(labels)}}


def task(number: int, *regions, name: str | None = None, **keys) -> dict:
    name = name or f"/data/upload/1/0a1b2c3d-{number}.jpg"
    return {"id": number, "data": {"image": name}, "annotations": [{"id": 1, "result": list(regions)}]} | keys


def write_studio(root: Path, *tasks, name="export.json") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(json.dumps(list(tasks)))
    return root


HALF = math.sqrt(0.5)
REGIONS = {
    "rectangle": (region(), [10, 5, 20, 20]),
    "rectangle that is turned": (region(x=50, y=12.5, width=12.5, height=25, rotation=90), [30, 5, 10, 10]),
    "polygon": (region("polygonlabels", points=[[12.5, 12.5], [37.5, 30], [25, 62.5]]), [10, 5, 20, 20]),
    "ellipse": (region("ellipselabels", x=25, y=37.5, radiusX=12.5, radiusY=25, rotation=0), [10, 5, 20, 20]),
    "circle that is turned": (
        region("ellipselabels", x=25, y=37.5, radiusX=12.5, radiusY=25, rotation=30),
        [10, 5, 20, 20],
    ),
    "without a size": (region(size=(None, None)), [10, 5, 20, 20]),
}


@pytest.mark.parametrize("case", REGIONS)
def test_label_studio_regions_become_boxes(tmp_path, case):
    image(tmp_path / "images/1.jpg")
    found, findings = studio(write_studio(tmp_path, task(1, REGIONS[case][0])))
    assert boxes(found) == [("cat", REGIONS[case][1])] and not findings
    assert [image["id"] for image in found.coco["images"]] == ["1"]


NAMED = ["/data/upload/1/0a1b2c3d-1.jpg", "1.jpg", "s3://bucket/folder/1.jpg", "http://host/data/upload/0a1b2c3d-1.jpg?x=1",
         "/data/local-files/?d=folder%2F1.jpg", "C:\\photos\\1.jpg"]  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_label_studio_images_are_found_by_their_names(tmp_path, name):
    path = image(tmp_path / "deep/er/1.jpg")
    assert studio(write_studio(tmp_path, task(1, region(), name=name)))[0].paths == [path]


def test_label_studio_keeps_the_longer_name_where_it_is_there(tmp_path):
    path = image(tmp_path / "0a1b2c3d-1.jpg")
    image(tmp_path / "1.jpg")
    assert studio(write_studio(tmp_path, task(1, region())))[0].paths == [path]


def test_label_studio_min_export(tmp_path):
    image(tmp_path / "1.jpg")
    value = region()["value"] | {"original_width": 80, "original_height": 40}
    content = {"image": "/data/upload/1/0a1b2c3d-1.jpg", "id": 1, "label": [value], "annotator": 1, "lead_time": 2.5}
    assert boxes(studio(write_studio(tmp_path, content))[0]) == [("cat", [10, 5, 20, 20])]


def test_label_studio_tasks_without_annotation_are_left_out_and_empty_ones_negatives(tmp_path):
    for number in range(1, 7):
        image(tmp_path / f"{number}.jpg")
    canceled = {"id": 2, "was_cancelled": True, "result": [region(labels=["dog"])]}
    tasks = [*(task(number, region()) for number in (1, 5, 6)), task(2), task(3, annotations=[]),
             task(4, annotations=[canceled, {"id": 3, "result": [region()]}])]  # fmt: skip
    with pytest.warns(UserWarning, match="1 of 6 tasks have no annotation; left out"):
        parts = [studio(write_studio(tmp_path, *tasks), split)[0] for split in SPLITS[:2]]
    assert sum(len(part.paths) for part in parts) == 5 and sum(len(boxes(part)) for part in parts) == 4
    assert parts[0].classes == ["cat"]


def test_label_studio_regions_that_are_no_boxes_are_counted(tmp_path):
    image(tmp_path / "1.jpg")
    others = [region("keypointlabels", x=1, y=1), region("brushlabels", format="rle", rle=[1, 2]), region(labels=[]),
              {"type": "choices", "value": {"choices": ["day"]}}, {"type": "relation", "from_id": "x"}]  # fmt: skip
    with pytest.warns(
        UserWarning, match=r"4 shapes are no boxes \(1 brush, 1 choices, 1 keypoint, 1 rectangle without a"
    ):
        found, _ = studio(write_studio(tmp_path, task(1, region(), *others)))
    assert len(boxes(found)) == 1


STUDIO_FAULTS = {
    "text": (task(1, region(x="a")), r"\[0\]: annotations\[0\]: result\[0\]: x must be a number. Received: 'a'"),
    "null": (task(1, region(width=None)), r"result\[0\]: width must be a number. Received: None"),
    "points": (task(1, region("polygonlabels", points=[[1]])), r"points must be two or more. Received: 1"),
    "label": (task(1, region(labels=[None])), r"label must be text. Received: None"),
    "results": (task(1, annotations=[{"result": 5}]), r"result must be a list. Received: 5"),
    "annotations": (task(1, annotations=[5]), r"annotations\[0\] must be an object"),
    "turned image": (task(1, region() | {"image_rotation": 90}), "an image that is not turned"),
    "no image": (task(1, region(), data={"text": "x"}), "must name an image, in data.image. Received: text"),
    "no data": (task(1, region(), data=None), "data must be an object"),
    "nobody": (task(1, annotations=[]), "must have tasks with annotations. Received: 1 tasks"),
}


@pytest.mark.parametrize("case", STUDIO_FAULTS)
@pytest.mark.filterwarnings("ignore:.*are no boxes")
def test_label_studio_faults_are_one_line_with_file_and_index(tmp_path, case):
    faulty, message = STUDIO_FAULTS[case]
    image(tmp_path / "1.jpg")
    with pytest.raises(UserError, match=f"export.json.*{message}") as error:
        studio(write_studio(tmp_path, faulty))
    assert "\n" not in str(error.value)


def test_label_studio_needs_one_file_of_tasks(tmp_path):
    image(tmp_path / "1.jpg")
    with pytest.raises(UserError, match="data.root must be a JSON file that Label Studio exported.* holds 1 .jpg"):
        studio(tmp_path)
    (tmp_path / "export.json").write_text('{"images": []}')
    with pytest.raises(UserError, match="COCO's format: data.reader=coco"):
        studio(tmp_path)
    write_studio(tmp_path, task(1, region()), name="other.json")
    with pytest.raises(UserError, match="holds 2 .json"):
        studio(tmp_path)
    assert studio(tmp_path / "other.json")[0].classes == ["cat"]


# Open Images

HEADER = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside\n"
)


def row(name: str, label="/m/cat", corners="0.125,0.375,0.125,0.625", group="0") -> str:
    return f"{name},xclick,{label},1,{corners},0,0,{group},0,0\n"


def write_openimages(root: Path, suffix="-annotations-bbox.csv", **splits: str) -> Path:
    for split, rows in splits.items():
        root.mkdir(exist_ok=True)
        (root / f"{split}{suffix}").write_text(HEADER + rows)
    (root / "class-descriptions-boxable.csv").write_text('/m/cat,Cat\n/m/dog,"Dog, wild"\n/m/cow,Cow\n')
    return root


@pytest.mark.parametrize("suffix", ["-annotations-bbox.csv", "_annotations_bbox.csv"])
def test_open_images_of_a_subset(tmp_path, suffix):
    for name in ("train/0a", "train/0b", "validation/0c"):
        image(tmp_path / f"{name}.jpg")
    rows = row("0a") + row("0a", "/m/dog", "0,1,0.5,1", "1") + row("0b") + row("ffff", "/m/cow")
    write_openimages(tmp_path, suffix, train=rows, validation=row("0c"), test=row("eeee"))
    with pytest.warns(UserWarning, match="(1 of 4 boxes are of images that are not there|the split test is left out)"):
        found, findings = openimages(tmp_path)
    assert boxes(found) == [("Cat", [10, 5, 20, 20]), ("Dog, wild", [0, 20, 80, 20]), ("Cat", [10, 5, 20, 20])]
    assert [entry["iscrowd"] for entry in found.coco["annotations"]] == [0, 1, 0] and not findings
    assert [path.name for path in openimages(tmp_path, "validation")[0].paths] == ["0c.jpg"]


def test_open_images_of_one_file_are_divided(tmp_path):
    for name in "abcdef":
        image(tmp_path / f"images/{name}.jpg")
    write_openimages(tmp_path, mine="".join(row(name) for name in "abcdef"))
    for root in (tmp_path, tmp_path / "mine-annotations-bbox.csv"):
        parts = [[path.stem for path in openimages(root, split)[0].paths] for split in SPLITS]
        assert sorted(sum(parts, [])) == list("abcdef") and all(parts)


def test_of_open_images_only_rows_of_images_that_are_there_are_kept(tmp_path):
    image(tmp_path / "a.jpg")
    rows = "".join(row(f"{number:016x}") for number in range(50_000))
    write_openimages(tmp_path, train=row("a") + rows + row("a"))
    tracemalloc.start()
    with pytest.warns(UserWarning, match="50000 of 50002 boxes are of images that are not there"):
        found, _ = openimages(tmp_path)
    assert tracemalloc.get_traced_memory()[1] < len(rows) / 2
    tracemalloc.stop()
    assert len(boxes(found)) == 2


OPENIMAGES_FAULTS = {
    "text": (row("a", corners="a,1,0,1"), r"train-annotations-bbox.csv, line 2: XMin must be a number. Received: 'a'"),
    "nothing": (row("a", corners=",1,0,1"), "line 2: XMin must be a number"),
    "NaN": (row("a") + row("a", corners="0,nan,0,1"), "line 3: XMax must be a number. Received: 'nan'"),
    "no label": (row("a", label=""), "line 2: LabelName must be text"),
    "other images": (row("x"), "must have the images of the split train. Received: none of the images of"),
}


@pytest.mark.parametrize("case", OPENIMAGES_FAULTS)
def test_open_images_faults_are_one_line(tmp_path, case):
    image(tmp_path / "a.jpg")
    rows, message = OPENIMAGES_FAULTS[case]
    with pytest.raises(UserError, match=message) as error:
        openimages(write_openimages(tmp_path, train=rows))
    assert "\n" not in str(error.value)


def test_open_images_needs_its_columns(tmp_path):
    image(tmp_path / "a.jpg")
    with pytest.raises(UserError, match="data.root must be a folder with Open Images' CSV files.* holds 1 .jpg"):
        openimages(tmp_path)
    (tmp_path / "train-annotations-bbox.csv").write_text("ImageID,XMin\na,1\n")
    with pytest.raises(
        UserError, match="must have the columns ImageID and LabelName and XMin .*Received: ImageID, XMin"
    ):
        openimages(tmp_path)
