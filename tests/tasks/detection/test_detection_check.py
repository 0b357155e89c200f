"""Faults of annotations are found, named and dealt with; check-data reports what a set holds and draws it."""

import json
import warnings

import numpy as np
import pytest
from detection_sets import NAMES, coco_dict, write_coco, write_images, write_voc
from PIL import Image
from sections import data_section, reader_of

from mobilenet_tf import config
from mobilenet_tf.tasks.detection import check, data
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.workflow import check_data

BASE = {
    "task": "detection",
    "model": {"backbone": "mobilenet_v2", "alpha": 0.35, "input_size": [96, 96], "weights": None},
    "data": {"reader": "coco", "root": "x", "splits": {"train": "val2017", "validation": "val2017", "test": "val2017"}},
    "train": {"stages": [{"learning_rate": 0.1}]},
}


read = reader_of("detection")


def examine(root):
    return data.examine(data_section("detection", reader="coco", root=root), "validation")


def found_in(tmp_path, change) -> tuple:
    coco = coco_dict()
    write_coco(tmp_path)
    change(coco, tmp_path)
    (tmp_path / "annotations/instances_val2017.json").write_text(json.dumps(coco))
    listing, findings = examine(tmp_path)
    return listing, {finding.kind: str(finding) for finding in findings}


def box(place, value):
    return lambda coco, root: coco["annotations"][place].update(bbox=value)


CASES = {
    # kind: (change, what its line says, annotations left, images left)
    "outside the image": (box(0, [-20, 0, 40, 20]), "annotation 100: outside the image", 3, 2),
    "no area": (box(0, [8, 4, 0, 20]), "annotation 100: no area", 2, 2),
    "not finite": (box(1, [1, 2, float("nan"), 4]), "annotation 101: not finite", 2, 2),
    "one pixel": (box(0, [8, 4, 1, 1]), "annotation 100: one pixel", 3, 2),
    "unknown category": (
        lambda coco, root: coco["annotations"][2].update(category_id=5),
        "annotation 102: unknown category (5), left out",
        2,
        2,
    ),
    "unknown image": (lambda c, root: c["annotations"][2].update(image_id=5), "annotation 102: unknown image", 2, 2),
    "copied annotation": (
        lambda coco, root: coco["annotations"].append(dict(coco["annotations"][0])),
        "annotation 100: copied annotation",
        3,
        2,
    ),
    "same box twice": (
        lambda coco, root: coco["annotations"].append(coco["annotations"][0] | {"id": 103}),
        "annotation 103: same box twice",
        4,
        2,
    ),
    "same file twice": (
        lambda coco, root: coco["images"].append(coco["images"][0] | {"id": 12}),
        "a.png, image 12: same file twice (a.png), kept",
        3,
        3,
    ),
    "duplicate image id": (
        lambda coco, root: coco["images"].append(dict(coco["images"][0])),
        "a.png, image 11: duplicate image id",
        3,
        2,
    ),
    "missing image": (lambda coco, root: (root / "val2017/b.png").unlink(), "b.png, image 7: missing image", 2, 1),
    "unreadable image": (
        lambda coco, root: (root / "val2017/b.png").write_bytes(b"no picture"),
        "b.png, image 7: unreadable image",
        2,
        1,
    ),
    "other image size": (
        lambda coco, root: Image.new("RGB", (160, 80)).save(root / "val2017/a.png"),
        "a.png, image 11: other image size (160x80, annotated as 80x40), boxes are scaled",
        3,
        2,
    ),
    "other image shape": (
        lambda coco, root: Image.new("RGB", (40, 80)).save(root / "val2017/a.png"),
        "a.png, image 11: other image shape",
        1,
        1,
    ),
    "no boxes": (lambda coco, root: coco["annotations"].pop(), "b.png, image 7: no boxes", 2, 2),
    "class without boxes": (
        lambda coco, root: coco["categories"].append({"id": 91, "name": "bird"}),
        "category 91: class without boxes (bird), never learned",
        3,
        2,
    ),
}


@pytest.mark.parametrize("kind", CASES)
def test_each_fault_is_one_line_with_its_file_and_id(tmp_path, kind):
    change, line, annotations, images = CASES[kind]
    listing, findings = found_in(tmp_path, change)
    assert line in findings[kind] and str(tmp_path) in findings[kind] or kind == "no boxes"
    assert "\n" not in findings[kind]
    assert len(listing.coco["annotations"]) == annotations and len(listing.paths) == images
    assert len(listing.coco["images"]) == images
    source = data.annotation_set.source(listing)  # and what is left can be read
    assert sum(len(source.load(item)["boxes"]) for item in source.items) == annotations


def test_boxes_that_reach_outside_are_clipped(tmp_path):
    listing, _ = found_in(tmp_path, box(0, [-20, 0, 40, 20]))
    first = next(iter(data.annotation_set.source(listing).items))
    boxes = data.annotation_set.source(listing).load(first)["boxes"].numpy()
    np.testing.assert_allclose(boxes[0], [0, 0, 0.5, 0.25])


def test_a_flawless_set_has_no_findings_and_keeps_its_very_annotations(tmp_path):
    listing, findings = found_in(tmp_path, lambda coco, root: None)
    assert not findings and listing.coco == coco_dict()


def test_faults_become_a_few_warnings_before_training(tmp_path):
    coco = coco_dict()
    coco["annotations"] += [{**coco["annotations"][0], "id": 200 + i, "bbox": [1, 1, 0, 0]} for i in range(9)]
    write_coco(tmp_path, coco)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read("coco", tmp_path, "validation")
    lines = [str(w.message) for w in caught]
    assert len(lines) == 6 and lines[-1] == "4 more: no area; check-data lists them"
    assert all("annotation 20" in line for line in lines[:5])


def test_missing_images_end_a_strict_run_and_all_of_them_any_run(tmp_path):
    write_coco(tmp_path)
    (tmp_path / "val2017/a.png").unlink()
    with pytest.raises(UserError, match=r"a.png, image 11 must be an image that can be used. Received: no such file"):
        read("coco", tmp_path, "validation", on_corrupt="error")
    (tmp_path / "val2017/b.png").unlink()
    with pytest.raises(UserError, match="images that can be used. Received: 2 images, all left out: 2 x missing image; "
                       "the first .*val2017/a.png, image 11: no such file"):  # fmt: skip
        read("coco", tmp_path, "validation")


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_the_report_counts_boxes_as_the_model_sees_them(tmp_path, resize):
    write_coco(tmp_path)
    cfg = config.override(BASE, [f"data.root={tmp_path}", f"data.resize={resize}"], "small")
    result = check.check(cfg, tmp_path / "out")
    train = result["splits"]["train"]
    assert (train["images"], train["boxes"], train["crowds"], train["without_boxes"]) == (2, 3, 0, 0)
    assert train["classes"] == dict(zip(NAMES, (1, 2), strict=True))
    assert sum(train["sizes"]) == sum(train["aspects"]) == 3
    # a's cat is 16x20 of 80x40: in 96x96 stretched 19.2x48, padded (scale 1.2) 19.2x24
    square_pixels = {"stretch": (19.2 * 48) ** 0.5, "letterbox": (19.2 * 24) ** 0.5}[resize]
    assert train["sizes"][np.digitize(square_pixels, check.SIZES) - 1] >= 1
    assert 0 <= train["anchor_recall"] <= 1
    for name in ("samples.png", "boxes.png", "classes.png"):
        assert Image.open(tmp_path / "out" / name).width > 300
    text = check.lines(result)
    assert [line.partition(" of the split ")[0] for line in result["notes"]] == ["all 2 images"] * 2
    assert text[0].startswith("train: 2 images, 3 boxes") and any("anchor recall" in line for line in text)
    json.dumps(result, allow_nan=False)


def test_a_set_without_a_test_split_is_examined_as_far_as_it_goes(tmp_path):
    crowd = coco_dict()
    crowd["annotations"] += [box | {"id": 200 + i, "bbox": [i % 60, 1, 5, 5 + i // 60]} for i in range(110)
                             for box in crowd["annotations"][:1]]  # fmt: skip
    for split, coco in (("train", crowd), ("valid", coco_dict())):
        write_images(tmp_path / split)
        (tmp_path / split / "_annotations.coco.json").write_text(json.dumps(coco))
    cfg = config.override(BASE, [f"data.root={tmp_path}", "data.splits={}"], "small")
    result = check.check(cfg, tmp_path / "out")
    assert list(result["splits"]) == ["train", "validation"]
    assert result["splits"]["train"]["most_boxes"] == 112 and result["splits"]["validation"]["most_boxes"] == 2
    assert [line.partition(" ")[0] for line in result["notes"]] == ["train:", "test:", "all"]
    assert "112 boxes, of which detections.max_detections lets 100 be found" in result["notes"][0]
    assert "must have images for the split test" in result["notes"][1]
    assert set(result["notes"]) <= set(check.lines(result))


def test_anchor_recall_is_one_when_the_boxes_are_the_anchors(tmp_path):
    """The anchors of a 1x1 map lie in the center: a set of such boxes is found whole."""
    coco = coco_dict()
    for image, entry in zip(coco["images"], coco["annotations"][1:], strict=True):
        height, width = image["height"], image["width"]
        entry |= {"image_id": image["id"], "bbox": [0.2 * width, 0.2 * height, 0.6 * width, 0.6 * height]}
    coco["annotations"] = coco["annotations"][1:]
    write_coco(tmp_path, coco)
    boxes = [[[0.01, 0.01]]] * 3 + [[[0.6, 0.6]]]
    keys = [f"data.root={tmp_path}", "model.anchors.layout=custom", f"model.anchors.boxes={boxes}"]
    assert check.check(config.override(BASE, keys, "s"), tmp_path / "o")["splits"]["train"]["anchor_recall"] == 1.0
    keys[-1] = f"model.anchors.boxes={[[[0.01, 0.01]]] * 4}"
    assert check.check(config.override(BASE, keys, "s"), tmp_path / "o")["splits"]["train"]["anchor_recall"] == 0.0


def test_scenes_are_reported_without_files(tmp_path):
    cfg = config.override(
        BASE, ["data.reader=scenes", "data.splits={}", "data.counts={train: 6, validation: 2, test: 2}"], "small"
    )
    train = check.check(cfg, tmp_path)["splits"]["train"]
    assert train["images"] == 6 and 6 <= train["boxes"] <= 18 and not train["findings"]


def test_the_command_prints_the_report_and_refuses_other_tasks(tmp_path):
    path = tmp_path / "voc.yaml"
    root = write_voc(tmp_path / "voc", lists=("train", "val", "test"), difficult=[("a", 0)])
    values = BASE | {"data": {"reader": "voc", "root": str(root)}}
    path.write_text(json.dumps(values))
    result, lines = check_data(str(path), ["model.alpha=0.5"], tmp_path / "out")
    assert result["splits"]["train"]["crowds"] == 1 and lines[0].startswith("train: 2 images, 2 boxes, 1 crowds")
