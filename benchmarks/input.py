"""Images/s of the training input: our pipeline against Keras's image_dataset_from_directory and layers.

JPEG -> random part -> flip -> batches of 32 at 224 px, order kept, in one process, by turns.
Run: python benchmarks/input.py FOLDER [--json]
"keras crop" has the cheapest augmentation (one fixed scale); "keras zoom" is the one that, like ours, takes parts of
random scale and place.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mobilenet_tf.data import transforms
from mobilenet_tf.data.source import file_source, training_batches

SIZE, BATCH = 224, 32
WARM_UP = 10  # batches


def ours(folder: Path) -> tf.data.Dataset:
    paths = sorted(folder.rglob("*.jpg"))
    source = file_source(paths, {"label": np.zeros(len(paths), np.int32)}, ["photograph"])
    transform = transforms.compose([transforms.random_resized_crop(SIZE), transforms.random_flip()])
    return training_batches(source, transform, lambda b: (b["image"], b["label"]), batch_size=BATCH, seed=0)


def with_keras(folder: Path, image_size: int, layers: list) -> tf.data.Dataset:
    # One by one and batched last: faster than on batches, and the crop differs from image to image.
    unbatched: Any = None  # Keras's annotation has an int only
    samples: Any = keras.utils.image_dataset_from_directory(
        folder, image_size=(image_size, image_size), batch_size=unbatched, shuffle=True, seed=0, verbose=False
    )

    def augment(image, label):
        for layer in layers:
            image = layer(image, training=True)
        return image, label

    samples = samples.map(augment, num_parallel_calls=tf.data.AUTOTUNE)
    return samples.repeat().batch(BATCH).prefetch(tf.data.AUTOTUNE)


def pipelines(folder: Path) -> dict[str, tf.data.Dataset]:
    layers = keras.layers
    flip = layers.RandomFlip("horizontal")
    return {
        "ours": ours(folder),
        "keras crop": with_keras(folder, 256, [layers.RandomCrop(SIZE, SIZE), flip]),
        "keras zoom": with_keras(
            folder, SIZE, [layers.RandomZoom((-0.7, 0.0)), layers.RandomTranslation(0.2, 0.2), flip]
        ),
    }


def measure(folder: Path, images: int, rounds: int) -> dict[str, list[float]]:
    """Images/s of every pipeline, `rounds` times by turns, each after a warm-up."""
    steps = -(-images // BATCH)
    datasets = pipelines(folder)
    rates = {name: [] for name in datasets}
    for _ in range(rounds):
        for name, dataset in datasets.items():
            batches = iter(dataset)  # a new one each turn: prefetching stops with it
            for _ in range(WARM_UP):
                next(batches)
            start, count = time.perf_counter(), 0
            for _ in range(steps):
                count += len(next(batches)[0])
            rates[name].append(count / (time.perf_counter() - start))
            del batches
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of JPEG photographs")
    parser.add_argument("--images", type=int, default=800, help="a turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for index, path in enumerate(sorted(arguments.folder.glob("*.jpg"))):
            link = Path(folder, "ab"[index % 2], path.name)  # Keras wants a folder a class
            link.parent.mkdir(exist_ok=True)
            os.symlink(path.resolve(), link)
        rates = measure(Path(folder), arguments.images, arguments.rounds)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    if arguments.json:
        print(json.dumps({"images_per_second": medians, "rounds": rates, "cpus": os.cpu_count()}))
        return
    for name, rate in medians.items():
        print(f"{name:12s} {rate:7.1f} images/s   ours is {medians['ours'] / rate:.2f} x")


if __name__ == "__main__":
    main()
