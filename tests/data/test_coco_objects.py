"""Polygons and run lengths of strangers: the pixels that pycocotools gives, and a reason in place of a crash."""

import contextlib

import numpy as np
import pytest
from pycocotools import mask as native

from mobilenet_tf.data.coco_objects import identifier, object_mask

H, W = 12, 20
SQUARE = [2, 2, 10, 2, 10, 10, 2, 10]


def test_polygons_are_those_of_pycocotools():
    outside = [-5.5, 3, 9, -4, 30, 8.25, 3, 18]
    want = native.decode(native.merge(native.frPyObjects([SQUARE, outside], H, W))).astype(bool)
    np.testing.assert_array_equal(object_mask([SQUARE, outside], H, W), want)
    np.testing.assert_array_equal(object_mask([[str(v) for v in SQUARE]], H, W), object_mask([SQUARE], H, W))
    np.testing.assert_array_equal(object_mask(SQUARE, H, W), object_mask([SQUARE], H, W))


@pytest.mark.parametrize("seed", range(5))
def test_run_lengths_are_those_of_pycocotools(seed):
    mask = np.random.default_rng(seed).random((H, W)) > (0.5 if seed else 0)
    compressed = native.encode(np.asfortranarray(mask, np.uint8))
    for counts in (compressed["counts"], compressed["counts"].decode()):
        np.testing.assert_array_equal(object_mask({"size": [H, W], "counts": counts}, H, W), mask)
    column = mask.T.ravel().astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], column])))
    runs = np.diff([0, *edges, H * W]).tolist()
    np.testing.assert_array_equal(object_mask({"size": [H, W], "counts": runs}, H, W), mask)


def test_what_has_no_area_is_empty():
    for segmentation in ([], [[]], [[3, 3, 5, 5]], [[3, 3]]):  # four numbers are no box, as pycocotools takes them
        assert not object_mask(segmentation, H, W).any()


@pytest.mark.parametrize(
    "segmentation, reason",
    [
        ([[1e9, 2, 10, 2, 10, 10]], r"coordinate 1e\+09 in an image of 20x12"),
        ([[-1e9, 2, 10, 2, 10, 10]], "coordinate"),
        ([[float("nan"), 2, 10, 2, 10, 10]], "nan in place of a number"),
        ([[float("inf"), 2, 10, 2, 10, 10]], "inf in place of a number"),
        ([[None, 2, 10, 2, 10, 10]], "None in place of a number"),
        ([[10**400, 2, 10, 2, 10, 10]], "in place of a number"),
        ([["x", 2, 10, 2, 10, 10]], "'x' in place of a number"),
        ([[True, 2, 10, 2, 10, 10]], "in place of a number"),
        ([[1, 2, 3, 4, 5, 6, 7]], "7 numbers, which are not pairs"),
        ([[[1, 2], [3, 4], [5, 6]]], r"\[1, 2\] in place of a number"),
        ([SQUARE, {"counts": "1", "size": [H, W]}], "an object in place of a polygon"),
        ([SQUARE, 3], "a number in place of a polygon"),
        ([[0, 0, W, H] * 200_000], "crosses the image too often"),
        (None, "null in place of polygons"),
        ("[[1,2]]", "a text in place of polygons"),
        ({}, "run lengths of the size None"),
        ({"size": [W, H], "counts": [H * W]}, r"run lengths of the size \[20, 12\]"),
        ({"size": [H], "counts": [H * W]}, "run lengths of the size"),
        ({"size": [H, W]}, "null in place of run lengths"),
        ({"size": [H, W], "counts": [H * W + 1]}, "241 pixels in an image of 240"),
        ({"size": [H, W], "counts": [H * W + 5, -5]}, "run lengths of 240 pixels"),
        ({"size": [H, W], "counts": [240.5]}, "240.5 in place of a whole number"),
        ({"size": [H, W], "counts": [None]}, "None in place of a number"),
        ({"size": [H, W], "counts": "~~~~"}, "damaged"),
        ({"size": [H, W], "counts": "oooooooooooooooooo0"}, "damaged"),
        ({"size": [H, W], "counts": "P"}, "end in the middle"),
        ({"size": [H, W], "counts": "54321é"}, "damaged"),
    ],
)
def test_a_damaged_object_is_a_reason_not_a_crash(segmentation, reason):
    with pytest.raises(ValueError, match=reason):
        object_mask(segmentation, H, W)


def test_an_image_too_large_to_be_one_is_refused():
    for size in ((10**9, 10**9), (0, 5), (-3, -5)):
        with pytest.raises(ValueError, match="an image of"):
            object_mask([SQUARE], *size)


def test_damaged_bytes_never_reach_native_code():
    generator = np.random.default_rng(0)
    good = native.encode(np.asfortranarray(generator.random((H, W)) > 0.5, np.uint8))["counts"]
    for _ in range(300):
        damaged = bytearray(good)
        damaged[generator.integers(len(damaged))] = generator.integers(256)
        with contextlib.suppress(ValueError):
            assert object_mask({"size": [H, W], "counts": bytes(damaged)}, H, W).shape == (H, W)


def test_ids_are_compared_by_what_they_say():
    assert [identifier(value) for value in (1, 1.0, "1", "img1", "01", "1" * 30)] == [1, 1, 1, "img1", "01", "1" * 30]
    for value in (None, True, 1.5, float("nan"), float("inf"), [], {}, ""):
        with pytest.raises(ValueError, match="whole number or a text"):
            identifier(value)
