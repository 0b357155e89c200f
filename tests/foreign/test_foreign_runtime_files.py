"""Files of others that a runtime runs: what they say, and that classes are matched by their names."""

import zipfile
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers

from mobilenet_tf import workflow
from mobilenet_tf.foreign.class_order import reordered, with_classes
from mobilenet_tf.foreign.declaration import Declaration
from mobilenet_tf.foreign.runtime_files import open_predictor
from mobilenet_tf.inference import tflite_metadata
from mobilenet_tf.inference.predict import load_predictor
from mobilenet_tf.utils.errors import UserError

SIZE = 16
IMAGES = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    body = [layers.Conv2D(4, 3), layers.GlobalMaxPooling2D(), layers.Dense(3, activation="softmax")]
    return keras.Sequential([keras.Input((SIZE, SIZE, 3)), *body])


@pytest.fixture(scope="module")
def tflite(model, tmp_path_factory):
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("tflite")
    model.export(folder / "saved", verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved"))
    (folder / "theirs.tflite").write_bytes(converter.convert())
    return folder / "theirs.tflite"


SAID = Declaration(classes=["a", "b", "c"], input_range="-1..1")


def test_a_float_file_takes_0_to_255_by_what_is_said(model, tflite):
    predictor, description = open_predictor(tflite, SAID)
    np.testing.assert_allclose(np.exp(predictor(IMAGES)), model(IMAGES / 127.5 - 1), atol=1e-5)
    assert description.ends_in == "softmax" and predictor.input_size == (SIZE, SIZE)
    with pytest.raises(UserError, match="--input-range must say what theirs.tflite takes.*on 16 drawn scenes"):
        open_predictor(tflite, replace(SAID, input_range=None))


def test_it_is_quantized_anew(model, tflite, tmp_path):
    pytest.importorskip("ai_edge_quantizer")
    folder = tmp_path / "images"
    folder.mkdir()
    for index, image in enumerate(IMAGES):
        keras.utils.save_img(folder / f"{index}.png", image)
    options = {"declaration": SAID, "overrides": [f"export.calibration={folder}"], "folder": tmp_path / "exports"}
    results = workflow.export_run(tflite, ["tflite", "tflite_int8"], **options)
    assert results[0].parity.max_diff < 1e-5 and results[1].parity.max_diff < 0.1
    for name in ("model.tflite", "model_int8.tflite"):
        got = load_predictor(tmp_path / "exports" / name)(IMAGES[:1])
        np.testing.assert_allclose(np.exp(got), model(IMAGES[:1] / 127.5 - 1), atol=0.1)
    with pytest.raises(UserError, match="a .tflite file can become tflite, .*Received: onnx"):
        workflow.export_run(tflite, ["onnx"], **options)


def test_a_uint8_file_says_its_range(model, tmp_path):
    import tensorflow as tf

    model.export(tmp_path / "saved", verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved"))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    ends = np.stack([np.full((SIZE, SIZE, 3), value, np.float32) for value in (-1, 1)])
    noise = np.random.default_rng(0).uniform(-1, 1, (20, SIZE, SIZE, 3)).astype(np.float32)
    converter.representative_dataset = lambda: ([image[None]] for image in np.concatenate([ends, noise]))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    path = tmp_path / "quantized.tflite"
    path.write_bytes(converter.convert())
    predictor, _ = open_predictor(path, replace(SAID, input_range=None))
    np.testing.assert_allclose(np.exp(predictor(IMAGES)), model(IMAGES / 127.5 - 1), atol=0.1)


def test_tflites_metadata_says_the_range_and_the_classes(model, tflite, tmp_path):
    """As published files have it: a normalization of the input, and labels in the archive behind the model."""
    path = tmp_path / "described.tflite"
    unit = {"options_type": np.uint8(1), "options": {"mean": [127.5], "std": [127.5]}}
    path.write_bytes(tflite_metadata._with_entry(tflite.read_bytes(), described(unit)))
    assert tflite_metadata.normalization(path) == ([127.5], [127.5]) and tflite_metadata.normalization(tflite) is None
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labelmap.txt", "a\n???\n???\n")
    predictor, description = open_predictor(path, Declaration())
    assert description.classes == ["a", "???", "??? (2)"]
    np.testing.assert_allclose(np.exp(predictor(IMAGES)), model(IMAGES / 127.5 - 1), atol=1e-5)
    content = path.read_bytes()
    for cut in (b"M001", b"TFLITE_METADATA"):
        path.write_bytes(content.replace(cut, b"\xff" * len(cut)))
        tflite_metadata.normalization(path)  # finds none, or says that it is damaged


def described(unit):
    """The metadata of one input with that process unit, as a flatbuffer."""
    table, floats = tflite_metadata._table, tflite_metadata._floats
    options = {name: floats(values[0]) for name, values in unit["options"].items()}
    process = table("ProcessUnit", options_type=unit["options_type"], options=table("NormalizationOptions", **options))
    image = table("TensorMetadata", name="image", process_units=[process])
    graph = table("SubGraphMetadata", input_tensor_metadata=[image])
    return tflite_metadata._packed(table("ModelMetadata", name="net", subgraph_metadata=[graph]), b"M001")


def test_classes_are_matched_by_their_names(tflite):
    predictor, _ = open_predictor(tflite, SAID)
    raw = predictor(IMAGES)
    with pytest.warns(UserWarning, match="theirs.tflite has 3 classes a, b, c; the data has 2 classes c, a"):
        matched = with_classes(predictor, ["c", "a"])
    np.testing.assert_array_equal(matched(IMAGES), raw[:, [2, 0]])
    assert with_classes(predictor, ["a", "b", "c"]) is predictor
    with pytest.raises(UserError, match="the classes of the data must be those of theirs.tflite"):
        with_classes(predictor, ["a", "x"])


def test_detections_of_other_classes_are_left_out():
    outputs = {
        "detection_boxes": np.arange(12, dtype=np.float32).reshape(1, 3, 4),
        "detection_classes": np.float32([[5, 1, 5]]),
        "detection_scores": np.float32([[0.9, 0.8, 0.7]]),
        "num_detections": np.float32([3]),
    }
    result = reordered(outputs, [7, 5])
    assert result["num_detections"] == [2]
    np.testing.assert_array_equal(result["detection_classes"], [[1, 1, 0]])
    np.testing.assert_allclose(result["detection_scores"], [[0.9, 0.7, 0]])
    np.testing.assert_array_equal(result["detection_boxes"][0, 1], [8, 9, 10, 11])


@pytest.mark.real_data
def test_well_known_files_predict_and_score(real_data):
    """The figures are those of real_data's README, up to the resizing."""
    detector = real_data / "models" / "coco_ssd_mobilenet_v1_quant.tflite"
    classes = real_data / "coco_mini" / "annotations" / "instances_val2017.json"
    scores = workflow.evaluate_model(
        detector,
        split="validation",
        overrides=[f"data.root={real_data / 'coco_mini'}"],
        declaration=Declaration(classes=classes),
    )
    assert scores["AP"] > 0.22 and scores["AP50"] > 0.35
    segmenter = real_data / "models" / "deeplabv3_257_mv_gpu.tflite"
    photograph = real_data / "voc2007_mini" / "VOCdevkit" / "VOC2007" / "JPEGImages" / "000012.jpg"
    photograph = photograph if photograph.exists() else sorted(photograph.parent.glob("*.jpg"))[0]
    said = Declaration(task="segmentation", classes="numbered", input_range="-1..1")
    [row] = workflow.predict_files(segmenter, [str(photograph)], declaration=said)
    assert 0 < row["share"] <= 1
    with pytest.raises(UserError, match="--task must say what"):
        workflow.predict_files(segmenter, [str(photograph)])


@pytest.mark.real_data
def test_the_models_that_thousands_have_open(real_data, tmp_path):
    model = workflow.open_model(
        real_data / "models" / "teachable_machine_keras_model.h5",
        declaration=Declaration(classes=["a", "b"], input_range="-1..1"),
    )[1]
    raw = model(np.random.default_rng(0).uniform(0, 255, (2, 224, 224, 3)))
    np.testing.assert_allclose(np.exp(raw).sum(-1), 1, atol=1e-3)
    model = workflow.open_model(
        real_data / "models" / "mlcommons_vww_96_mobilenet_v1_0.25.h5",
        declaration=Declaration(classes=["other", "person"], input_range="0..1"),
    )[1]
    assert model.input_size == (96, 96)


@pytest.mark.slow
@pytest.mark.real_data
def test_real_imagenet_weights_give_the_recorded_accuracy(real_data, tmp_path):
    """By the whole model of Keras 2 in the file; the figure is that of real_data's README."""
    files = sorted((real_data / "imagenet_samples").iterdir())
    classes = [file.name.partition(".")[0] for file in files]
    for name, file in zip(classes, files, strict=True):
        (tmp_path / "data" / "test" / name).mkdir(parents=True)
        (tmp_path / "data" / "test" / name / file.name).symlink_to(file)
    scores = workflow.evaluate_model(
        real_data / "weights" / "mobilenet_v1_0.25_224.h5",
        overrides=[f"data.root={tmp_path / 'data'}"],
        declaration=Declaration(classes=classes, input_range="-1..1"),
    )
    assert scores["count"] == 1000 and abs(scores["top1"] - 0.575) < 0.004
