"""Pruning: what is cut does not matter, the rest is what it was, and the result trains and converts as any network."""

import json

import keras
import numpy as np
import pytest
from command import call
from learned import told_apart
from untrained import adjusted

from mobilenet_tf import config
from mobilenet_tf.analysis.cost import cost
from mobilenet_tf.inference import artifact
from mobilenet_tf.inference.predict import load_keras
from mobilenet_tf.models import builder
from mobilenet_tf.models.heads import classifier
from mobilenet_tf.prune import prune
from mobilenet_tf.tasks.classification.task import task
from mobilenet_tf.tasks.detection import task as detection
from mobilenet_tf.training.state import metadata
from mobilenet_tf.training.train import train
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.workflow import prune_run

IMAGES = np.random.default_rng(1).uniform(0, 255, (8, 4, 4, 3)).repeat(8, 1).repeat(8, 2).astype(np.float32)


def with_dead_channels(name: str):
    """A network of which every second expansion channel is zero behind each of its layers, with random scales."""
    model = classifier(name, 4, alpha=0.5, input_size=(32, 32))
    rng = np.random.default_rng(0)
    for layer in model.get_layer("backbone").layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, *statistics = layer.get_weights()
            gamma, beta = rng.uniform(0.5, 1.5, gamma.shape), rng.normal(0, 0.2, beta.shape)
            if ("expand" in layer.name or "depthwise" in layer.name) and layer.name.split("_")[0] != "Conv1":
                gamma[::2] = beta[::2] = 0
            layer.set_weights([gamma, beta, *statistics])
    return told_apart(adjusted(model, IMAGES), IMAGES)


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small"])  # the second has squeeze-and-excite
@pytest.mark.parametrize("by", ["l1", "batch_norm"])
def test_cutting_dead_channels_changes_nothing(name, by):
    model = with_dead_channels(name)
    pruned = prune(model, name, 0.2, criterion=by)
    outputs = model(IMAGES)
    np.testing.assert_allclose(pruned.model(IMAGES), outputs, atol=1e-4 * np.abs(outputs).max())
    assert pruned.after.mult_adds == cost(pruned.model).mult_adds
    assert pruned.after.mult_adds <= 0.8 * pruned.before.mult_adds
    assert all(after % 8 == 0 or after == before for before, after in pruned.widths.values())


def test_channels_that_the_projection_ignores_go_first():
    model = classifier("mobilenet_v2", 4, alpha=0.5, input_size=(32, 32))
    for layer in model.get_layer("backbone").layers:
        if layer.name.endswith("_project"):
            kernel = np.array(layer.kernel)
            kernel[:, :, ::2] = 0
            layer.kernel.assign(kernel)
    outputs = told_apart(adjusted(model, IMAGES), IMAGES)(IMAGES)
    pruned = prune(model, "mobilenet_v2", 0.2, criterion="l1").model(IMAGES)
    np.testing.assert_allclose(pruned, outputs, atol=1e-4 * np.abs(outputs).max())


def test_an_expansion_that_a_head_looks_at_stays_whole():
    cfg = config.load("ssdlite_scenes", ["model.input_size=[64, 64]"])
    model = detection.task(cfg).model(detection.task(cfg).source("validation"))
    first_map = model.get_layer("backbone").output["s16_expand"]
    pruned = prune(model, "mobilenet_v2", 0.1)
    assert "block_13_expand" not in pruned.widths and "block_12_expand" in pruned.widths
    assert pruned.model.get_layer("backbone").output["s16_expand"].shape == first_map.shape
    assert pruned.model.output["class_logits"].shape == model.output["class_logits"].shape


@pytest.fixture(scope="module")
def expanded(small_config, tmp_path_factory):
    """(config, folder) of a run of a network that has expansions, as it is before the first step. Read only."""
    cfg = small_config("model.backbone=mobilenet_v2", "model.alpha=0.35")
    source = task(cfg).source("train")
    path = tmp_path_factory.mktemp("expanded")
    cfg.save(path / "config.yaml")
    task(cfg).model(source).save(path / "model.keras")
    artifact.write(path, metadata(task, cfg, source.classes))
    return cfg, path


@pytest.mark.slow
def test_a_pruned_network_is_fine_tuned_saved_and_resumed(expanded, tmp_path):
    whole, folder = expanded
    path = tmp_path / "pruned.keras"
    pruned = prune_run(folder, path, 0.2, "l1")
    changes = [f"train.network={path}", "train.stages=[{duration: 1, learning_rate: 0.001}]"]
    cfg = config.override(whole.to_dict(), changes, "small")
    run = train(task, cfg, tmp_path / "run")
    assert cost(load_keras(run.folder / "model.keras")).mult_adds == pruned.after.mult_adds
    (run.folder / "model.keras").unlink()
    again = train(task, cfg, tmp_path / "run")  # nothing is left to do but to put the best weights in place
    assert all(np.array_equal(a, b) for a, b in zip(run.model.get_weights(), again.model.get_weights(), strict=True))


def test_the_command_reports_what_it_cut(expanded, tmp_path, capsys):
    code, out, _ = call(capsys, "prune", expanded[1], f"--to={tmp_path}/p.keras", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["after"]["mult_adds"] <= 0.7 * found["before"]["mult_adds"]
    assert found["widths"]["block_16_expand"][0] == 336


@pytest.fixture(scope="module")
def trunks():
    """Networks by name, built once."""
    image = keras.Input((32, 32, 3))
    return {
        name: keras.Model(image, builder.backbone(name, alpha, (32, 32, 3))(image)["s32"])
        for name, alpha in (("mobilenet_v1", 0.25), ("mobilenet_v2", 0.35))
    }


@pytest.mark.parametrize(
    ("name", "keys", "message"),
    [
        ("mobilenet_v1", {}, "needs a network with expansions, such as MobileNetV2 to V4. Received: mobilenet_v1"),
        ("mobilenet_v2", {"criterion": "luck"}, "criterion must be one of l1, batch_norm. Received: criterion=luck"),
        ("mobilenet_v2", {"flops_reduction": 1.5}, "must lie between 0 and 1, .* Received: flops_reduction=1.5"),
        (
            "mobilenet_v2",
            {"flops_reduction": 0.97},
            r"must be at most 0\.\d\d for this network's expansions",
        ),
    ],
)
def test_what_cannot_be_pruned_is_one_line(trunks, name, keys, message):
    with pytest.raises(UserError, match=message):
        prune(trunks[name], name, **({"flops_reduction": 0.3} | keys))
