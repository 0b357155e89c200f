"""`check-data` for tasks without annotation files: reads every image of every split and says what is there."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet_tf.data import overlap
from mobilenet_tf.data.source import AUTOTUNE, Source, user_errors
from mobilenet_tf.data.splits import SPLITS, NoSuchSplitError
from mobilenet_tf.task import Task
from mobilenet_tf.training.samples import SHEET, write_sheet
from mobilenet_tf.utils.console import readable

FEW = 20  # unreadable files that are named


def check(task: Task, folder: Path) -> dict:
    """Reads all images of a config's data and draws some as the training has them into the folder.

    Returns {"splits": {name: {"images", "classes", "smallest", "largest", "unreadable"}}, "notes", "files"}; sizes are
    (height, width) in pixels, by area, where the files tell them. A split that the data set does not have is left out.
    Raises UserError where a split cannot be read at all.
    """
    sources, notes = {}, []
    for split in SPLITS:
        try:
            sources[split] = task.source(split)
        except NoSuchSplitError as error:
            if split == "train":
                raise
            notes.append(f"{split}: {error}")
    splits = {split: _examine(source) for split, source in sources.items()}
    notes = [*dict.fromkeys(note for source in sources.values() for note in source.notes), *notes]
    for split, source in sources.items():
        if split != "train" and (shared := overlap.note(sources["train"], source, split)):
            notes.append(shared)
    folder.mkdir(parents=True, exist_ok=True)
    sheet = write_sheet(task, sources["train"], folder / SHEET)
    return {"splits": splits, "notes": notes, "files": [str(sheet)] if sheet else []}


def lines(result: dict) -> list[str]:
    """The report as text, the files that cannot be read last."""
    text = list(result["notes"])
    for split, found in result["splits"].items():
        sizes = ""
        if found["smallest"]:
            (low, narrow), (high, wide) = found["smallest"], found["largest"]
            sizes = f", from {narrow}x{low} to {wide}x{high} px (width x height)"
        text.append(f"{split}: {found['images']:,} images can be read{sizes}")
    for split, found in result["splits"].items():
        names = list(found["unreadable"].items())
        text += [f"{split}: cannot be read: {name}: {reason}" for name, reason in names[:FEW]]
        text += [f"{split}: … and {len(names) - FEW:,} more that cannot be read"] if len(names) > FEW else []
    return list(map(readable, text))


def _examine(source: Source) -> dict[str, Any]:
    labels, sizes, images = Counter(), [], 0
    with user_errors():
        loaded: Any = source.items.map(source.load, num_parallel_calls=AUTOTUNE)
        for sample in loaded.as_numpy_iterator():
            size = sample.get("original_size", sample["image"].shape[:2])
            if not np.all(size):
                continue  # unreadable, and by now among `corrupt`
            images += 1
            sizes.append((int(size[0]), int(size[1])))
            if np.ndim(label := sample.get("label", 0.0)) == 0 and np.issubdtype(np.asarray(label).dtype, np.integer):
                labels[source.classes[int(label)]] += 1
    by_area = sorted(set(sizes), key=lambda size: size[0] * size[1])
    return {
        "images": images,
        "classes": dict(sorted(labels.items())),
        "smallest": by_area[0] if by_area else None,
        "largest": by_area[-1] if by_area else None,
        "unreadable": dict(sorted(source.corrupt.items())),
    }
