"""TFLite metadata: the weights stay where they are, and MediaPipe Tasks give the predictions of our files."""

import inspect
import zipfile
from dataclasses import replace

import keras
import numpy as np
import pytest
from tensorflow.lite.python import schema_py_generated as schema
from untrained import adjusted, evened, lively

from mobilenet_tf import config
from mobilenet_tf.data import images, transforms
from mobilenet_tf.export.convert import export
from mobilenet_tf.inference import artifact, tflite, tflite_metadata
from mobilenet_tf.inference.artifact import Metadata
from mobilenet_tf.inference.predict import load_predictor
from mobilenet_tf.models.layers import BatchNormalization
from mobilenet_tf.tasks.attributes.task import task as attributes
from mobilenet_tf.tasks.detection.task import task as detection
from mobilenet_tf.tasks.embedding.task import task as embedding
from mobilenet_tf.tasks.segmentation.task import task as segmentation
from mobilenet_tf.utils.errors import UserError

SIZE = (48, 64)
CLASSES = ["Löwchen", "cat", "bird"]
METADATA = Metadata("classification", CLASSES, SIZE, outputs="softmax")


def net():
    keras.utils.set_random_seed(0)
    image = keras.Input((*SIZE, 3))
    x = keras.layers.Conv2D(16, 3, 4, use_bias=False)(keras.layers.Rescaling(1 / 127.5, -1.0)(image))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(BatchNormalization()(x)))
    return keras.Model(image, keras.layers.Softmax()(keras.layers.Dense(3)(x)))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A .tflite file as TensorFlow's converter writes it."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("metadata")
    net().export(folder / "m", input_signature=[tf.TensorSpec((1, *SIZE, 3), name="image")], verbose=False)
    content = tf.lite.TFLiteConverter.from_saved_model(str(folder / "m")).convert()
    (folder / "plain.tflite").write_bytes(content)
    return folder / "plain.tflite"


@pytest.fixture
def file(plain, tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(plain.read_bytes())
    tflite_metadata.embed(path, METADATA)
    artifact.write(path, METADATA)
    return path


def buffers(path):
    """(offset in the file, bytes) of each buffer that has any, by the schema's generated classes."""
    data = path.read_bytes()
    model = schema.Model.GetRootAs(data, 0)
    all_buffers = [model.Buffers(i) for i in range(model.BuffersLength())]
    return [(b._tab.Vector(b._tab.Offset(4)), b.DataAsNumpy().tobytes()) for b in all_buffers if b.DataLength()]


def test_weights_keep_their_bytes_and_their_alignment(plain, file):
    before, after = buffers(plain), buffers(file)
    assert [content for _, content in after[: len(before)]] == [content for _, content in before]
    assert len(after) == len(before) + 1, "the metadata's own"
    assert [offset % 16 for offset, _ in after[: len(before)]] == [offset % 16 for offset, _ in before]
    noise = np.random.default_rng(0).integers(0, 256, (4, *SIZE, 3), np.uint8)
    [ours], [plains] = (load_predictor(path).run(noise[:1]).values() for path in (file, plain))
    np.testing.assert_array_equal(ours, plains)


def entries(path):
    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    return [model.Metadata(i).Name().decode() for i in range(model.MetadataLength())]


def test_writing_again_replaces(plain, file):
    first = tflite_metadata.read(file)
    assert tflite_metadata.read(plain) is None and first[4:8] == b"M001"
    artifact.write(file, replace(METADATA, classes=["a", "b", "c"]))
    tflite_metadata.embed(file, replace(METADATA, task="another"))
    assert entries(file).count("TFLITE_METADATA") == 1
    assert set(entries(plain)) < set(entries(file))
    assert b"another" in tflite_metadata.read(file) and b"another" not in first
    assert artifact.read(file).classes == ["a", "b", "c"], "what stands behind the flatbuffer is still read"


def test_exports_hold_labels_and_metadata(tmp_path):
    path = export(net(), tmp_path / "m.tflite", "tflite", metadata=METADATA)
    assert b"labels.txt" in tflite_metadata.read(path)
    with zipfile.ZipFile(path) as members:
        assert members.read("labels.txt").decode().split("\n") == CLASSES
    assert artifact.read(path) == METADATA


@pytest.mark.parametrize("format", ["tflite", "savedmodel"])
def test_classes_that_are_not_as_many_as_the_outputs_are_one_line(tmp_path, format):
    path = tmp_path / ("m.tflite" if format == "tflite" else "m")
    with pytest.raises(UserError, match=r"as many as the model's outputs, 3. Received: 2"):
        export(net(), path, format, metadata=replace(METADATA, classes=["a", "b"]))
    assert not path.exists()


# MediaPipe Tasks on photographs


@pytest.fixture(autouse=True)
def same_kernels(monkeypatch):
    """MediaPipe runs files on XNNPACK, so ours run on it too: other kernels round int8 otherwise."""
    monkeypatch.setattr(tflite, "interpreter_class", inspect.unwrap(tflite.interpreter_class))


@pytest.fixture(scope="module")
def mediapipe():
    module = pytest.importorskip("mediapipe")
    pytest.importorskip("mediapipe.tasks.python.vision")
    return module


@pytest.fixture(scope="module")
def vision(mediapipe):
    """create(kind, path, **options) -> the task, as its users make it."""
    from mediapipe.tasks.python import BaseOptions, vision

    opened = []

    def create(kind, path, **options):
        base = BaseOptions(model_asset_path=str(path))
        opened.append(getattr(vision, kind).create_from_options(getattr(vision, f"{kind}Options")(base, **options)))
        return opened[-1]

    yield create
    for each in opened:
        each.close()


def load_images(folder, count, size=None):
    read = [images.read(path) for path in sorted(folder.glob("*.jpg"))[:count]]
    if size:
        read = [np.rint(transforms.resize(size)({"image": image})["image"]).astype(np.uint8) for image in read]
    return read


@pytest.fixture(scope="module")
def as_image(mediapipe):
    return lambda image: mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image))


@pytest.mark.slow
@pytest.mark.real_data
def test_image_classifier(real_data, vision, as_image, tmp_path):
    """19 breeds of dogs, float32 and int8 with uint8 inputs and outputs."""
    size, names = (160, 160), (real_data / "weights" / "mobilenet_v2_160_dogs19.labels.txt").read_text().splitlines()
    trained = keras.models.load_model(real_data / "weights" / "mobilenet_v2_160_dogs19.h5", compile=False)
    image = keras.Input((*size, 3))
    model = keras.Model(image, trained(keras.layers.Rescaling(1 / 127.5, -1.0)(image)))
    metadata = Metadata("classification", names, size, outputs="softmax")
    photographs = load_images(real_data / "coco_mini" / "val2017", 12, size)
    calibration = [np.stack(photographs[:4]).astype(np.float32)]
    for format, options in (("tflite", {}), ("tflite_int8", {"inputs": "uint8", "calibration": calibration})):
        path = export(model, tmp_path / f"{format}.tflite", format, metadata=metadata, **options)
        classifier, predictor = vision("ImageClassifier", path), load_predictor(path)
        for photograph in photographs[:6]:
            [found] = classifier.classify(as_image(photograph)).classifications
            scores = {category.category_name: category.score for category in found.categories}
            ours = np.exp(predictor(photograph[None])[0])
            assert scores == pytest.approx(dict(zip(names, ours, strict=True)), abs=2e-3)
            assert len(scores) == 19 and found.categories[0].category_name == names[int(ours.argmax())]


def tiny(task, *overrides):
    values = {
        "task": task,
        "model": {"alpha": 0.35, "input_size": [96, 128], "weights": None},
        "data": {"reader": "scenes"},
        "train": {"batch_size": 4, "stages": [{"duration": 1, "learning_rate": 0.01}]},
    }
    return config.override(values, overrides, "tiny")


class Named:
    def __init__(self, count):
        self.classes = [f"thing {i}" for i in range(count)]


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("format", ["tflite", "tflite_int8"])
def test_object_detector(real_data, vision, as_image, tmp_path, format):
    cfg = tiny("detection", "detections.score_threshold=0.2", "export.outputs=detections")
    source = Named(5)
    model = detection(cfg).serving_model(lively(detection(cfg).model(source)))
    metadata = Metadata("detection", source.classes, cfg.model.input_size, outputs="detections")
    photographs = load_images(real_data / "coco_mini" / "val2017", 6, cfg.model.input_size)
    calibration = [np.stack(photographs[:4]).astype(np.float32)]
    options = {"inputs": "uint8", "calibration": calibration} if format == "tflite_int8" else {}
    path = export(model, tmp_path / "detector.tflite", format, metadata=metadata, **options)
    detector, predictor, total = vision("ObjectDetector", path), load_predictor(path), 0
    for photograph in photographs:
        height, width = photograph.shape[:2]
        raw = predictor(photograph[None])
        [ours] = detection(cfg).decode(raw, np.array([[height, width]]))
        theirs = detector.detect(as_image(photograph)).detections
        assert [found.categories[0].category_name for found in theirs] == [source.classes[i] for i in ours["labels"]]
        scores = [found.categories[0].score for found in theirs]
        np.testing.assert_allclose(scores, ours["scores"], atol=1e-3)
        boxes = [found.bounding_box for found in theirs]
        corners = np.array([(b.origin_y, b.origin_x, b.origin_y + b.height, b.origin_x + b.width) for b in boxes])
        uncut = raw["detection_boxes"][0, : len(theirs)]
        inside = ((uncut >= 0) & (uncut <= 1)).all(-1)  # MediaPipe shifts others to the border instead of cutting them
        wanted = ours["boxes"] * [height, width, height, width]
        np.testing.assert_allclose(corners[inside], wanted[inside], atol=2)  # corner and sides are whole pixels
        total += inside.sum()
    assert total > 10, "detections of several classes to compare"


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize(("format", "outputs"), [("tflite", "softmax"), ("tflite_int8", "logits")])
def test_image_segmenter(real_data, vision, as_image, tmp_path, format, outputs):
    cfg = tiny("segmentation", "model.head=lraspp", "model.input_size=[90,120]", f"export.outputs={outputs}")
    source = Named(4)
    photographs = load_images(real_data / "camvid_mini" / "val" / "images", 3, cfg.model.input_size)
    model = evened(lively(segmentation(cfg).model(source)), np.stack(photographs))
    model = segmentation(cfg).serving_model(model)
    metadata = Metadata("segmentation", source.classes, cfg.model.input_size, outputs=outputs)
    calibration = [np.stack(photographs[:4]).astype(np.float32)]
    options = {"calibration": calibration} if format == "tflite_int8" else {}
    path = export(model, tmp_path / "segmenter.tflite", format, metadata=metadata, **options)
    segmenter, predictor = vision("ImageSegmenter", path, output_category_mask=True), load_predictor(path)
    assert list(segmenter.labels) == source.classes
    seen = set()
    for photograph in photographs:
        raw = predictor(photograph[None])
        [ours] = segmentation(cfg).decode(raw, np.array([photograph.shape[:2]]))
        result = segmenter.segment(as_image(photograph))
        assert (np.squeeze(result.category_mask.numpy_view()) == ours["mask"]).mean() > 0.999
        theirs = np.stack([np.squeeze(mask.numpy_view()) for mask in result.confidence_masks], -1)
        np.testing.assert_allclose(theirs, np.exp(raw[0]) / np.exp(raw[0]).sum(-1, keepdims=True), atol=1e-4)
        seen |= set(np.unique(ours["mask"]).tolist())
    assert len(seen) > 1, "more than one class to compare"


SMALLER = ["model.backbone=mobilenet_v1", "model.alpha=0.25"]


@pytest.fixture(params=["tflite", "tflite_int8"])
def of_faces(request, real_data, tmp_path):
    """(task, config, classes) -> (a file that takes float32 or uint8, photographs of faces, our predictions)"""

    def exported(task, cfg, classes):
        photographs = np.stack(load_images(real_data / "faces_celeba" / "img_align_celeba", 6, cfg.model.input_size))
        keras.utils.set_random_seed(0)
        model = task(cfg).serving_model(adjusted(task(cfg).model(Named(4)), photographs))
        metadata = Metadata(task.name, classes, cfg.model.input_size, config=cfg.to_dict(), outputs=cfg.export.outputs)
        calibration = [photographs.astype(np.float32)]
        options = {"inputs": "uint8", "calibration": calibration} if request.param == "tflite_int8" else {}
        path = export(model, tmp_path / "model.tflite", request.param, metadata=metadata, **options)
        ours = task(cfg).decode(load_predictor(path)(photographs), [photographs.shape[1:3]] * len(photographs))
        return path, photographs, ours

    return exported


@pytest.mark.real_data
def test_image_classifier_of_attributes(of_faces, vision, as_image):
    names = ["hat", "smile", "glasses", "beard"]
    path, photographs, predictions = of_faces(
        attributes, tiny("attributes", *SMALLER, "data.augment.flip=false"), names
    )
    classifier, seen = vision("ImageClassifier", path), []
    for photograph, ours in zip(photographs, predictions, strict=True):
        [found] = classifier.classify(as_image(photograph)).classifications
        scores = {category.category_name: category.score for category in found.categories}
        assert scores == pytest.approx(dict(zip(names, ours["probabilities"], strict=True)), abs=2e-3)
        assert [names[category.index] for category in found.categories] == list(scores), "thresholds go by the index"
        seen.append(scores["smile"])
    assert np.ptp(seen) > 0.02


@pytest.mark.slow
@pytest.mark.real_data
def test_image_embedder(of_faces, vision, as_image):
    path, photographs, ours = of_faces(embedding, tiny("embedding", *SMALLER, "train.batch_size=8"), [])
    embedder = vision("ImageEmbedder", path)
    theirs = [embedder.embed(as_image(photograph)).embeddings[0] for photograph in photographs]
    similar = [embedder.cosine_similarity(theirs[0], each) for each in theirs]
    assert similar == pytest.approx([float(ours[0]["embedding"] @ each["embedding"]) for each in ours], abs=1e-3)
    assert np.ptp(similar) > 0.02
