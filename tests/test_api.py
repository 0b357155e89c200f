"""`mobilenet_tf.load`: typed results, the same as those of the commands; and files that a bare Keras opens."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mobilenet_tf
from mobilenet_tf import registration, workflow
from mobilenet_tf.data import scenes
from mobilenet_tf.inference.predict import load_predictor
from mobilenet_tf.prediction import predict_images
from mobilenet_tf.utils.errors import UserError

ROOT = Path(__file__).parent.parent
TASKS = {
    "classification": "Classification",
    "detection": "Detections",
    "segmentation": "Segmentation",
    "attributes": "Attributes",
    "embedding": "Embedding",
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Runs of all tasks, with exports, that an earlier version made."""
    folder = tmp_path_factory.mktemp("runs")
    zipfile.ZipFile(Path(__file__).parent / "stored" / "0.1.0.zip").extractall(folder)
    return folder


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return scenes.render(3, 0, 80)["image"][10:70]


@pytest.mark.parametrize("task", TASKS)
def test_results_are_typed_and_those_of_the_command(runs, image, task, tmp_path):
    Image.fromarray(image).save(tmp_path / "image.png")
    file = runs / task / "exports" / "model.tflite"
    model = mobilenet_tf.load(file)
    result = model.predict(image)
    assert type(result).__name__ == TASKS[task] and model.metadata.task == task
    [row] = workflow.predict_files(file, [str(tmp_path / "image.png")])
    if task == "classification":
        assert result.name == row["label"] and result.probability == pytest.approx(row["probability"], abs=1e-4)
        assert result.probabilities.sum() == pytest.approx(1, abs=1e-5) and len(result.names) == 10
    if task == "attributes":
        assert len(result.present_names) == row["count"] == result.present.sum()
    if task == "segmentation":
        assert result.mask.shape == image.shape[:2] and result.mask.dtype == np.uint8
        assert result.names[np.bincount(result.mask.ravel()).argmax()] == row["label"]
    if task == "embedding":
        assert np.linalg.norm(result.vector) == pytest.approx(1, abs=1e-5)
        assert result.similarity(model.predict(image)) == pytest.approx(1, abs=1e-5)


def test_boxes_are_in_pixels_of_the_image_x_first(runs, image):
    model = mobilenet_tf.load(runs / "detection" / "exports" / "model.tflite")
    result = model.predict(image)
    height, width = image.shape[:2]
    [prediction] = predict_images(model.inference, model.predictor, [image])
    wanted = prediction["boxes"][:, [1, 0, 3, 2]] * [width, height, width, height]
    np.testing.assert_allclose(result.boxes, wanted, atol=1e-4)
    assert len(result.boxes) == len(result.scores) == len(result.labels) > 0
    assert (np.diff(result.scores) <= 0).all()
    assert result.boxes[:, 2].max() > height >= result.boxes[:, 3].max(), "x reaches further than y in a wide image"


def test_one_image_a_list_and_paths_give_the_same(runs, image, tmp_path):
    model = mobilenet_tf.load(runs / "classification" / "exports" / "model.tflite")
    path = tmp_path / "image.png"
    Image.fromarray(image).save(path)
    other = np.ascontiguousarray(image[::-1, :40])
    one, *many = [model.predict(image), *model.predict([image, str(path), path, other])]
    assert len(many) == 4
    for result in many[:3]:
        np.testing.assert_allclose(result.probabilities, one.probabilities, atol=1e-6)
    assert model.predict([]) == []
    assert len(model.predict([other] * 40)) == 40, "more than one batch"


@pytest.mark.parametrize(
    "array",
    [np.zeros((8, 8, 3), np.float32), np.zeros((8, 8), np.uint8), np.zeros((1, 8, 8, 3), np.uint8)],
    ids=["float", "grey", "batch"],
)
def test_an_array_that_is_no_image_is_one_line(runs, array):
    model = mobilenet_tf.load(runs / "classification" / "exports" / "model.tflite")
    with pytest.raises(UserError, match=r"an image must be an RGB array uint8 \[H, W, 3\].*Received: "):
        model.predict(array)
    with pytest.raises(UserError):
        model.predict("nowhere.jpg")


@pytest.mark.slow
def test_a_run_evaluates_and_exports_itself(runs, tmp_path):
    model = mobilenet_tf.load(runs / "classification")
    assert model.evaluate("validation", limit=8)["count"] == 8
    [result] = model.export(["tflite"], tmp_path)
    assert result.parity.max_diff < 1e-4 and (tmp_path / "model.tflite").is_file()


READERS = {"classification": "folder", "detection": "voc", "segmentation": "folder", "attributes": "csv",
           "embedding": "folder"}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_a_float_file_needs_no_images_of_the_training(runs, task, tmp_path, capsys):
    """As on a machine that has the run alone: the file is written, and what could not be measured is said."""
    gone = [f"data.reader={READERS[task]}", f"data.root={tmp_path / 'gone'}"]
    with pytest.warns(UserWarning, match="no metric is measured.*drawn scenes alone: set data.root=PATH"):
        [result] = workflow.export_run(runs / task, ["tflite"], overrides=gone, folder=tmp_path / "out")
    assert result.verdict == "unproven" and result.parity.max_diff < 1e-3 and not result.ok
    assert (tmp_path / "out" / "model.tflite").is_file()
    assert "no metric was measured" in (tmp_path / "out" / "report.html").read_text()
    assert json.loads((tmp_path / "out" / "model.tflite.json").read_text())["drop"] is None


@pytest.mark.filterwarnings("ignore:.*no metric is measured")
def test_an_int8_file_without_the_images_of_the_training_is_one_line(runs, tmp_path):
    gone = ["data.reader=folder", f"data.root={tmp_path / 'gone'}"]
    with pytest.raises(UserError, match="data.root must be a folder that exists"):
        workflow.export_run(runs / "classification", ["tflite", "tflite_int8"], overrides=gone, folder=tmp_path / "out")
    assert not (tmp_path / "out").exists(), "the images are missed before anything is written"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tflite", "onnx"])
def test_the_batch_size_of_a_file_can_be_free(runs, tmp_path, name):
    [result] = workflow.export_run(
        runs / "classification", [name], overrides=["export.dynamic_batch=true"], folder=tmp_path
    )
    assert result.ok
    predictor = load_predictor(tmp_path / f"model.{name}")
    images = np.random.default_rng(0).uniform(0, 255, (3, *predictor.input_size, 3)).astype(np.float32)
    assert predictor(images).shape[0] == 3
    if name == "onnx":
        onnx = pytest.importorskip("onnx")
        dimension = onnx.load(tmp_path / "model.onnx").graph.input[0].type.tensor_type.shape.dim[0]
        assert dimension.dim_param and not dimension.dim_value


@pytest.mark.parametrize("name", ["tflite", "onnx"])
def test_a_detector_that_decodes_its_boxes_takes_one_image(runs, tmp_path, name):
    with pytest.raises(UserError, match=f"export.outputs must be raw for a {name} file.*Received: detections"):
        workflow.export_run(
            runs / "detection", [name], overrides=["export.dynamic_batch=true"], folder=tmp_path / "out"
        )


def test_an_export_to_no_format_is_one_line(runs):
    with pytest.raises(UserError, match="export.formats must name a format"):
        workflow.export_run(runs / "classification", overrides=["export.formats=[]"])


def test_what_is_no_model_of_ours_is_one_line(tmp_path):
    with pytest.raises(UserError, match="must exist"):
        mobilenet_tf.load(tmp_path / "nothing.tflite")


def test_exported_files_are_loaded_without_tensorflow(runs):
    code = f"""
import sys, numpy, mobilenet_tf
mobilenet_tf.load({str(runs / "detection" / "exports" / "model.tflite")!r}).predict(numpy.zeros((9, 9, 3), "uint8"))
sys.exit(any(name in sys.modules for name in ("tensorflow", "keras", "matplotlib")))
"""
    assert subprocess.run([sys.executable, "-c", code], cwd="/").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("imports", ["import mobilenet_tf, keras", "import keras, mobilenet_tf.models.layers"])
def test_a_bare_keras_opens_our_files_once_this_package_is_imported(runs, imports):
    files = [str(runs / name / "model.keras") for name in (*TASKS, "classification_int8")]
    code = f"{imports}\nfor file in {files}: keras.saving.load_model(file)"
    done = subprocess.run([sys.executable, "-c", code], cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_class_that_registers_itself_is_among_those_that_are_imported():
    files = [*(ROOT / "mobilenet_tf").glob("**/*.py"), *(ROOT / "tasks").glob("**/*.py")]
    names = set()
    for path in files:
        if "@keras.saving.register_keras_serializable" in path.read_text():
            parts = path.relative_to(ROOT).with_suffix("").parts
            names.add(".".join(parts if parts[0] == "mobilenet_tf" else ("mobilenet_tf", *parts)))
    assert names == set(registration.MODULES)


def test_the_old_place_of_train_works_and_says_where_it_is_now():
    from mobilenet_tf.training.train import train

    with pytest.warns(UserWarning, match="mobilenet_tf.training.train"):
        from mobilenet_tf import train as old
    assert old.train is train


@pytest.fixture
def two_folders(image, tmp_path) -> Path:
    """Images of equal names in two folders, and one that differs from another in its suffix alone."""
    for name in ("a/x.png", "b/x.png", "b/x.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / name)
    return tmp_path


def test_drawn_copies_keep_the_folders_of_the_images(runs, two_folders, tmp_path):
    file, drawn = runs / "classification" / "exports" / "model.tflite", tmp_path / "drawn"
    for _ in range(2):  # copies may be drawn again
        workflow.predict_files(file, [str(two_folders / "a"), str(two_folders / "b")], pictures=drawn)
    names = {path.relative_to(drawn).as_posix() for path in drawn.rglob("*.*")}
    assert names == {"a/x.png", "b/x.png.png", "b/x.jpg.png"}


@pytest.mark.parametrize(("inputs", "folder"), [(["a"], "a"), (["b/x.jpg"], "b"), (["a/x.png"], "b")])
def test_a_drawn_copy_never_replaces_what_was_not_drawn_here(runs, two_folders, inputs, folder):
    before = {path: path.read_bytes() for path in two_folders.rglob("*.*")}
    file = runs / "classification" / "exports" / "model.tflite"
    with pytest.raises(UserError, match="choose another folder"):
        workflow.predict_files(file, [str(two_folders / name) for name in inputs], pictures=two_folders / folder)
    assert {path: path.read_bytes() for path in two_folders.rglob("*.*")} == before


def test_a_drawing_that_cannot_be_written_loses_no_prediction(runs, image, tmp_path, monkeypatch):
    for name in "ab":
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    drawn = tmp_path / "drawn"
    drawn.mkdir()
    (drawn / "a.png").mkdir()  # in the way
    monkeypatch.setattr("mobilenet_tf.viz.image_files.is_made_here", lambda path: True)
    with pytest.warns(UserWarning, match=r"a\.png must be a file"):
        rows = workflow.predict_files(
            runs / "classification" / "exports" / "model.tflite",
            [str(tmp_path / "a.png"), str(tmp_path / "b.png")],
            pictures=drawn,
        )
    assert len(rows) == 2 and (drawn / "b.png").is_file()
