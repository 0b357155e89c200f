"""Preprocessing in NumPy: the images of the evaluation, for every task."""

import numpy as np
import pytest
import tensorflow as tf

from mobilenet_tf import config, workflow
from mobilenet_tf.data import preprocess, transforms

rng = np.random.default_rng(0)
SHAPES = [(4, 4), (4, 301), (57, 33), (96, 96), (97, 95), (240, 161), (333, 500), (1001, 1500)]
EVALUATIONS = [
    ("demo", "data.crop_fraction=0.875"),
    ("demo", "data.crop_fraction=null"),
    ("demo", "model.input_size=[65, 130]"),
    ("ssdlite_scenes", "data.resize=stretch"),
    ("ssdlite_scenes", "data.resize=letterbox"),
    ("lraspp_scenes", "data.resize=stretch"),
    ("lraspp_scenes", "data.resize=letterbox"),
    ("lraspp_scenes", "data.resize=pad"),
    ("attributes_scenes", "data.crop_fraction=0.7"),
    ("embedding_scenes", "data.crop_fraction=null"),
]


@pytest.mark.parametrize(("name", "change"), EVALUATIONS)
def test_predict_sees_what_evaluation_sees(name, change):
    cfg = config.load(name, [change])
    task = workflow.find_task(cfg.task)
    transform = task(cfg).transform(training=False)
    for shape in SHAPES:
        image = rng.integers(0, 256, (*shape, 3), np.uint8)
        want, got = transform({"image": tf.constant(image)})["image"], task(cfg).preprocess(image)
        assert got.dtype == np.float32 and got.shape == (*cfg.model.input_size, 3)
        assert np.abs(got - np.asarray(want, np.float32)).max() < 1e-3, shape


def test_both_show_an_image_at_the_same_size():
    for _ in range(60):
        size, whole = (tuple(map(int, rng.integers(1, 700, 2))) for _ in range(2))
        for resize in ("stretch", "letterbox", "pad"):
            want = transforms.resized_shape(resize, size, whole).numpy()
            assert preprocess.resized_shape(resize, size, whole) == tuple(want), (resize, size, whole)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("size", [(3, 100), (31, 17), (64, 90)])
def test_bilinear_is_tensorflows_for_any_number_of_channels(size, antialias):
    logits = rng.normal(size=(29, 45, 7)).astype(np.float32)
    want = tf.image.resize(logits, size, antialias=antialias)
    np.testing.assert_allclose(preprocess.bilinear(logits, size, antialias), want, atol=2e-6)
