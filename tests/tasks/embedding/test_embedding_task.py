"""A small run from pictures to exported files: other classes in every split, a stored threshold, pictures compared."""

import csv
import itertools

import keras
import numpy as np
import pytest
from command import predict_without_tensorflow
from conftest import shortened
from half import need
from learned import told_apart
from PIL import Image

from mobilenet_tf import config, workflow
from mobilenet_tf.data import scenes
from mobilenet_tf.data.source import evaluation_batches
from mobilenet_tf.export import convert
from mobilenet_tf.inference import artifact
from mobilenet_tf.inference.predict import keras_predictor, load_predictor
from mobilenet_tf.models import graph
from mobilenet_tf.tasks.embedding.export import serving_model
from mobilenet_tf.tasks.embedding.model import embedder
from mobilenet_tf.tasks.embedding.task import task
from mobilenet_tf.training import optim
from mobilenet_tf.training.evaluate import evaluation_inputs, score
from mobilenet_tf.training.train import Trainer, train
from mobilenet_tf.utils.errors import UserError

SMALL = {
    "task": "embedding",
    "model": {
        "backbone": "mobilenet_v1",
        "alpha": 0.25,
        "input_size": [32, 32],
        "weights": None,
        "dimension": 16,
        "batch_norm": False,  # after so short a training it would divide by next to no variance
    },
    "data": {
        "reader": "scenes",
        "counts": {"train": 160, "validation": 100, "test": 80},
        "held_out": {"validation": 0.2, "test": 0.3},
        "images_per_identity": 4,
    },
    "loss": {"name": "arcface", "scale": 16},
    "train": {
        "batch_size": 20,
        "stages": [{"duration": "4 epochs", "learning_rate": 0.005}],
        "evaluate_every": 4,
        "batch_norm_momentum": 0.8,
        "optimizer": {"name": "adamw"},
    },
    "export": {
        "formats": ["tflite", "tflite_int8", "onnx"],
        "calibration_samples": 40,
        "parity_samples": 20,
        "limit": 0.1,  # of the area under a curve of twenty pictures
    },
}


ALPHAS = {"mobilenet_v2": 0.35, "mobilenet_v3_small": 1.0}


def small(*overrides):
    return config.override(SMALL, overrides, "small")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a network of few rows: int8 ruins deep ones that are hardly trained."""
    with shortened():
        found = train(task, small(), tmp_path_factory.mktemp("embedding") / "run")
    told_apart(keras_predictor(found.model, artifact.read(found.folder)), validation_images())
    return found


def validation_images():
    return np.concatenate(evaluation_inputs(task(small()), task(small()).source("validation"), 20))


@pytest.fixture(scope="module")
def exported(run):
    return run.folder / "exports", workflow.export_run(run.folder)


@pytest.fixture(scope="module")
def animals(tmp_path_factory):
    return scenes.write_folder(tmp_path_factory.mktemp("animals"), {"test": 20}, 48)


def lively(model):
    """The model with statistics and scales that are not the initial ones, which leave next to nothing of a picture."""
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if len(variable.shape) == 1:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return model


@pytest.mark.parametrize("backbone", ALPHAS)
def test_embeddings_have_unit_length_and_centres_stay_behind(backbone):
    model = lively(embedder(backbone, 7, alpha=ALPHAS[backbone], input_size=(32, 32), dimension=12))
    images = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype(np.float32)
    raw = model(images)
    np.testing.assert_allclose(np.linalg.norm(raw["embedding"], axis=-1), 1, rtol=1e-5)
    assert raw["cosines"].shape == (4, 7) and np.abs(raw["cosines"]).max() <= 1 + 1e-6
    assert optim.depths(model)[0][1] == 5 and model.get_layer("features")
    left = serving_model(model)
    np.testing.assert_allclose(left(images), raw["embedding"], atol=1e-6)
    assert "cosines" not in {layer.name for layer in left.layers}
    assert "cosines" not in embedder(backbone, None, input_size=(32, 32)).output


@pytest.mark.slow
@pytest.mark.parametrize("name", ["triplet", "arcface"])
def test_each_loss_learns_a_handful_of_pictures(name):
    keras.utils.set_random_seed(0)
    cfg = small(f"loss.name={name}")
    source = task(cfg).source("train")
    model = task(cfg).model(source)
    for layer in graph.leaves(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.7
    batch = next(iter(evaluation_batches(source, task(cfg).transform(False), batch_size=20)))
    trainer = Trainer(model, task(cfg).loss())
    trainer.compile(keras.optimizers.Adam(0.005), jit_compile=False)  # XLA is slow on CPU
    trainer.fit(*(x.numpy() for x in task(cfg).encode(source)(batch)), batch_size=20, epochs=60, verbose=0)
    assert score(task(cfg), keras_predictor(model), [batch], task(cfg).metric(source))["roc_auc"] > 0.95


@pytest.mark.slow
def test_the_threshold_of_the_validation_split_travels(run):
    stored = artifact.read(run.folder)
    threshold = stored.config["verification"]["threshold"]
    assert threshold == pytest.approx(run.metrics["threshold"], abs=1e-4)
    assert config.load(run.folder / "config.yaml").verification.threshold == threshold
    assert run.metrics["accuracy_at_threshold"] >= run.metrics["accuracy"] - 0.05
    drawn = {path.name for path in (run.folder / "plots").iterdir()}
    assert len(stored.classes) == 5 and drawn >= {"roc.png", "curves.png", "training_images.png"}


@pytest.mark.slow
def test_unseen_identities_are_scored(run, exported):
    numbers = workflow.evaluate_model(run.folder)
    assert numbers["count"] == 24 and numbers["pairs"] == 24 * 23 // 2
    folder, _ = exported
    again = workflow.evaluate_model(folder / "model.onnx")
    assert again["roc_auc"] == pytest.approx(numbers["roc_auc"], abs=0.02)  # near ties change places


def test_exports_end_in_the_embedding_alone_and_agree(run, exported):
    folder, results = exported
    floats, int8, onnx = (result.parity.agreement for result in results)
    assert floats > 0.9999 and onnx > 0.9999 and int8 >= 0.98, "mean cosine with the model's embedding"
    vectors = load_predictor(run.folder)(validation_images())["embedding"]
    others = np.mean([a @ b for a, b in itertools.combinations(vectors, 2)])
    assert 1 - int8 < 0.5 * (1 - others), "the best that is the same for all pictures comes to half, or more"
    assert [result.verdict for result in results] == ["ok", "unproven", "ok"], "24 images are few for int8 alone"
    raw = load_predictor(folder / "model_int8.tflite")(np.zeros((2, 32, 32, 3), np.uint8))
    assert isinstance(raw, np.ndarray) and raw.shape == (2, 16)
    assert convert.tflite_ops(folder / "model_int8.tflite")["L2_NORMALIZATION"] == 1, "the runtime's own operation"
    assert artifact.read(folder / "model.tflite").classes == [], "who was trained on is nobody's business"


def test_predict_ranks_by_likeness_to_the_first_picture(run, exported, animals, tmp_path):
    [first, second] = sorted((animals / "test" / "fox").iterdir())
    rows = workflow.predict_files(exported[0] / "model.tflite", [str(first), str(animals)], pictures=tmp_path / "out")
    assert len(rows) == 20 and rows[0]["file"] == str(first) and rows[0]["similarity"] == 1 and rows[0]["same"] is True
    likeness = [row["similarity"] for row in rows]
    assert likeness == sorted(likeness, reverse=True)
    threshold = artifact.read(run.folder).config["verification"]["threshold"]
    assert all(row["same"] == (row["similarity"] >= threshold) for row in rows if row["similarity"] != threshold)
    assert len(list((tmp_path / "out").rglob("*.png"))) == 20
    [_, other] = workflow.predict_files(run.folder, [str(first), str(second)])
    kept = next(row for row in rows if row["file"] == str(second))
    assert other["similarity"] == pytest.approx(kept["similarity"], abs=2e-3)


@pytest.mark.parametrize(("name", "runtime"), [("model.tflite", "ai_edge_litert"), ("model.onnx", "onnxruntime")])
def test_a_file_predicts_without_tensorflow_what_the_model_does(run, exported, animals, name, runtime):
    pytest.importorskip(runtime)
    pair = sorted((animals / "test" / "fox").iterdir())
    got = predict_without_tensorflow(exported[0] / name, *pair)
    wanted = workflow.predict_files(run.folder, list(map(str, pair)))
    assert [row["file"] for row in got] == [row["file"] for row in wanted]
    likeness = [row["similarity"] for row in wanted]  # whether the same: of a hardly trained net at the threshold
    assert [row["similarity"] for row in got] == pytest.approx(likeness, abs=2e-4)


def test_what_cannot_be_read_is_last_unless_all_are_compared_with_it(run, animals, tmp_path):
    [picture, _] = sorted((animals / "test" / "fox").iterdir())
    broken = tmp_path / "broken.jpg"
    broken.write_text("no picture")
    rows = workflow.predict_files(run.folder, [str(picture), str(broken)])
    assert [("error" in row) for row in rows] == [False, True]
    with pytest.raises(UserError, match="broken.jpg must be an image"):
        workflow.predict_files(run.folder, [str(broken), str(picture)])


def test_a_student_must_have_the_length_of_its_teacher(run, tmp_path):
    keys = [f"distill.teacher={run.folder}", "distill.weight=1", "loss.name=triplet", "model.dimension=8"]
    with pytest.raises(UserError, match="model.dimension must be that of the teacher's embedding, 16. .*=8") as error:
        train(task, small(*keys), tmp_path / "student")
    assert "\n" not in str(error.value)


@pytest.mark.real_data
def test_listed_pairs_of_real_pictures(run, real_data, tmp_path):
    """The pictures of CIFAR-10 with LFW's names; verified by a list of ten folds."""
    for name in ("cat", "frog", "ship"):
        (tmp_path / "lfw" / name).mkdir(parents=True)
        for i, path in enumerate(sorted((real_data / "cifar10_mini" / "test" / name).iterdir())[:20], 1):
            (tmp_path / "lfw" / name / f"{name}_{i:04d}.jpg").write_bytes(path.read_bytes())
    rows = [f"cat\t{i}\t{i + 10}\nfrog\t{i}\t{i + 10}\ncat\t{i}\tfrog\t{i}\nship\t{i}\tfrog\t{i}" for i in range(1, 11)]
    (tmp_path / "pairs.txt").write_text("\n".join(["10\t2", *rows]))
    keys = ["data.reader=folder", f"data.root={tmp_path / 'lfw'}", f"data.pairs={tmp_path / 'pairs.txt'}"]
    numbers = workflow.evaluate_model(run.folder, overrides=keys, plots=tmp_path / "plots")
    assert numbers["pairs"] == 40 and numbers["count"] == 50 and 0 <= numbers["accuracy"] <= 1
    rows = list(csv.DictReader((tmp_path / "plots" / "worst_pairs.csv").read_text().splitlines()))
    assert len(rows) == 18 and Image.open(tmp_path / "plots" / "worst_pairs.png").width > 600


def test_half_precision_keeps_unit_length():
    need("bfloat16")
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = lively(embedder("mobilenet_v1", 3, alpha=0.25, input_size=(32, 32)))
    finally:
        keras.config.set_dtype_policy("float32")
    raw = model(np.full((2, 32, 32, 3), 90, np.float32))
    assert raw["embedding"].dtype == raw["cosines"].dtype == "float32"
    np.testing.assert_allclose(np.linalg.norm(raw["embedding"], axis=-1), 1, rtol=1e-4)
