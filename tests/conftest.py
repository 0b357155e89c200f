"""What tests share: small networks and runs, the folder of real data, and the order in which files start."""

import gc
import os
import sys
from contextlib import contextmanager
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path

import pytest

import mobilenet_tf  # noqa: F401  before TensorFlow: it has a setting for it
from mobilenet_tf.models import specs

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
gc.set_threshold(100_000, 50, 100)  # a traced graph is many objects that stay: looking through them took a sixth

# The files that take longest start first, so that no worker is left alone with one of them at the end.
LONGEST = (
    "test_notebooks",
    "test_train",
    "test_short_runs",
    "test_segmentation_model",
    "test_qat",
    "test_network_heads",
    "test_tflite_metadata",
    "test_readme",
    "test_attributes_task",
    "test_export",
    "test_cli",
    "test_embedding_task",
    "test_detection_learning",
    "test_weights",
    "test_builder",
    "test_distill",
    "test_prune",
)


def pytest_collection_modifyitems(items):
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


def pytest_collection_finish():
    gc.freeze()  # what the imports made stays


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; the test is skipped where MOBILENET_TF_TEST_DATA does not name it."""
    folder = os.environ.get("MOBILENET_TF_TEST_DATA")
    if not folder:
        pytest.skip("MOBILENET_TF_TEST_DATA is not set")
    return Path(folder)


@pytest.fixture(scope="session", autouse=True)
def tflite_kernels():
    """With MOBILENET_TF_TEST_XNNPACK=0, .tflite files opened in this process run on TFLite's own kernels."""
    if os.environ.get("MOBILENET_TF_TEST_XNNPACK", "1") != "0":
        yield
        return
    from mobilenet_tf.inference import tflite

    found = tflite.interpreter_class

    @wraps(found)  # tests beside MediaPipe, which has XNNPACK, unwrap it
    def interpreter_class():
        interpreter = found()
        kinds = sys.modules[interpreter.__module__].OpResolverType
        return partial(interpreter, experimental_op_resolver_type=kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tflite, "interpreter_class", interpreter_class)
        yield


# A few rows of each table: every stride, a residual addition, squeeze-and-excite, all activations
ROWS = {
    "mobilenet_v1": (0, 1, 3, 5, 11),
    "mobilenet_v2": (0, 1, 2, 3, 6, 13),
    "mobilenet_v3_small": (0, 1, 3, 4, 8),
    "mobilenet_v3_large": (0, 1, 2, 3, 6, 12),
}
WHOLE = dict(specs.NETS)


def few(net: specs.Net) -> specs.Net:
    """The network with the rows that change the stride and the first of each other sort: kind and switches."""
    seen, blocks = set(), []
    for block in net.blocks:
        switches = ("expand", "start", "middle", "se", "group", "shortcut", "act")
        sort = (type(block), getattr(block, "shrink", None), *(bool(getattr(block, key, None)) for key in switches))
        if block.stride == 2 or sort not in seen:
            blocks.append(block)
        seen.add(sort)
    return replace(net, blocks=tuple(blocks))


@contextmanager
def shortened():
    """Networks of few blocks under the names of the whole ones; within itself it changes nothing."""
    with pytest.MonkeyPatch.context() as patch:
        for name, net in WHOLE.items():
            if name in ROWS:
                patch.setitem(specs.NETS, name, replace(net, blocks=tuple(net.blocks[i] for i in ROWS[name])))
            elif not net.sizes:
                patch.setitem(specs.NETS, name, few(net))
        yield


@pytest.fixture(scope="module")
def few_rows():
    """For tests of what does not depend on how many blocks a network has."""
    with shortened():
        yield


SMALL = {
    "task": "classification",
    "model": {"backbone": "mobilenet_v1", "alpha": 0.25, "input_size": [32, 32], "weights": None, "dropout": 0.1},
    "data": {"reader": "scenes", "counts": {"train": 44, "validation": 24, "test": 24}, "crop_fraction": None},
    "train": {"batch_size": 16, "stages": [{"duration": 2, "learning_rate": 0.01}], "ema": 0.9},
}


@pytest.fixture(scope="session")
def small_config():
    """A config that trains in seconds; called with overrides such as "train.ema=null"."""
    from mobilenet_tf import config

    return lambda *overrides: config.override(SMALL, overrides, "small")


@pytest.fixture(scope="session")
def small_run(small_config, tmp_path_factory):
    """The folder of one finished run of the small config, of a network of few rows. Read only."""
    from mobilenet_tf.tasks.classification.task import task
    from mobilenet_tf.training.train import train

    with shortened():
        return train(task, small_config(), tmp_path_factory.mktemp("runs") / "small").folder
