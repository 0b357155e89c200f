"""What tests share: small runs and the folder of real data."""

import os
from pathlib import Path

import pytest

import mobilenet_tf  # noqa: F401  before TensorFlow: it has a setting for it

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; the test is skipped where MOBILENET_TF_TEST_DATA does not name it."""
    folder = os.environ.get("MOBILENET_TF_TEST_DATA")
    if not folder:
        pytest.skip("MOBILENET_TF_TEST_DATA is not set")
    return Path(folder)


SMALL = {
    "task": "classification",
    "model": {"backbone": "mobilenet_v2", "alpha": 0.35, "input_size": [32, 32], "weights": None, "dropout": 0.1},
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
    """The folder of one finished run of the small config. Read only."""
    from mobilenet_tf.tasks.classification.task import task
    from mobilenet_tf.train import train

    return train(task, small_config(), tmp_path_factory.mktemp("runs") / "small").folder
