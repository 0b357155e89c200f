"""What models end in: every ending of every task, by the name that files carry."""

import numpy as np
import pytest

from mobilenet_tf import config
from mobilenet_tf.inference import endings
from mobilenet_tf.inference.artifact import Metadata
from mobilenet_tf.utils.errors import UserError

TASKS = {
    "attributes": ["logits", "sigmoid"],
    "classification": ["logits", "softmax"],
    "detection": ["detections", "raw"],
    "embedding": ["embedding"],
    "segmentation": ["logits", "softmax", "class_map"],
}


def declared(task):
    return config.schema(task).model_fields["export"].annotation.endings


@pytest.mark.parametrize("task", TASKS)
def test_a_task_s_endings_are_found_by_their_names(task):
    assert [ending.name for ending in declared(task)] == TASKS[task]
    for ending in declared(task):
        assert endings.find(ending.name, task) is ending
        assert Metadata(task, [], (1, 1), outputs=ending.name).ending is ending


@pytest.mark.parametrize("task", TASKS)
def test_a_config_takes_the_task_s_endings_and_no_others(task):
    export = config.schema(task).model_fields["export"].annotation
    for name in TASKS[task]:
        assert export(outputs=name).outputs == name
    with pytest.raises(ValueError, match=f"must be .*{TASKS[task][-1]}"):
        export(outputs="something")


def test_the_mistake_is_one_line():
    with pytest.raises(UserError, match=r"^demo.yaml: export.outputs must be logits or softmax. Received: 'sigmoid'$"):
        config.load("demo", ["export.outputs=sigmoid"])


@pytest.mark.parametrize(("name", "task"), [("later", "detection"), ("raw", "later"), ("raw", "../x"), ("map", "")])
def test_an_unknown_name_leaves_the_outputs_as_they_are(name, task):
    ending = endings.find(name, task)
    outputs = {"x": np.ones((2, 3))}
    assert ending == endings.Ending(name)
    assert ending.to_raw(outputs) is outputs and ending.class_counts({"x": (None, 3)}, {}) == []


@pytest.mark.parametrize("ending", [endings.SOFTMAX, endings.SIGMOID], ids=lambda ending: ending.name)
def test_probabilities_become_logits_again(ending):
    logits = np.random.default_rng(0).normal(0, 3, (4, 5)).astype(np.float32)
    again = ending.to_raw({"x": ending.probabilities(logits)})["x"]
    np.testing.assert_allclose(ending.probabilities(again), ending.probabilities(logits), atol=1e-6)
    if ending is endings.SIGMOID:
        np.testing.assert_allclose(again, logits, atol=1e-3)
    zero = ending.to_raw({"x": np.zeros((1, 2), np.float32)})["x"]
    assert np.isfinite(zero).all(), "a quantized probability may be 0"


@pytest.mark.parametrize(
    ("name", "shapes", "values", "counts"),
    [
        ("logits", {"x": (None, 7)}, {}, [7]),
        ("softmax", {"x": (None, 4, 4, 7)}, {}, [7]),
        ("logits", {"x": (None, 7), "y": (None, 3)}, {}, []),
        ("raw", {"class_logits": (None, 9, 7)}, {"model": {"scores": "softmax"}}, [6]),
        ("detections", {"class_logits": (None, 9, 7)}, {"model": {"scores": "sigmoid"}}, [7]),
        ("raw", {"class_logits": (None, 9, 7)}, {}, [7, 6]),
        ("raw", {"x": (None, 7)}, {}, []),
    ],
)
def test_classes_are_counted_by_the_shapes(name, shapes, values, counts):
    assert endings.find(name, "detection").class_counts(shapes, values) == counts


def test_what_stands_behind_the_last_detection_becomes_zeros():
    outputs = {
        "num_detections": np.float32([1, 0]),
        "detection_scores": np.ones((2, 3), np.float32),
        "detection_boxes": np.ones((2, 3, 4), np.float32),
    }
    cleared = endings.find("detections", "detection").to_raw(outputs)
    assert cleared["detection_scores"].tolist() == [[1, 0, 0], [0, 0, 0]]
    assert cleared["detection_boxes"].sum() == 4 and cleared["num_detections"].tolist() == [1, 0]
