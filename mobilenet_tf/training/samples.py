"""A sheet of training images as the network gets them: changed at random, with their annotations."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mobilenet_tf import viz
from mobilenet_tf.data.source import Source, fold_in, seed_of_epoch, user_errors
from mobilenet_tf.data.subsets import subset
from mobilenet_tf.task import Task, as_text
from mobilenet_tf.utils.errors import UserError

IMAGES = 12  # on the sheet
SHEET = "training_images.png"  # in the folder of plots


def write_sheet(task: Task, source: Source, path: Path) -> Path | None:
    """Draws samples from all over the training split as the first epoch has them; returns the path.

    It shows at a glance what a wrong annotation, a wrong order of colors or too strong a change looks like. Returns
    None, with a warning, where nothing can be drawn: a training goes on without its sheet.
    """
    transform = task.transform(training=any(stage.augment for stage in task.cfg.train.stages))
    seed, images, captions = seed_of_epoch(task.cfg.seed, 0), [], []
    try:
        with user_errors():
            for number, record in enumerate(subset(source, IMAGES).items):
                record = {**record, "index": tf.constant(number, tf.int64), "seed": fold_in(seed, number)}
                loaded: Any = source.load(record)
                if "original_size" in loaded and not loaded["original_size"][0]:
                    continue  # unreadable
                sample = {key: np.asarray(value) for key, value in transform(loaded).items()}
                image, words = task.annotation(sample, source.classes)
                images.append(image)
                captions.append(f"{words}\n{as_text(sample['id'])[-40:]}")
        if not images:
            return None
        path.parent.mkdir(exist_ok=True)
        return viz.sheet(images, captions, path, columns=4, cell=300)
    except (OSError, UserError) as error:
        warnings.warn(f"no sheet of training images: {error}", stacklevel=2)
        return None
