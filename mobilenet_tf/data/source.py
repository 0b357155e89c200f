"""The Sample convention, reading image files, and batching for training and evaluation."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import tensorflow as tf
from PIL import Image

from mobilenet_tf.config import OnCorrupt, Rendering
from mobilenet_tf.data import image_decoding, images
from mobilenet_tf.utils.class_names import check_characters
from mobilenet_tf.utils.console import readable
from mobilenet_tf.utils.errors import UserError

Sample = dict[str, tf.Tensor]
Batch = dict[str, tf.Tensor]

AUTOTUNE = tf.data.AUTOTUNE
CORRUPT_POLICIES = get_args(OnCorrupt)
PADDING = {"labels": -1, "mask": 255}  # of what differs in length between the samples of a batch; 0 and "" otherwise
MIX_STREAM = 0x6D6978  # sets the batch's random numbers apart from its first sample's


@dataclass(frozen=True)
class Source:
    """Where samples come from.

    items:   one record a sample in a fixed order; has at least "id" (string scalar). Shuffled before `load`.
    load:    record -> Sample: adds "image" uint8 [H, W, 3] RGB, EXIF applied. Runs in tf.data. Of image files it also
             adds "original_size" int32 [2] (H, W; [0, 0] where the item cannot be read: the batchers drop it) and
             "encoded", the bytes that `image_decoding.decode` takes: a crop can decode its own part only.
    count:   the number of items, unreadable ones included.
    classes: the class names; labels are indices into them.
    corrupt: {id: reason} of the items that could not be read so far (filled while reading; such items are skipped).
    shuffle_buffer: how many items shuffling holds at most; fewer where items carry bytes.
    ground_truth: the data set's own annotations, for metrics that use them (COCO's JSON as a dict).
    notes: lines about the whole data set, to be printed once before it is used.
    """

    items: tf.data.Dataset
    load: Callable[[Sample], Sample]
    count: int
    classes: list[str]
    corrupt: dict[str, str] = field(default_factory=dict)
    shuffle_buffer: int = 100_000
    ground_truth: Any = None
    notes: Sequence[str] = ()

    def __post_init__(self):
        check_characters(self.classes, "the data")


def steps_per_epoch(count: int, batch_size: int) -> int:
    """The number of batches in an epoch, the last partial one included."""
    return -(-count // batch_size)


def map_samples(source: Source, change: Callable[[Sample], Sample]) -> Source:
    """The source with every sample changed after it is loaded; `change` runs in tf.data."""
    return replace(source, load=lambda record: change(source.load(record)))


# Reading image files


def file_source(
    paths: Sequence[str | Path],
    columns: Mapping[str, Any],
    classes: Sequence[str],
    *,
    on_corrupt: str = "skip",
    rendering: Rendering = Rendering(),  # noqa: B008 - immutable
) -> Source:
    """Source over image files, identified by their paths; `columns` are arrays of the same length (e.g. "label").

    Files that cannot be read are skipped and named in `corrupt`, or end the run (on_corrupt="error") with a UserError.
    """
    corrupt = {}
    load = image_loader(len(paths), corrupt, on_corrupt=on_corrupt, rendering=rendering)
    slices: Any = {"id": [os.fsencode(path) for path in paths], **columns}  # the stubs know no dicts of columns
    return Source(tf.data.Dataset.from_tensor_slices(slices), load, len(paths), list(classes), corrupt)


def image_loader(
    count: int,
    corrupt: dict[str, str],
    *,
    on_corrupt: str = "skip",
    rendering: Rendering = Rendering(),  # noqa: B008 - immutable
) -> Callable[[Sample], Sample]:
    """The `load` of a Source of `count` images: bytes in the record's "encoded", or else in the file named by its "id".

    Enters items that cannot be read in `corrupt`. They, with on_corrupt="error", or all of them unreadable raise a
    UserError (inside tf.data: see `user_errors`).
    """
    if on_corrupt not in CORRUPT_POLICIES:
        raise UserError(f"on_corrupt must be one of {', '.join(CORRUPT_POLICIES)}. Received: {on_corrupt!r}")

    plain = {}  # {name: size} of what `normalize` leaves as it is: checked once a run

    def fetch(name, data):
        # bytes in a graph, arrays of no dimensions in eager mode
        name, data = (value if isinstance(value, bytes) else value.item() for value in (name, data))
        name = os.fsdecode(name)
        try:
            if not data:
                data = images.read_bytes(name)
            encoded, size = (data, plain[name]) if name in plain else image_decoding.normalize(data, rendering)
            if encoded is data:
                plain[name] = size
        except OSError as error:  # UnreadableImageError among them
            encoded, size = _blank(), (0, 0)
            corrupt[name] = getattr(error, "strerror", None) or str(error)
        fatal = not size[0] and (on_corrupt == "error" or len(corrupt) == count)
        message = (
            f"UserError: {readable(name)} must be an image that can be used. Received: {corrupt[name]}" if fatal else ""
        )
        return encoded, np.array(size, np.int32), message

    def load(record: Sample) -> Sample:
        sample = dict(record)
        data = sample.pop("encoded", tf.constant(b""))
        encoded, size, error = tf.numpy_function(fetch, [sample["id"], data], [tf.string, tf.int32, tf.string])
        encoded, size = tf.ensure_shape(encoded, []), tf.ensure_shape(size, [2])
        with tf.control_dependencies([tf.debugging.Assert(error == b"", [error])]):
            encoded = tf.identity(encoded)
        return {**sample, "image": image_decoding.decode(encoded), "encoded": encoded, "original_size": size}

    return load


def _blank() -> bytes:
    bmp = io.BytesIO()
    Image.new("RGB", (images.MIN_SIDE, images.MIN_SIDE)).save(bmp, "BMP")
    return bmp.getvalue()


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Around code that reads batches: turns a UserError raised inside tf.data back into that one-line UserError."""
    try:
        yield
    except tf.errors.OpError as error:
        message = re.search(r"\[UserError: (.*)\]", str(error))
        if message is None:
            raise
        raise UserError(message[1]) from None


# Batching


def training_batches(
    source: Source,
    transform: Callable[[Sample], Sample],
    encode: Callable[[Batch], tuple],
    *,
    batch_size: int,
    seed: int,
    start_epoch: int = 0,
    mix: Callable | None = None,
    sampler: Callable | None = None,
) -> tf.data.Dataset:
    """Endless batches (images, targets), `steps_per_epoch` of them an epoch, from epoch `start_epoch` on.

    Samples carry "index" int64 (their index in the source) and "seed" int32 [2] for `transform`. Order and seeds follow
    from (seed, epoch, index) alone, so a run that starts at epoch k goes on exactly as one that was never stopped.
    Every epoch has each sample once and keeps its last partial batch; where k items cannot be read, the first k
    of the epoch's order come a second time, so that its number of batches stays the same.
    `mix` gets ((images, targets), seed). `sampler` replaces the shuffling: it gets the columns of all items as arrays
    and the epoch's seed int32 [2], and gives the indices int64 [M] of the epoch's samples. A sample's seed then comes
    from its position in the epoch, since it may come again.
    """
    items = _enumerated(source)
    columns = items.batch(source.count).get_single_element() if sampler else {}

    def epoch_batches(epoch):
        epoch_seed = seed_of_epoch(seed, epoch)

        def prepare(number, record):
            return _prepare({**record, "seed": fold_in(epoch_seed, number)}, source.load, transform)

        if sampler:
            indices, count = sampled(columns, epoch_seed, sampler)
            samples = indices.map(lambda index: {key: tf.gather(value, index) for key, value in columns.items()})
            samples = samples.enumerate()
        else:
            samples, count = shuffled(items, epoch_seed, min(source.count, source.shuffle_buffer)), source.count
            samples = samples.map(lambda record: (record["index"], record))
        samples = samples.map(prepare, num_parallel_calls=AUTOTUNE).filter(_readable)
        return _batch(samples.repeat().take(count), batch_size)

    def finish(batch):
        encoded = encode(batch)
        return mix(encoded, fold_in(batch["seed"][0], MIX_STREAM)) if mix else encoded

    epochs = tf.data.Dataset.range(start_epoch, tf.int64.max)
    batches = epochs.flat_map(epoch_batches).map(finish, num_parallel_calls=AUTOTUNE)
    return _in_order(batches.prefetch(AUTOTUNE))


def evaluation_batches(source: Source, transform: Callable[[Sample], Sample], *, batch_size: int) -> tf.data.Dataset:
    """Batches of Samples: every readable sample once, in the source's order; the last batch may be partial.

    "image" is [N, H, W, 3]; "original_size" int32 [N, 2] is (H, W) before `transform`; "index" int64 [N] counts
    them in the source. What differs in length ("boxes") is padded with 0, "labels" with -1 and "mask" with 255.
    """
    samples = _enumerated(source).map(
        lambda record: _prepare(record, source.load, transform), num_parallel_calls=AUTOTUNE
    )
    return _in_order(_batch(samples.filter(_readable), batch_size).prefetch(AUTOTUNE))


def difference(classes: Sequence[str], others: Sequence[str]) -> str:
    """How two lists of classes differ, for a message: the names in only one of them, or their order."""
    odd = sorted(set(classes) ^ set(others))
    return ", ".join(odd[:5]) + (", ..." if len(odd) > 5 else "") if odd else "their order"


def seed_of_epoch(seed: int, epoch: Any) -> tf.Tensor:
    """The stateless seed int32 [2] of one epoch of a run."""
    return fold_in([seed, 0], epoch)


def shuffled(items: tf.data.Dataset, epoch_seed: tf.Tensor, buffer: int) -> tf.data.Dataset:
    """The order of one epoch, the same for all data sets of one length and buffer. To be traced by tf.data."""
    tf.random.set_seed(1)  # of the traced graph alone: the global seed would change the order, and fail when it is 0
    # The stubs want a plain number as the seed of `shuffle`
    seed: Any = tf.random.stateless_uniform([], epoch_seed, minval=0, maxval=tf.int64.max, dtype=tf.int64)
    return items.shuffle(max(1, buffer), seed=seed, reshuffle_each_iteration=False)


def sampled(columns: Batch, epoch_seed: tf.Tensor, sampler: Callable) -> tuple[tf.data.Dataset, tf.Tensor]:
    """The indices of one epoch's samples, as a sampler draws them, and how many they are. To be traced by tf.data."""
    arrays = {key: np.asarray(value) for key, value in columns.items()}
    indices = tf.numpy_function(lambda seed: sampler(arrays, seed), [epoch_seed], tf.int64, stateful=False)
    indices = tf.ensure_shape(indices, [None])
    return tf.data.Dataset.from_tensor_slices(indices), tf.size(indices, tf.int64)


def fold_in(seed: Any, number: Any) -> tf.Tensor:
    """A new stateless seed int32 [2] from a seed [2] and a number, tensors or plain numbers."""
    random: Any = tf.random  # the stubs take plain numbers only
    return random.fold_in(tf.cast(seed, tf.int32), tf.cast(number, tf.int32))


def _enumerated(source: Source) -> tf.data.Dataset:
    return source.items.enumerate().map(lambda index, record: {**record, "index": index})


def _prepare(record, load, transform):
    sample = load(record)
    sample.setdefault("original_size", tf.shape(sample["image"])[:2])
    sample = dict(transform(sample))
    sample.pop("encoded", None)  # the undecoded image is needed no longer
    return sample


def _readable(sample):
    return sample["original_size"][0] > 0


def _batch(samples, batch_size):
    spec = samples.element_spec
    if not spec["image"].shape.is_fully_defined():
        raise ValueError(f"transform must give images of one fixed size. Received: {spec['image'].shape}")
    if all(part.shape.is_fully_defined() for part in spec.values()):
        return samples.batch(batch_size)
    padding = {key: tf.constant(PADDING[key], part.dtype) if key in PADDING else None for key, part in spec.items()}
    return samples.padded_batch(batch_size, padding_values=padding)


def _in_order(batches):
    options = tf.data.Options()
    options.deterministic = True
    return batches.with_options(options)
