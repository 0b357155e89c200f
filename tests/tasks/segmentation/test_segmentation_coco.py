"""COCO's JSON as tools write it: ids, sizes and outlines of every kind; what cannot be used is told in a line."""

import copy
import json
import math
import re

import numpy as np
import pytest
from PIL import Image
from sections import data_section

from mobilenet_tf.tasks.segmentation import data
from mobilenet_tf.utils.errors import UserError

H, W = 12, 20
SQUARE = [2, 2, 10, 2, 10, 10, 2, 10]
INSIDE = np.zeros((H, W), np.uint8)
INSIDE[2:10, 2:10] = 1
CONTENT = {
    "images": [{"id": 1, "file_name": "a.jpg", "height": H, "width": W},
               {"id": 2, "file_name": "b.jpg", "height": H, "width": W}],
    "categories": [{"id": 3, "name": "cat"}],
    "annotations": [{"id": n, "image_id": n, "category_id": 3, "segmentation": [SQUARE], "bbox": [2, 2, 8, 8]}
                    for n in (1, 2)],
}  # fmt: skip


def content():
    return copy.deepcopy(CONTENT)


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((H, W, 3), 90, np.uint8)).save(path)


def write(root, values, name="a.json", images="images"):
    for file in ("a.jpg", "b.jpg"):
        picture(root / images / file)
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(json.dumps(values))


def examine(root, split="train", **keys):
    if "annotations" not in keys:
        keys = {"annotations": {"train": "a.json", "validation": "a.json"}, "images": {"train": "images"}} | keys
    return data.examine(data_section("segmentation", reader="coco", root=root, **keys), split)


def masks(masked):
    return [masked.read_mask(key) for key in masked.masks]


def changed(change):
    values = content()
    change(values)
    return values


USABLE = {
    "as it is": lambda c: None,
    "text ids": lambda c: [c["images"][0].update(id="x"), c["annotations"][0].update(image_id="x")],
    "ids of two kinds": lambda c: [c["images"][0].update(id="1"), c["annotations"][1].update(image_id=2.0)],
    "float ids": lambda c: [c["images"][0].update(id=1.0), c["categories"][0].update(id=3.0)],
    "text category": lambda c: c["annotations"][0].update(category_id="3"),
    "no sizes": lambda c: [image.pop("height") for image in c["images"]],
    "null sizes": lambda c: [image.update(height=None, width=None) for image in c["images"]],
    "sizes as text": lambda c: [image.update(height=str(H), width=f"{W}.0") for image in c["images"]],
    "numbers as text": lambda c: c["annotations"][0].update(segmentation=[[str(v) for v in SQUARE]]),
    "crowd as text": lambda c: c["annotations"][0].update(iscrowd="false"),
    "null fields": lambda c: c["annotations"][0].update(iscrowd=None, area=None, bbox=None, id=None),
    "no annotation ids": lambda c: [entry.pop("id") for entry in c["annotations"]],
    "one polygon without a list": lambda c: c["annotations"][0].update(segmentation=SQUARE),
    "windows": lambda c: c["images"][0].update(file_name="C:\\data\\images\\a.jpg"),
    "numbers as names": lambda c: c["categories"][0].update(name=7),
    "a name twice": lambda c: [c["categories"].append({"id": 9, "name": "cat"}),
                               c["annotations"][0].update(category_id=9)],
    "a root category": lambda c: [c["categories"][0].update(supercategory="pets"),
                                  c["categories"].insert(0, {"id": 0, "name": "pets", "supercategory": "none"})],
}  # fmt: skip


@pytest.mark.parametrize("name", USABLE)
def test_what_has_one_meaning_is_read(tmp_path, name):
    write(tmp_path, changed(USABLE[name]))
    masked = examine(tmp_path)
    assert masked.findings == [] and masked.classes[0] == "background" and len(masked.classes) == 2
    for mask in masks(masked):
        np.testing.assert_array_equal(mask, INSIDE)


def first(values):
    return values["annotations"][0]


FOUND = {
    "a box alone": (lambda c: first(c).update(segmentation=[]), "no outline: .*annotation 1$", 255),
    "no segmentation": (lambda c: first(c).pop("segmentation"), "no outline", 255),
    "null": (lambda c: first(c).update(segmentation=None), "no outline", 255),
    "a box as polygon": (lambda c: first(c).update(segmentation=[[2, 2, 8, 8]]), "no outline", 255),
    "no box either": (lambda c: first(c).update(segmentation=[], bbox=[math.nan, 1, 2, 3]), "no outline", 0),
    "unknown category": (
        lambda c: first(c).update(category_id=4),
        r"no category .*annotation 1 \(the category 4",
        255,
    ),
    "null category": (lambda c: first(c).update(category_id=None), r"the category None\)", 255),
    "nested category": (lambda c: first(c).update(category_id=[3]), r"the category \[3\]\)", 255),
    "unknown image": (lambda c: first(c).update(image_id=7), r"no image .*annotation 1 \(the image 7\)", 0),
    "no image": (lambda c: first(c).pop("image_id"), "no image that is listed", 0),
    "NaN": (lambda c: first(c).update(image_id=math.nan), r"the image nan\)", 0),
    "no object": (lambda c: c["annotations"].__setitem__(0, None), r"annotations\[0\] \(no object\)", 0),
    "an image twice": (lambda c: c["images"].append({"id": 1, "file_name": "b.jpg"}), "id of another image", 1),
    "a missing image": (lambda c: c["images"].insert(0, {"id": 9, "file_name": "no.jpg"}), "1 images are not there", 1),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_cannot_be_used_is_counted_and_its_pixels_do_not_teach_background(tmp_path, name):
    change, finding, value = FOUND[name]
    write(tmp_path, changed(change))
    masked = examine(tmp_path)
    [line] = masked.findings
    assert str(tmp_path / "a.json") in line and re.search(finding, line)
    found = masks(masked)
    np.testing.assert_array_equal(found[0], INSIDE * value)
    np.testing.assert_array_equal(found[1], INSIDE)


REFUSED = {
    "1e9": (lambda c: first(c).update(segmentation=[[1e9, *SQUARE[1:]]]), r"annotation 1 of a.jpg .* 1e\+09"),
    "NaN": (lambda c: first(c).update(segmentation=[[math.nan, *SQUARE[1:]]]), "annotation 1 of a.jpg .* nan"),
    "null": (lambda c: first(c).update(segmentation=[[None, *SQUARE[1:]]]), "None in place of a number"),
    "odd": (lambda c: first(c).update(segmentation=[SQUARE[:-1]]), "7 numbers, which are not pairs"),
    "points": (lambda c: first(c).update(segmentation=[[[2, 2], [10, 2], [10, 10]]]), "in place of a number"),
    "text": (lambda c: first(c).update(segmentation="x"), "a text in place of polygons"),
    "other size": (lambda c: first(c).update(segmentation={"size": [5, 8], "counts": [40]}), r"size \[5, 8\]"),
    "other sum": (lambda c: first(c).update(segmentation={"size": [H, W], "counts": [999]}), "run lengths of 999"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_damaged_outline_is_a_line_with_file_and_id(tmp_path, name):
    change, message = REFUSED[name]
    write(tmp_path, changed(change))
    masked = examine(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        masked.read_mask(masked.masks[0])
    assert "a.json" in str(error.value)


BROKEN = {
    "no list": (lambda c: c.pop("images"), "with a list 'images'"),
    "a mapping": (lambda c: c.update(annotations={}), "with a list 'annotations'"),
    "no images": (lambda c: c["images"].clear(), "must list images. Received: none"),
    "image null": (lambda c: c["images"].__setitem__(0, None), r"images\[0\] must have an id and a file_name"),
    "no id": (lambda c: c["images"][0].pop("id"), r"images\[0\] must have an id"),
    "id NaN": (lambda c: c["images"][0].update(id=math.nan), r"images\[0\] must have an id"),
    "name a number": (lambda c: c["images"][0].update(file_name=3), r"images\[0\] must have an id and a file_name"),
    "size text": (lambda c: c["images"][0].update(height="x"), r"images\[0\] must have a height and a width"),
    "size huge": (lambda c: c["images"][0].update(height=1e9, width=1e9), "must have a height and a width"),
    "size negative": (lambda c: c["images"][0].update(height=-5), "must have a height and a width"),
    "size infinite": (lambda c: c["images"][0].update(height=math.inf), "must have a height and a width"),
    "category null": (lambda c: c["categories"].append(None), r"categories\[1\] must have an id and a name"),
    "category without name": (lambda c: c["categories"][0].pop("name"), r"categories\[0\] must have an id and a name"),
    "line break": (lambda c: c["categories"][0].update(name="a\nb"), "a name in one line"),
    "no category": (lambda c: c["categories"].clear(), "must have at least two classes"),
    "an id twice": (lambda c: c["categories"].append({"id": 3, "name": "dog"}), "category id once. .*cat and dog"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_one_line(tmp_path, name):
    change, message = BROKEN[name]
    write(tmp_path, changed(change))
    with pytest.raises(UserError, match=message) as error:
        examine(tmp_path)
    assert "\n" not in str(error.value) and "a.json" in str(error.value)


def test_no_image_that_is_there_says_where_was_looked(tmp_path):
    write(tmp_path, content())
    with pytest.raises(UserError, match="images that are there; data.images names .* none of 2 in .*elsewhere"):
        examine(tmp_path, images={"train": "elsewhere"})
    (tmp_path / "images" / "a.jpg").unlink()
    with pytest.raises(UserError, match="no a.jpg in"):
        examine(tmp_path, on_corrupt="error")


def test_a_category_called_background_is_the_background(tmp_path):
    values = content()
    values["categories"].append({"id": 1, "name": "Background"})
    values["annotations"].append({"id": 5, "image_id": 1, "category_id": 1, "segmentation": [[0, 0, W, 0, W, H, 0, H]]})
    write(tmp_path, values)
    masked = examine(tmp_path)
    assert masked.classes == ["background", "cat"]
    np.testing.assert_array_equal(masks(masked)[0], INSIDE)


PLACES = {
    "official": ("annotations/instances_{s}2017.json", "{s}2017"),
    "Roboflow": ("{s}/_annotations.coco.json", "{s}"),
    "files named by split": ("{s}.json", "images"),
}


@pytest.mark.parametrize("name", PLACES)
def test_files_and_images_are_found(tmp_path, name):
    file, folder = PLACES[name]
    for split in ("train", "val"):
        write(tmp_path, content(), file.format(s=split), folder.format(s=split))
    for split in ("train", "validation"):
        assert len(examine(tmp_path, split, annotations="instances").images) == 2
    if name == "official":
        with pytest.warns(UserWarning, match="the validation split is scored instead"):
            examine(tmp_path, "test", annotations="instances")


@pytest.mark.parametrize("name, folder", [("annotations/instances_default.json", "images"), ("result.json", ".")])
def test_of_a_single_file_the_splits_are_drawn(tmp_path, name, folder):
    values = content()
    values["images"] = [{"id": n, "file_name": f"{n}.jpg"} for n in range(10)]
    write(tmp_path, values, name, folder)
    for n in range(10):
        picture(tmp_path / folder / f"{n}.jpg")
    found = [examine(tmp_path, split, annotations="instances") for split in ("train", "validation", "test")]
    assert [len(masked.images) for masked in found] == [8, 1, 1]
    assert len({path for masked in found for path in masked.images}) == 10


def test_without_a_file_the_line_says_what_was_looked_for(tmp_path):
    (tmp_path / "captions_train2017.json").write_text("{}")
    with pytest.raises(UserError, match="annotations/instances_train.* data.annotations.train names.* captions_train"):
        examine(tmp_path, annotations="instances")


def panoptic(root, segments, name="a.png"):
    values = content()
    values["annotations"] = [{"image_id": 1, "file_name": name, "segments_info": segments}]
    values["categories"].append({"id": 4, "name": "sky"})
    write(root, values, "panoptic_train.json")
    ids = np.zeros((H, W, 3), np.uint8)
    ids[:, :5], ids[:, 5:9] = (4, 1, 0), (1, 0, 2)  # 260 and 131073
    (root / "panoptic_train").mkdir()
    Image.fromarray(ids).save(root / "panoptic_train" / "a.png")
    return examine(root, annotations="panoptic", validation_fraction=0.01, images={"train": "images"})


def test_segments_that_cannot_be_used_are_told_and_ignored(tmp_path):
    masked = panoptic(tmp_path, [{"id": 260, "category_id": "4"}, {"id": 131073, "category_id": 9}, None])
    assert len(masked.images) == 1 and masked.classes == ["cat", "sky"]
    assert [line.partition("entries ")[2][:22] for line in masked.findings[:2]] == [
        "have a segment of no c", "have a segment without"
    ]  # fmt: skip
    assert "1 images without annotation are left out, such as b.jpg" in masked.findings[2]
    np.testing.assert_array_equal(masks(masked)[0][0], [1] * 5 + [255] * (W - 5))


def test_a_missing_picture_of_segments_is_one_line(tmp_path):
    masked = panoptic(tmp_path, [{"id": 260, "category_id": 3}], name="b.png")
    with pytest.raises(UserError, match="panoptic_train/b.png must be a mask that can be read. Received: No such file"):
        masks(masked)
