"""labelme's files: shapes become masks, and what is damaged is a line with file and shape."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image
from sections import data_section

from mobilenet_tf.tasks.segmentation import data
from mobilenet_tf.utils.errors import UserError

H, W = 12, 20
SQUARE = [[2, 2], [10, 2], [10, 10], [2, 10]]
INSIDE = np.zeros((H, W), np.uint8)
INSIDE[2:10, 2:10] = 1


def write(root, name, shapes, image=True, **content):
    path = root / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    if image:
        Image.fromarray(np.full((H, W, 3), 90, np.uint8)).save(path.with_suffix(".jpg"))
    path.write_text(json.dumps({"imagePath": path.with_suffix(".jpg").name, "shapes": shapes} | content))


def shape(label="cat", points=SQUARE, **keys):
    return {"label": label, "points": points, "shape_type": "polygon"} | keys


def examine(root, split="train", **keys):
    return data.examine(data_section("segmentation", reader="labelme", root=root, **keys), split)


def mask(root, *shapes, **keys):
    write(root, "train/a", list(shapes))
    write(root, "val/b", [shape("dog")])
    masked = examine(root, **keys)
    return masked.read_mask(masked.masks[0])


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


SAME = {
    "polygon": shape(),
    "without a kind": {"label": "cat", "points": SQUARE},
    "rectangle": shape(points=[[2, 2], [10, 10]], shape_type="rectangle"),
    "rectangle from below": shape(points=[[10, 10], [2, 2]], shape_type="rectangle"),
    "rectangle of four points": shape(points=SQUARE, shape_type="rectangle"),
    "mask": shape(points=[[2, 2], [9, 9]], shape_type="mask", mask=png(np.full((8, 8), 255, np.uint8))),
    "numbers as text": shape(points=[[str(x), str(y)] for x, y in SQUARE]),
}


@pytest.mark.parametrize("kind", SAME)
def test_shapes_become_masks(tmp_path, kind):
    np.testing.assert_array_equal(mask(tmp_path, SAME[kind]), INSIDE)
    assert examine(tmp_path).classes == ["background", "cat", "dog"]


def test_a_circle_later_shapes_and_labels_that_are_no_classes(tmp_path):
    found = mask(tmp_path, shape(points=[[10, 6], [14, 6]], shape_type="circle"))
    assert found.sum() == pytest.approx(np.pi * 16, rel=0.05) and found[6, 10]
    top, bottom = [[2, 2], [10, 2], [10, 4], [2, 4]], [[2, 8], [10, 8], [10, 10], [2, 10]]
    found = mask(tmp_path, shape(), shape("dog", top), shape("__ignore__", bottom), shape("_background_", SQUARE[:3]))
    assert (found[2, 2], found[9, 2], found[6, 2], found[2, 9]) == (2, 255, 1, 0)
    assert mask(tmp_path, shape(), classes=["dog"]).sum() == 0


def test_what_is_left_out_is_told(tmp_path):
    write(tmp_path, "a", [shape(), shape("x", [[1, 1]], shape_type="point")], imagePath="..\\other\\a.jpg")
    write(tmp_path, "b", [shape()], image=False)
    for name in "cde":
        write(tmp_path, name, [shape()])
    (tmp_path / "coco.json").write_text('{"images": []}')
    lost, others, points = examine(tmp_path).findings
    assert lost == f"1 files of labelme have no image and are left out, such as {tmp_path / 'b.json'}"
    assert others == f"{tmp_path}: 1 JSON files are not labelme's, the first {tmp_path / 'coco.json'}; left out"
    assert points == f"{tmp_path}: 1 shapes have no area (1 point); left out"


def test_a_copy_keeps_its_own_image_and_others_are_found_by_their_paths(tmp_path):
    """The file of a mirrored copy still names the image that it was made of."""
    root = tmp_path / "train"
    for name in ("a", "a_mirrored"):
        write(root, name, [shape()], imagePath="a.jpg")
    write(root, "0001", [shape()], image=False, imagePath="../photos/far.jpg")
    write(tmp_path / "photos", "far", [])
    (tmp_path / "photos" / "far.json").unlink()
    found = [path.name for split in ("train", "validation") for path in examine(root, split).images]
    assert sorted(found) == ["a.jpg", "a_mirrored.jpg", "far.jpg"]


REFUSED = {
    "no label": (shape(None), r"train/a.json: shapes\[0\]: label must be text"),
    "no object": (None, r"shapes\[0\] must be an object"),
    "no points": (shape(points=None), r"shapes\[0\]: points must be a list. Received: None"),
    "two points": (shape(points=SQUARE[:2]), "must have 3 points or more, being a polygon. Received: 2"),
    "far away": (shape(points=[[1e9, 2], *SQUARE]), r"points\[0\] must be a number. Received: 1000000000.0"),
    "far": (shape(points=[[1e6, 2], *SQUARE]), r"shapes\[0\] must lie in its image. Received: the coordinate 1e\+06"),
    "huge circle": (shape(points=[[1, 1], [1e6, 1]], shape_type="circle"), "the coordinate"),
    "NaN": (shape(points=[[float("nan"), 2], *SQUARE]), r"points\[0\] must be a number. Received: nan"),
    "nested": (shape(points=[[[1, 2], 2], *SQUARE]), r"points\[0\] must be a number. Received: \[1, 2\]"),
    "three numbers": (shape(points=[[1, 2, 3], *SQUARE]), r"points\[0\] must be two numbers x, y. Received: 3"),
    "mask null": (shape(points=[[2, 2]], shape_type="mask", mask=None), "a mask that cannot be read"),
    "mask text": (shape(points=[[2, 2]], shape_type="mask", mask="eHg="), "a mask that cannot be read"),
    "mask outside": (shape(points=[[99, 2]], shape_type="mask", mask=png(INSIDE)), "the corner 99, 2"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_damaged_shape_is_one_line(tmp_path, kind):
    wrong, message = REFUSED[kind]
    with pytest.raises(UserError, match=message):
        mask(tmp_path, wrong)


def test_a_folder_without_such_files_is_one_line(tmp_path):
    (tmp_path / "coco.json").write_text('{"images": []}')
    with pytest.raises(UserError, match="coco.json must be labelme's JSON, with a list 'shapes'. Received: images; "):
        examine(tmp_path)
    write(tmp_path, "b", [shape()], image=False)
    with pytest.raises(UserError, match="b.json must lie beside its image. Received: no image for any of 1 files"):
        examine(tmp_path)
