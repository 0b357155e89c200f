"""`check-data`: pixels of each class, what is wrong with masks, and a sheet of samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mobilenet_tf import viz
from mobilenet_tf.data.images import displayed_size
from mobilenet_tf.data.splits import SPLITS
from mobilenet_tf.data.transforms import IGNORE
from mobilenet_tf.tasks.segmentation import data
from mobilenet_tf.tasks.segmentation.config import Config
from mobilenet_tf.tasks.segmentation.data.masks import fitted
from mobilenet_tf.tasks.segmentation.drawing import overlay
from mobilenet_tf.utils.errors import UserError

SHEET_IMAGES = 24
MAX_PRINTED_FINDINGS = 20


def check(cfg: Config, folder: Path) -> dict:
    """Reads every mask of all splits there are; draws samples of train into `folder`. Values as JSON has them.

    Raises UserError where there is no train split, or not one image of it with a mask that can be used.
    """
    splits, missing = {}, {}
    for split in SPLITS:
        try:
            splits[split] = _split(cfg, split)
        except UserError as error:
            if split == "train":
                raise
            missing[split] = str(error)
    written = [_sheet(cfg, Path(folder) / "samples.png")]
    return {"splits": splits, "missing": missing, "files": [str(path) for path in written]}


def lines(result: dict) -> list[str]:
    """The report as text, the findings last."""
    text = []
    for split, report in result["splits"].items():
        total = max(1, sum(report["pixels"].values()))
        shares = ", ".join(f"{name} {count / total:.2%}" for name, count in report["pixels"].items())
        text += [f"{split}: {report['images']} images, {report['ignored']:.2%} of the pixels ignored", f"  {shares}"]
        missing = [name for name, count in report["pixels"].items() if not count]
        if missing:
            text.append(f"  no pixel of: {', '.join(missing)}")
    for split, report in result["splits"].items():
        text += [f"{split}: {line}" for line in report["findings"][:MAX_PRINTED_FINDINGS]]
        if len(report["findings"]) > MAX_PRINTED_FINDINGS:
            text.append(f"{split}: {len(report['findings']) - MAX_PRINTED_FINDINGS} more")
    return text + [f"no {split}: {reason}" for split, reason in result["missing"].items()]


def _split(cfg: Config, split: str) -> dict:
    counts, findings = np.zeros(256, np.int64), []
    examined = data.examine(cfg.data, split, seed=cfg.seed, size=max(cfg.model.input_size))
    if isinstance(examined, data.MaskedImages):
        findings += [*examined.findings, *_survey(examined, split)]
        for image, key in zip(examined.images, examined.masks, strict=True):
            try:
                mask = _fitted(examined.read_mask(key), image, bool(examined.as_stored))
                counts += np.bincount(mask.ravel(), minlength=256)
            except UserError as error:
                findings.append(str(error))
        count, classes = len(examined.images), examined.classes
    else:
        counts, count, classes = data.pixel_counts(examined), examined.count, examined.classes
    return {
        "images": count,
        "pixels": {name: int(counts[i]) for i, name in enumerate(classes)},
        "ignored": float(counts[IGNORE] / max(1, counts.sum())),
        "findings": findings,
    }


def _survey(examined: data.MaskedImages, split: str) -> list[str]:
    try:
        return data.survey(examined, split)
    except UserError as error:
        return [str(error)]


def _fitted(mask: np.ndarray, image: Path, as_stored: bool) -> np.ndarray:
    try:
        size = displayed_size(image)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{image} must be an image that can be read. Received: {reason}") from None
    return fitted(mask, image, size, as_stored)


def _sheet(cfg: Config, path: Path) -> Path:
    """Samples from all over the train split under their masks."""
    source = data.examine(cfg.data, "train", seed=cfg.seed, size=max(cfg.model.input_size))
    if isinstance(source, data.MaskedImages):
        source = data.source(source, on_corrupt=cfg.data.on_corrupt, rendering=cfg.data.rendering)
    step = max(1, source.count // SHEET_IMAGES)
    images, captions = [], []
    items: Any = source.items  # TensorFlow's stubs know no unpacked arguments
    chosen = items.enumerate().filter(lambda i, _: i % step == 0).map(lambda _, record: source.load(record))
    for sample in chosen.ignore_errors().take(SHEET_IMAGES).as_numpy_iterator():  # those are among the findings
        if sample.get("original_size", np.ones(2))[0]:
            images.append(overlay(sample["image"], sample["mask"], source.classes))
            captions.append(sample["id"].decode()[-40:])
    if not images:
        raise UserError("the train split must have images with masks that can be used. Received: none")
    return viz.sheet(images, captions, path, columns=6, cell=300)
