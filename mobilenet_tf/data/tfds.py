"""TensorFlow Datasets: builders and their undecoded records, with one-line errors. TFDS itself is imported on use."""

from __future__ import annotations

import difflib
from pathlib import Path

import tensorflow as tf

from mobilenet_tf.utils.errors import UserError

SHUFFLE = 2_000  # records with their bytes; TFDS shuffles when it writes a data set


def builder(name: str, data_dir: str | Path | None):
    """The prepared builder of a data set; downloads it where it is not in `data_dir`. Raises UserError."""
    import tensorflow_datasets as tfds

    try:
        found = tfds.builder(name, data_dir=data_dir and str(data_dir))
    except tfds.core.DatasetNotFoundError:
        close = difflib.get_close_matches(str(name), tfds.list_builders(), 3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise UserError(f"data.name must be a data set of TensorFlow Datasets{hint} Received: {name}") from None
    try:
        found.download_and_prepare()
    except Exception as error:  # the network's, the disk's, a checksum's, one of an optional package
        where = f"be in {found.data_dir} or be downloaded"
        raise UserError(f"{name} must {where}. Received: {type(error).__name__}: {line(error)}") from None
    return found


def records(found, split: str, expression: str) -> tuple[tf.data.Dataset, int]:
    """The records of a split in a fixed order, "image" as its bytes and with "tfds_id"; and their number.

    expression: TFDS's, such as train[:90%]; `split` is what an error calls it.
    Raises UserError: no such split, or an empty one.
    """
    import tensorflow_datasets as tfds

    try:
        encoded = found.as_dataset(
            split=expression,
            shuffle_files=False,
            decoders={"image": tfds.decode.SkipDecoding()},
            read_config=tfds.ReadConfig(add_tfds_id=True, try_autocache=False),
        )
        count = int(encoded.cardinality())
    except (ValueError, KeyError, AssertionError) as error:
        received = f"{expression}: {line(error)}"
        raise UserError(f"data.splits.{split} must be a split of {found.name}. Received: {received}") from None
    if count < 1:
        raise UserError(f"data.splits.{split} must have pictures in {found.name}. Received: {expression}, an empty one")
    return encoded, count


def line(error: Exception) -> str:
    """An error's text on one line."""
    return " ".join(str(error).split())[:200]
