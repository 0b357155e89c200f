import keras
import numpy as np
import pytest

from mobilenet_tf.export.convert import FORMATS, export, tflite_ops
from mobilenet_tf.inference import artifact, tflite
from mobilenet_tf.inference.predict import keras_predictor, load_predictor
from mobilenet_tf.tasks.detection import boxes, inference
from mobilenet_tf.tasks.detection.export import serving_model

SIZE, CLASSES = 16, ["a", "b", "c"]
COUNT = SIZE * SIZE * 3 // 12
RNG = np.random.default_rng(0)
CENTRES, SIDES = RNG.uniform(0.2, 0.8, (COUNT, 2)), RNG.uniform(0.2, 0.5, (COUNT, 2))
ANCHORS = np.concatenate([CENTRES - SIDES / 2, CENTRES + SIDES / 2], -1).astype(np.float32)
OPTIONS = {"variances": (0.1, 0.2), "score_threshold": 0.3, "iou_threshold": 0.5, "max_detections": 60}
IMAGES = RNG.uniform(0, 255, (3, SIZE, SIZE, 3)).astype(np.float32)


def detector(scores):
    """A "detector" whose raw outputs are its pixels: what is found is different in every image, without ties."""
    image = keras.Input((SIZE, SIZE, 3))
    rows = keras.layers.Reshape((COUNT, 12))(image)
    width = len(CLASSES) + (scores == "softmax")
    logits = keras.layers.Rescaling(1 / 32, -4.0, name="class_logits")(rows[..., :width])
    codes = keras.layers.Rescaling(1 / 64, -2.0, name="box_regressions")(rows[..., 8:])
    return keras.Model(image, {"class_logits": logits, "box_regressions": codes})


def expected(raw, scores, by_class):
    """Suppression by class; or the best class of every anchor, and suppression over all of them together."""
    found = []
    logits = raw["class_logits"]
    if scores == "softmax":
        values = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        values = values[..., 1:]
    else:
        values = 1 / (1 + np.exp(-logits))
    for image, codes in zip(values, raw["box_regressions"], strict=True):
        decoded = boxes.decode(codes, ANCHORS, OPTIONS["variances"])
        keep, label = boxes.nms(
            decoded,
            image if by_class else image.max(-1)[:, None],
            score_threshold=OPTIONS["score_threshold"],
            iou_threshold=OPTIONS["iou_threshold"],
            max_detections=OPTIONS["max_detections"],
            max_candidates=COUNT,
        )
        label = label if by_class else image.argmax(-1)[keep]
        found.append((decoded[keep].clip(0, 1), image[keep, label], label))
    return found


def assert_found(raw, wanted):
    most = max(len(labels) for *_, labels in wanted)
    assert raw["num_detections"].shape == (3,) and raw["detection_boxes"].shape[2:] == (4,)
    assert all(most <= raw[key].shape[1] <= 60 for key in inference.OUTPUTS[:3])
    for image, (*_, labels) in enumerate(wanted):
        assert not any(raw[key][image, len(labels) :].any() for key in inference.OUTPUTS[:3])
    for prediction, (want_boxes, want_scores, want_labels) in zip(inference.decoded(raw), wanted, strict=True):
        np.testing.assert_array_equal(prediction["labels"], want_labels)
        np.testing.assert_allclose(prediction["scores"], want_scores, atol=1e-5)
        np.testing.assert_allclose(prediction["boxes"], want_boxes, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("scores", ["softmax", "sigmoid"])
@pytest.mark.parametrize("format", ["savedmodel", "tflite", "onnx"])
def test_every_format_finds_the_same(tmp_path, format, scores):
    if format == "onnx":
        pytest.importorskip("tf2onnx")
    model = detector(scores)
    wanted = expected(keras_predictor(model)(IMAGES), scores, by_class=False)
    assert all(len(labels) > 3 for *_, labels in wanted) and len({*np.concatenate([w[2] for w in wanted])}) == 3
    shipped = serving_model(model, "detections", ANCHORS, scores=scores, **OPTIONS)
    assert_found(keras_predictor(shipped)(IMAGES), wanted)
    if format == "onnx":
        wanted = expected(keras_predictor(model)(IMAGES), scores, by_class=True)
    metadata = artifact.Metadata("detection", CLASSES, (SIZE, SIZE), outputs="detections")
    path = export(shipped, tmp_path / FORMATS[format].filename, format, metadata=metadata)
    for threads in (1, 2, 4):
        assert_found(load_predictor(path, threads=threads)(IMAGES), wanted)
    if format == "tflite":
        assert tflite_ops(path)[tflite.POST_PROCESS] == 1


def test_a_detector_with_decoding_inside_can_be_saved(tmp_path):
    shipped = serving_model(detector("softmax"), "detections", ANCHORS, scores="softmax", **OPTIONS)
    shipped.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras", safe_mode=True)
    for key, value in keras_predictor(shipped)(IMAGES).items():
        np.testing.assert_array_equal(value, keras_predictor(again)(IMAGES)[key])


def test_raw_heads_are_the_model_itself():
    model = detector("sigmoid")
    assert serving_model(model, "raw", ANCHORS, scores="sigmoid", **OPTIONS) is model
