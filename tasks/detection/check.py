"""`check-data`: what an annotated set holds, what is wrong with it, and how well the model's anchors fit it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mobilenet_tf import viz
from mobilenet_tf.data import overlap
from mobilenet_tf.data.source import Source, user_errors
from mobilenet_tf.data.splits import SPLITS, NoSuchSplitError
from mobilenet_tf.tasks.detection import boxes as box_ops
from mobilenet_tf.tasks.detection import data
from mobilenet_tf.tasks.detection.config import Config
from mobilenet_tf.tasks.detection.data.findings import KINDS, Finding
from mobilenet_tf.tasks.detection.task import anchors
from mobilenet_tf.utils.errors import UserError

SIZES = (0, 8, 16, 32, 64, 96, 128, 192, 256, 512, np.inf)  # square root of the area, pixels of the input
ASPECTS = (0, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 1, 3 / 2, 2, 3, 4, np.inf)  # width / height in the input
MAX_SHEET_IMAGES = 24  # on the sheet
GOOD_RECALL = 0.9  # anchor recall below it makes the report suggest changes


@dataclass
class SplitReport:
    """What one split holds. Sizes and aspects are those of the boxes in the model's input."""

    images: int
    boxes: int
    crowds: int
    without_boxes: int
    most_boxes: int  # in an image
    classes: dict[str, int]
    sizes: list[int]  # boxes in each bin of SIZES
    aspects: list[int]  # boxes in each bin of ASPECTS
    anchor_recall: float | None  # share of boxes that some anchor overlaps by IoU 0.5; None without boxes
    anchor_recall_by_size: list[float | None]
    counts: dict[str, int] = field(default_factory=dict)  # findings of each kind
    findings: list[str] = field(default_factory=list)  # one line each


def check(cfg: Config, folder: Path) -> dict:
    """Examines every split of a config; writes samples.png, boxes.png and classes.png into the folder.

    Returns {"splits": {name: SplitReport as a dict}, "notes", "size_edges", "aspect_edges", "files"}. A split that the
    data set does not have is in "notes" alone.
    Raises UserError where a split cannot be read at all.
    """
    reports, sources, written, notes = {}, {}, [], []
    prior = anchors(cfg)
    for split in SPLITS:
        try:
            read, findings = _read(cfg, split)
        except NoSuchSplitError as error:
            if split == "train":
                raise
            notes.append(f"{split}: {error}")
            continue
        sources[split] = read
        report = reports[split] = _report(cfg, read, findings, prior)
        if report.most_boxes > cfg.detections.max_detections:
            notes.append(
                f"{split}: an image has {report.most_boxes} boxes, of which detections.max_detections lets "
                f"{cfg.detections.max_detections} be found"
            )
        if split == "train":
            written.append(_sheet(cfg, read, folder / "samples.png"))
    written += _plots(reports, folder)
    for split in sources:
        notes += (
            [shared] if split != "train" and (shared := overlap.note(sources["train"], sources[split], split)) else []
        )
    return {
        "splits": {split: asdict(report) for split, report in reports.items()},
        "notes": notes,
        "size_edges": [float(edge) for edge in SIZES[:-1]],
        "aspect_edges": [round(edge, 3) for edge in ASPECTS[:-1]],
        "files": [str(path) for path in written],
    }


def lines(result: dict) -> list[str]:
    """The report as text, the findings last."""
    text = []
    for split, report in result["splits"].items():
        text.append(
            f"{split}: {report['images']} images, {report['boxes']} boxes, {report['crowds']} crowds or difficult, "
            f"{report['without_boxes']} images without boxes, at most {report['most_boxes']} boxes in an image"
        )
        recall = report["anchor_recall"]
        if recall is not None:
            text.append(f"  anchor recall at IoU 0.5: {recall:.3f}")
            text += _advice(recall)
        text.append("  classes: " + ", ".join(f"{name} {count}" for name, count in report["classes"].items()))
        for what, edges, counts in (
            ("size, px", result["size_edges"], report["sizes"]),
            ("width/height", result["aspect_edges"], report["aspects"]),
        ):
            text.append(f"  {what}: " + ", ".join(f"{edge:g}+ {n}" for edge, n in zip(edges, counts, strict=True)))
    text += result["notes"]
    for split, report in result["splits"].items():
        text += [f"{split}: {count} x {kind}, {KINDS[kind]}" for kind, count in report["counts"].items()]
        text += [f"{split}: {line}" for line in report["findings"]]
    return text


def _advice(recall: float) -> list[str]:
    if recall >= GOOD_RECALL:
        return []
    return ["  low: look at the sizes below 16 px and the extreme aspects, then at model.input_size and model.anchors"]


def _read(cfg: Config, split: str) -> tuple[Source, list[Finding]]:
    annotations, findings = data.examine(cfg.data, split, seed=cfg.seed, size=max(cfg.model.input_size))
    if isinstance(annotations, Source):
        return annotations, findings
    options = {"on_corrupt": cfg.data.on_corrupt, "rendering": cfg.data.rendering}
    return data.annotation_set.source(annotations, **options), findings


def _report(cfg: Config, read: Source, findings: list[Finding], prior: np.ndarray) -> SplitReport:
    images, boxes, labels, crowd, empty, most = _annotations(cfg, read)
    single = ~crowd
    pixels = boxes[single] * np.tile(cfg.model.input_size, 2)
    height, width = pixels[:, 2] - pixels[:, 0], pixels[:, 3] - pixels[:, 1]
    size = np.sqrt(height * width)
    counts = Counter(labels[single].tolist())
    finding_counts = Counter(finding.kind for finding in findings)
    in_bin = np.digitize(size, SIZES) - 1
    return SplitReport(
        images=images,
        boxes=int(single.sum()),
        crowds=int(crowd.sum()),
        without_boxes=empty,
        most_boxes=most,
        classes={name: counts[label] for label, name in enumerate(read.classes)},
        sizes=np.histogram(size, SIZES)[0].tolist(),
        aspects=np.histogram(width / np.maximum(height, 1e-6), ASPECTS)[0].tolist(),
        anchor_recall=_recall(boxes[single], prior),
        anchor_recall_by_size=[_recall(boxes[single][in_bin == i], prior) for i in range(len(SIZES) - 1)],
        counts=dict(finding_counts),
        findings=[str(finding) for finding in findings if finding.kind != "no boxes"],
    )


def _recall(boxes: np.ndarray, prior: np.ndarray) -> float | None:
    return round(float(box_ops.anchor_recall(boxes, prior)), 4) if len(boxes) else None


def _annotations(cfg: Config, read: Source) -> tuple[int, np.ndarray, np.ndarray, np.ndarray, int, int]:
    """(images, boxes [B, 4] in the input, labels [B], crowd [B], images without boxes, most boxes in an image)."""
    whole = "images" in (read.ground_truth or {})
    boxes, labels, crowd, sizes, rows = _from_files(read) if whole else _from_records(read)
    if cfg.data.resize == "letterbox":
        shape = np.array(cfg.model.input_size)
        scale = (shape / sizes).min(1, keepdims=True)
        boxes = boxes * np.tile(sizes * scale / shape, 2)[rows]
    counts = np.bincount(rows[~crowd], minlength=len(sizes))
    return len(sizes), boxes, labels, crowd, int(len(sizes) - len(np.unique(rows))), int(counts.max(initial=0))


def _from_files(read: Source) -> tuple[np.ndarray, ...]:
    """(boxes, labels, crowd, (height, width) of the images, the image of each box) without reading images."""
    truth = read.ground_truth
    row_of = {image["id"]: row for row, image in enumerate(truth["images"])}
    label = {category["id"]: read.classes.index(category["name"]) for category in truth["categories"]}
    sizes = np.array([[image["height"], image["width"]] for image in truth["images"]], np.float64)
    rows = np.array([row_of[entry["image_id"]] for entry in truth["annotations"]], np.int64)
    return (
        data.annotation_set.normalized([entry["bbox"] for entry in truth["annotations"]], sizes[rows]),
        np.array([label[entry["category_id"]] for entry in truth["annotations"]], np.int64),
        np.array([bool(entry.get("iscrowd", 0)) for entry in truth["annotations"]], bool),
        sizes,
        rows,
    )


def _from_records(read: Source) -> tuple[np.ndarray, ...]:
    """The same from the samples."""

    def fields(record):
        sample = read.load(record)
        size = sample.get("original_size", tf.shape(sample["image"])[:2])
        return {"size": size} | {key: sample[key] for key in ("boxes", "labels", "crowd")}

    with user_errors():
        samples = list(read.items.map(fields, num_parallel_calls=tf.data.AUTOTUNE).as_numpy_iterator())
    samples = [sample for sample in samples if sample["size"][0]]
    columns = [np.concatenate([sample[key] for sample in samples]) for key in ("boxes", "labels", "crowd")]
    rows = np.repeat(np.arange(len(samples)), [len(sample["labels"]) for sample in samples])
    return (*columns, np.array([sample["size"] for sample in samples], np.float64), rows)


def _sheet(cfg: Config, read: Source, path: Path) -> Path:
    """Samples from all over the split with their boxes; crowds dashed."""
    step = max(1, read.count // MAX_SHEET_IMAGES)
    images, captions = [], []
    with user_errors():
        # The stubs do not know that the functions get the parts of a pair as two arguments
        numbered: Any = read.items.enumerate()
        for record in numbered.filter(lambda i, _: i % step == 0).map(lambda _, record: record):
            sample: dict[str, Any] = {key: value.numpy() for key, value in read.load(record).items()}
            if not sample.get("original_size", np.ones(2))[0] or len(images) == MAX_SHEET_IMAGES:
                continue
            shown = [
                viz.Box(box, read.classes[label], viz.COLORS[label % len(viz.COLORS)], dashed=bool(ignored))
                for box, label, ignored in zip(sample["boxes"], sample["labels"], sample["crowd"], strict=True)
            ]
            images.append(viz.draw_boxes(sample["image"], shown))
            captions.append(f"{sample['id'].decode()}\n{len(shown)} boxes")
    if not images:
        raise UserError("the train split must have images that can be read. Received: none")
    return viz.sheet(images, captions, path, columns=6, cell=300)


def _plots(reports: dict[str, SplitReport], folder: Path) -> list[Path]:
    train = reports["train"]
    recall = [0 if value is None else value for value in train.anchor_recall_by_size]
    panels = {
        "box size, √area in pixels of the input": (SIZES, train.sizes),
        "width / height": (ASPECTS, train.aspects),
        "anchor recall by size": (SIZES, recall),
    }
    names = list(train.classes)
    most = max(1, *train.classes.values())
    bars = viz.bars(
        [train.classes[name] / most for name in names],
        names,
        folder / "classes.png",
        title="boxes per class, as a share of the most frequent (train)",
        notes=[f"({train.classes[name]:,})" for name in names],
    )
    return [viz.histograms(panels, folder / "boxes.png", "Boxes of the train split"), bars]
