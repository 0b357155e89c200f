"""Images that two splits share are counted, as files and as copies."""

import shutil

import numpy as np
from PIL import Image

from mobilenet_tf.data import overlap
from mobilenet_tf.data.source import file_source


def write(folder, seeds):
    folder.mkdir()
    for seed in seeds:
        pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed}.bmp")  # all of one size
    return sorted(folder.iterdir())


def source(paths):
    return file_source(paths, {"label": np.zeros(len(paths), np.int64)}, ["a", "b"])


def test_files_links_and_copies_are_the_same_images(tmp_path):
    first, others = write(tmp_path / "train", range(4)), write(tmp_path / "val", range(10, 13))
    assert overlap.note(source(first), source(others), "validation") is None
    shutil.copy(first[0], tmp_path / "val/copy.bmp")
    (tmp_path / "val/link.bmp").symlink_to(first[1])
    mixed = [*others, tmp_path / "val/copy.bmp", tmp_path / "val/link.bmp", first[2]]
    assert overlap.shared_images(source(first), source(mixed)) == 3
    line = overlap.note(source(first), source(mixed), "validation")
    assert line and line.startswith("3 of 6 images of the split validation are in train too")
    whole = overlap.note(source(first), source(first), "test")
    assert whole and whole.startswith("all 4 images of the split test are in train too")
