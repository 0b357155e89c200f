"""What each transform gives for a seed, held to what it gave before. Running this file as a script records it.

The stored arrays are the outputs of version 0.1.0 for a drawn JPEG of 41 x 57 pixels with a mask and three boxes.
"""

import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mobilenet_tf.data import transforms
from mobilenet_tf.data.image_decoding import decode
from mobilenet_tf.tasks.detection import augment

RECORDED = Path(__file__).parents[1] / "stored" / "transforms.npz"
SIZE, FULL, SEEDS = (14, 18), (28, 34), range(3)
HEIGHT, WIDTH = 41, 57
STEP = 1 / 32  # images are recorded as uint16 multiples of it


def sample(seed: int, encoded: bool) -> dict:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    image = np.stack([rows * 4, columns * 3, 128 + 100 * np.sin(rows / 5) * np.cos(columns / 7)], -1).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=95)
    out = {
        "image": decode(tf.constant(file.getvalue())),
        "mask": tf.constant((rows // 6 * 7 + columns // 5) % 11, tf.uint8),
        "boxes": tf.constant([[0.1, 0.1, 0.5, 0.4], [0.6, 0.3, 0.9, 0.9], [0.0, 0.5, 0.3, 1.0]]),
        "labels": tf.constant([2, 0, 1]),
        "crowd": tf.constant([False, True, False]),
        "original_size": tf.constant([HEIGHT, WIDTH]),
        "seed": tf.constant([7, seed]),
    }
    return out | ({"encoded": tf.constant(file.getvalue())} if encoded else {})


def without_mask(op):
    """A transform of detection alone, which has no masks."""
    return lambda record: op({key: value for key, value in record.items() if key != "mask"})


OPS = {
    "resize": transforms.resize(SIZE),
    "resize, central": transforms.resize(SIZE, 0.8),
    "crop": transforms.random_resized_crop(SIZE, (0.1, 0.9)),
    "place, stretch": transforms.letterbox(FULL, "stretch"),
    "place, fit": transforms.letterbox(SIZE, "letterbox"),
    "place, pad": transforms.letterbox((50, 60), "pad"),
    "place, pad shrinks": transforms.letterbox(FULL, "pad"),
    "scale crop, stretch": transforms.random_scale_crop(SIZE, (0.5, 2.0), "stretch", FULL),
    "scale crop, fit": transforms.random_scale_crop(FULL, (0.5, 2.0), "letterbox", SIZE),
    "scale crop, pad": transforms.random_scale_crop(FULL, (0.5, 2.0), "pad", FULL),
    "flip": transforms.random_flip(),
    "rand augment": transforms.rand_augment(2, 7),
    "view": without_mask(augment.random_view(FULL)),
    "view, padded": without_mask(augment.random_view(FULL, zoom_out=1.0, pad=True)),
    "view, crop": without_mask(augment.random_view(FULL, zoom_out=0.0)),
    "vertical flip": without_mask(transforms.random_flip(axis=0)),
    **{
        f"affine {i} {sign:+.0f}": lambda record, move=move, sign=sign: (
            record | move({**record, "image": tf.cast(record["image"], tf.float32)}, 0.6, sign)
        )
        for i, move in enumerate(transforms.AUGMENTATIONS[1:6])
        for sign in (-1.0, 1.0)
    },
}
ONCE = [name for name in OPS if name.startswith(("resize", "place", "affine"))]  # draw nothing
DECODING = ("crop", "view", "view, padded", "view, crop")  # decode the part that they show


def results() -> dict[str, np.ndarray]:
    """{"transform/seed/field": array}"""
    found = {}
    for name, op in OPS.items():
        for encoded in (False, True) if name in DECODING else (False,):
            for seed in SEEDS[: 1 if name in ONCE else None]:
                out = op(sample(seed, encoded))
                for field in ("image", "mask", "boxes", "labels", "crowd"):
                    if field in out:
                        found[f"{name}/{'encoded' if encoded else 'array'}/{seed}/{field}"] = out[field].numpy()
    return found


@pytest.fixture(scope="module")
def now():
    return results()


def stored(values: np.ndarray) -> np.ndarray:
    return np.rint(values / STEP).astype(np.uint16) if values.ndim == 3 else values


@pytest.mark.parametrize("field", ["image", "mask", "boxes", "labels", "crowd"])
def test_every_transform_gives_what_it_gave(now, field):
    with np.load(RECORDED) as file:
        keys = [key for key in file.files if key.endswith(f"/{field}")]
        assert set(keys) == {key for key in now if key.endswith(f"/{field}")} and len(keys) > 30
        for key in keys:
            if field == "image":
                np.testing.assert_allclose(now[key], file[key] * STEP, atol=0.02, err_msg=key)
            elif field == "boxes":
                np.testing.assert_allclose(now[key], file[key], atol=2e-6, err_msg=key)
            else:
                np.testing.assert_array_equal(now[key], file[key], err_msg=key)


def mosaics() -> dict[str, tf.Tensor]:
    numbers = np.arange(4 * 16 * 20 * 3, dtype=np.float32).reshape(4, 16, 20, 3) % 251
    return {
        "image": tf.constant(numbers),
        "boxes": tf.constant(np.linspace(0, 0.5, 32, dtype=np.float32).reshape(4, 2, 4) + [0, 0, 0.3, 0.4], tf.float32),
        "labels": tf.constant([[0, 1], [2, -1], [3, 4], [5, 6]]),
        "crowd": tf.zeros([4, 2], tf.bool),
        "seed": tf.constant([[1, i] for i in range(4)]),
        "mosaic": tf.constant([True, False, True, True]),
    }


def test_a_mosaic_is_what_it_was():
    out = augment.mosaic(mosaics())
    with np.load(RECORDED) as file:
        for field in ("image", "boxes", "labels"):
            np.testing.assert_allclose(out[field], file[f"mosaic {field}"], atol=2e-3, err_msg=field)


if __name__ == "__main__":
    arrays = {key: stored(values) for key, values in results().items()}
    arrays |= {f"mosaic {field}": augment.mosaic(mosaics())[field].numpy() for field in ("image", "boxes", "labels")}
    np.savez_compressed(RECORDED, **arrays)
