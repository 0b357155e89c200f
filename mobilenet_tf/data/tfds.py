"""TensorFlow Datasets: builders, splits and undecoded records, with one-line errors. TFDS itself is imported on use."""

from __future__ import annotations

import contextlib
import difflib
import logging
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import tensorflow as tf

from mobilenet_tf.config import DataWithSplits, Split
from mobilenet_tf.data.source import Sample, Source, image_loader
from mobilenet_tf.data.splits import SPLITS, no_such_split, to_draw, warn_test_is_validation
from mobilenet_tf.utils.errors import UserError

TIMEOUTS = (4, 60)  # seconds until a server must have answered, and between two parts of what it sends
SHUFFLE_BUFFER = 2_000  # records with their bytes; TFDS shuffles when it writes a data set


def builder(name: str | None, data_dir: str | Path | None) -> Any:
    """The prepared builder of a data set; downloads it where it is not in `data_dir`. Raises UserError."""
    import tensorflow_datasets as tfds

    try:
        prepared = tfds.builder(str(name), data_dir=data_dir and str(data_dir))
    except tfds.core.DatasetNotFoundError:
        close = difflib.get_close_matches(str(name), tfds.list_builders(), 3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise UserError(f"data.name must be a data set of TensorFlow Datasets{hint} Received: {name}") from None
    try:
        with _impatient():
            prepared.download_and_prepare()
    except Exception as error:  # the network's, the disk's, a checksum's, one of an optional package
        where = f"be in {prepared.data_dir} or be downloaded"
        by_hand = ""
        if isinstance(error, OSError) and getattr(error, "request", None) is not None:  # as those of `requests` have
            folder = Path(str(prepared.data_dir)).parent
            host = urlsplit(str(error.request.url)).hostname  # pyright: ignore[reportAttributeAccessIssue]
            by_hand = f"; {host} cannot be reached: copy {folder} from a machine that has the data set"
        raise UserError(f"{name} must {where}{by_hand}. Received: {type(error).__name__}: {one_line(error)}") from None
    return prepared


@contextlib.contextmanager
def _impatient() -> Iterator[None]:
    """Without a network, downloads of TFDS end within seconds: it would try each ten times, without a limit of time."""
    import requests
    from tensorflow_datasets.core.download import downloader

    retries, request, log = downloader.MAX_RETRIES, requests.Session.request, logging.getLogger("urllib3")
    level = log.level

    def limited(self: Any, method: Any, url: Any, *arguments: Any, **options: Any) -> Any:
        return request(self, method, url, *arguments, **{"timeout": TIMEOUTS, **options})

    downloader.MAX_RETRIES, requests.Session.request = 1, limited
    log.setLevel(logging.ERROR)  # else a warning for each try
    try:
        yield
    finally:
        downloader.MAX_RETRIES, requests.Session.request = retries, request
        log.setLevel(level)


def read_split(
    prepared,
    data: DataWithSplits,
    split: Split,
    item: Callable[[Sample], Sample],
    classes: list[str],
    *,
    test_is_validation: bool = False,
    ground_truth: Any = None,
) -> Source:
    """The Source of a split of a builder's data set.

    item: record of TFDS, "image" as its bytes and with "tfds_id" -> item of the Source, with "id" and "encoded".
    test_is_validation: see `split_expression`. ground_truth: see `Source`.
    Raises UserError: no such split, or an empty one.
    """
    expression = split_expression(prepared.info.splits, data, split, test_is_validation=test_is_validation)
    encoded, count = records(prepared, split, expression)
    corrupt: dict[str, str] = {}
    load = image_loader(count, corrupt, on_corrupt=data.on_corrupt, rendering=data.rendering)
    return Source(encoded.map(item), load, count, classes, corrupt, SHUFFLE_BUFFER, ground_truth)


def split_expression(
    available: Container[str], data: DataWithSplits, split: Split, *, test_is_validation: bool = False
) -> str:
    """TFDS's expression for a split, such as train[:90%].

    It is what `data.splits` says, or else the data set's split of that name. Where there is neither, and `data.splits`
    leaves train alone, `splits.to_draw` says which splits are parts of train: the last ones of it.
    test_is_validation: whether validation takes the place of the test split, of which no labels are published.
    Raises UserError where the data set neither has the split nor leaves it to be drawn.
    """
    if data.splits.get(split):
        return data.splits[split]
    if test_is_validation and split == "test":
        warn_test_is_validation(data.name)
        return split_expression(available, data, "validation")
    given = {name for name in SPLITS if name in available or name in data.splits}
    given = given or {"train", "test"}  # TFDS's mock data sets do not say what they have
    if split not in given and split not in to_draw(given):
        raise no_such_split(split, data.name, given)
    drawn = () if "train" in data.splits else to_draw(given)
    if split not in ("train", *drawn) or not drawn:
        return split
    percent = min(max(1, round(100 * data.validation_fraction)), 99 // len(drawn))
    ends = ["", *(f"{100 - percent * left}%" for left in range(len(drawn), 0, -1)), ""]
    first = ("train", *drawn).index(split)
    return f"train[{ends[first]}:{ends[first + 1]}]"


def records(prepared, split: str, expression: str) -> tuple[tf.data.Dataset, int]:
    """The records of a split in a fixed order, "image" as its bytes and with "tfds_id"; and their number.

    expression: TFDS's, such as train[:90%]; `split` is what an error calls it.
    Raises UserError: no such split, or an empty one.
    """
    import tensorflow_datasets as tfds

    try:
        encoded = prepared.as_dataset(
            split=expression,
            shuffle_files=False,
            decoders={"image": tfds.decode.SkipDecoding()},
            read_config=tfds.ReadConfig(add_tfds_id=True, try_autocache=False),
        )
        count = int(encoded.cardinality())
    except (ValueError, KeyError, AssertionError) as error:
        received = f"{expression}: {one_line(error)}"
        raise UserError(f"data.splits.{split} must be a split of {prepared.name}. Received: {received}") from None
    if count < 1:
        raise UserError(
            f"data.splits.{split} must have images in {prepared.name}. Received: {expression}, which is empty"
        )
    return encoded, count


def one_line(error: Exception) -> str:
    """The text of an error on one line of 200 characters at most."""
    return " ".join(str(error).split())[:200]
