"""Small data sets on disk in every format that detection reads: the same two images and three boxes."""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from sections import data_section

from mobilenet_tf.tasks.detection import data
from mobilenet_tf.tasks.detection.config import Data
from mobilenet_tf.tasks.detection.data.annotation_set import AnnotationSet
from mobilenet_tf.tasks.detection.data.findings import Finding

NAMES = ["cat", "dog"]
# (picture, height, width, [(class, x, y, width, height)]), pixels from 0
IMAGES = [("a", 40, 80, [(0, 8, 4, 16, 20), (1, 40, 10, 30, 20)]), ("b", 60, 48, [(1, 12, 30, 24, 24)])]


def write_images(folder: Path, suffix=".png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, height, width, _) in enumerate(IMAGES):
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}{suffix}")


def coco_dict(ids=(11, 7), categories=(3, 90)) -> dict:
    """Annotations in COCO's structure, with gaps in the ids."""
    images, annotations = [], []
    for number, (name, height, width, boxes) in zip(ids, IMAGES, strict=True):
        images.append({"id": number, "file_name": f"{name}.png", "height": height, "width": width})
        for label, *box in boxes:
            entry = {"image_id": number, "category_id": categories[label], "bbox": box, "area": box[2] * box[3]}
            annotations.append(
                {"id": 100 + len(annotations), "iscrowd": 0, "segmentation": [[0, 0, 1, 0, 1, 1]], **entry}
            )
    names = [{"id": number, "name": name} for number, name in zip(categories, NAMES, strict=True)]
    return {"images": images, "annotations": annotations, "categories": names[::-1]}


def write_coco(root: Path, coco: dict | None = None, name="val2017") -> Path:
    """The official layout."""
    write_images(root / name)
    path = root / "annotations" / f"instances_{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(coco or coco_dict()))
    return root


def write_voc(root: Path, lists=("train", "val"), difficult=()) -> Path:
    """One folder of Pascal VOC; boxes of these (image, place) are difficult."""
    write_images(root / "JPEGImages")
    for name, height, width, boxes in IMAGES:
        objects = "".join(
            f"<object><name>{NAMES[label]}</name><difficult>{int((name, i) in difficult)}</difficult><bndbox>"
            f"<xmin>{x + 1}</xmin><ymin>{y + 1}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
            for i, (label, x, y, w, h) in enumerate(boxes)
        )
        size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        path = root / "Annotations" / f"{name}.xml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"<annotation><filename>{name}.png</filename>{size}{objects}</annotation>")
    for name in lists:
        path = root / "ImageSets" / "Main" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a\nb\n")
    return root


def write_yolo(root: Path, splits=("train", "val")) -> Path:
    """images/<split>, labels/<split> and data.yaml; the second box as a polygon."""
    for split in splits:
        write_images(root / "images" / split)
        (root / "labels" / split).mkdir(parents=True, exist_ok=True)
        for name, height, width, boxes in IMAGES:
            lines = [
                f"{label} {(x + w / 2) / width:.6f} {(y + h / 2) / height:.6f} {w / width:.6f} {h / height:.6f}"
                for label, x, y, w, h in boxes
            ]
            if name == "a":
                _, x, y, w, h = boxes[1]
                points = [(x, y + h / 2), (x + w / 2, y), (x + w, y + h / 2), (x + w / 2, y + h)]
                lines[1] = "1 " + " ".join(f"{px / width:.6f} {py / height:.6f}" for px, py in points)
            (root / "labels" / split / f"{name}.txt").write_text("\n".join(lines) + "\n")
    keys = "".join(f"{split}: images/{split}\n" for split in splits)
    (root / "data.yaml").write_text(f"path: .\n{keys}names: {{0: cat, 1: dog}}\n")
    return root


def examine(reader: str, root: Path, split="train", **keys) -> tuple[AnnotationSet, list[Finding]]:
    """The checked annotations of a split, with what was found; no image is decoded."""
    section = data_section("detection", reader=reader, root=root, **keys)
    assert isinstance(section, Data)
    annotations, findings = data.examine(section, split)
    assert isinstance(annotations, AnnotationSet)
    return annotations, findings
