"""Label Studio's JSON: brush strokes and outlines become masks, and what is damaged is a line with its place."""

import json

import numpy as np
import pytest
from PIL import Image
from sections import data_section

from mobilenet_tf.tasks.segmentation import data
from mobilenet_tf.tasks.segmentation.data.label_studio import unpacked
from mobilenet_tf.utils.errors import UserError

H, W = 10, 20
INSIDE = np.zeros((H, W), np.uint8)
INSIDE[2:8, 4:16] = 1
SQUARE = [[20, 20], [80, 20], [80, 80], [20, 80]]  # percent


def packed(values, repeated=True) -> list[int]:
    """Values of 8 bits as a brush stroke has them, in runs or all as they are; lengths have 3, 4, 8 or 16 bits."""
    text = f"{len(values):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    values = [int(value) for value in values]
    if not repeated:
        text += f"0{3:02b}{len(values) - 1:016b}" + "".join(f"{value:08b}" for value in values)
        values = []
    while values:
        length = next((i for i, value in enumerate(values) if value != values[0]), len(values))
        kind = next(i for i, size in enumerate((3, 4, 8, 16)) if length <= 2**size)
        text += f"1{kind:02b}{length - 1:0{(3, 4, 8, 16)[kind]}b}{values[0]:08b}"
        values = values[length:]
    return [int(text[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(text), 8)]


def stroke(mask, **options) -> list[int]:
    return packed(np.repeat(mask[..., None] * 255, 4, 2).ravel(), **options)


def region(kind, labels=("cat",), size=(H, W), **value) -> dict:
    sides = {"original_height": size[0], "original_width": size[1]}
    return {"type": f"{kind}labels", "value": {**value, f"{kind}labels": list(labels)}, "image_rotation": 0, **sides}


def examine(root, *regions, others=(), **keys):
    """The train split of six images, the first with these regions."""
    tasks = []
    for i in range(6):
        Image.fromarray(np.full((H, W, 3), 90, np.uint8)).save(root / f"{i}.png")
        result = [*(regions if not i else [region("polygon", ["dog"], points=SQUARE)]), *others]
        name = f"/data/upload/1/0a1b2c3d-{i}.png"
        tasks.append({"id": i, "data": {"image": name}, "annotations": [{"id": i, "result": result}]})
    (root / "export.json").write_text(json.dumps(tasks))
    return data.examine(data_section("segmentation", reader="label_studio", root=root, **keys), "train")


def mask(root, *regions, **keys):
    for split in ("train", "validation", "test"):
        found = examine(root, *regions, **keys)
        examined = data.examine(data_section("segmentation", reader="label_studio", root=root, **keys), split)
        for image, key in zip(examined.images, examined.masks, strict=True):
            if image.stem == "0":
                return found.classes, examined.read_mask(key)
    raise AssertionError


SAME = {
    "polygon": region("polygon", points=SQUARE),
    "rectangle": region("rectangle", x=20, y=20, width=60, height=60, rotation=0),
    "turned rectangle": region("rectangle", x=80, y=20, width=30, height=120, rotation=90),
    "brush": region("brush", format="rle", rle=stroke(INSIDE)),
    "brush without runs": region("brush", format="rle", rle=stroke(INSIDE, repeated=False)),
}


@pytest.mark.parametrize("kind", SAME)
def test_regions_become_masks(tmp_path, kind):
    classes, found = mask(tmp_path, SAME[kind])
    assert classes == ["background", "cat", "dog"]
    np.testing.assert_array_equal(found, INSIDE)


def test_an_ellipse_later_regions_and_labels_that_are_no_classes(tmp_path):
    circle = region("ellipse", x=50, y=50, radiusX=20, radiusY=40, rotation=0)  # 4 pixels each way
    _, found = mask(tmp_path, circle)
    assert found.sum() == pytest.approx(np.pi * 16, rel=0.08) and found[5, 10] and not found[5, 15]
    _, turned = mask(tmp_path, region("ellipse", x=50, y=50, radiusX=40, radiusY=20, rotation=90))
    assert turned[:, 10].sum() == H and turned[5].sum() == 4
    left = [[20, 20], [40, 20], [40, 80], [20, 80]]
    _, found = mask(tmp_path, SAME["polygon"], region("polygon", ["dog"], points=left),
                    region("rectangle", ["ignore"], x=70, y=20, width=10, height=60),
                    region("rectangle", ["cat", "dog"], x=60, y=20, width=10, height=60))  # fmt: skip
    assert found[5, [0, 4, 10, 13, 15]].tolist() == [0, 2, 1, 255, 255]
    assert mask(tmp_path, SAME["brush"], classes=["dog"])[1].sum() == 0


def test_a_mask_of_an_image_on_its_side_is_turned_with_it(tmp_path):
    for split in ("train", "validation", "test"):
        examine(tmp_path, SAME["brush"])
        tags = Image.Exif()
        tags[0x0112] = 6
        for i in range(6):
            Image.fromarray(np.full((H, W, 3), 90, np.uint8)).save(tmp_path / f"{i}.png", exif=tags)
        source = data.read(data_section("segmentation", reader="label_studio", root=tmp_path), split)
        for sample in source.items.map(source.load):
            assert sample["mask"].shape == sample["image"].shape[:2] == (W, H)


def test_what_has_no_area_is_counted(tmp_path):
    others = [region("keypoint", x=1, y=1), {"type": "choices", "value": {"choices": ["day"]}},
              region("brush", [], format="rle", rle=[1])]  # fmt: skip
    [line] = examine(tmp_path, SAME["brush"], others=others).findings
    assert line.endswith("18 shapes have no area (6 brush without a label, 6 choices, 6 keypoint); left out")


FAULTS = {
    "null": (None, "None in place of the packed bytes"),
    "text": ("abc", "abc in place of the packed bytes"),
    "letters": (["a"], "in place of the packed bytes"),
    "large": ([1, 256], "in place of the packed bytes"),
    "nothing": ([], "ends in the middle"),
    "cut": (stroke(INSIDE)[:20], "ends in the middle"),
    "other size": (stroke(INSIDE[:5]), "a brush stroke of 400 values of 8 bits in place of 800"),
    "too long": (stroke(INSIDE)[:7] + [0b1110_0000, 255, 255, 255, 255, 0, 0, 0, 0], "longer than its image"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_damaged_stroke_is_one_line(tmp_path, case):
    rle, message = FAULTS[case]
    with pytest.raises(UserError, match=rf"result\[0\] must lie in its image. Received: .*{message}"):
        mask(tmp_path, region("brush", format="rle", rle=rle))


def test_other_faults_are_one_line(tmp_path):
    with pytest.raises(UserError, match="a brush stroke of the format 'png' in place of 'rle'"):
        mask(tmp_path, region("brush", format="png", rle=[]))
    with pytest.raises(UserError, match=r"points\[0\] must be a number. Received: None"):
        mask(tmp_path, region("polygon", points=[[None, 1], [2, 2]]))
    with pytest.raises(UserError, match="annotated with a size of at most .* Received: 100000x100000"):
        mask(tmp_path, region("polygon", points=SQUARE, size=(10**5, 10**5)))


@pytest.mark.parametrize("word", [1, 3, 8])
def test_words_of_few_bits(word):
    zero, one = f"{0:0{word}b}", f"{1:0{word}b}"
    text = f"{5:032b}{word - 1:05b}" + "0000" * 4 + f"0001{one}{zero}" + f"1000{one}" + f"0001{zero}{one}"
    data = [int(text[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(text), 8)]
    assert unpacked(data, 5).tolist() == [1, 0, 1, 0, 1]
