"""Runs of a few dozen steps from scratch end in models that see: what everybody's first data set must show."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import squares
from conftest import shortened

from mobilenet_tf import workflow


@dataclass(frozen=True)
class Short:
    """A run of a shipped config's recipe on two colors, from scratch, and what it must reach on the test split."""

    config: str
    data: Callable
    size: int
    batch: int
    steps: int
    metric: str
    floor: float
    overrides: tuple = ()
    learning_rate: float = 0.01

    def arguments(self, folder, seed: int) -> list[str]:
        return [
            "model.backbone=mobilenet_v1",
            "model.alpha=0.25",
            "model.weights=null",
            f"model.input_size=[{self.size}, {self.size}]",
            f"train.batch_size={self.batch}",
            f"train.stages=[{{train: all, duration: {self.steps} steps, learning_rate: {self.learning_rate}}}]",
            "train.evaluate_every=10",
            f"seed={seed}",
            *self.data(folder),
            *self.overrides,
        ]


IDENTITIES = "data.held_out={validation: 0, test: 0}"  # both splits have other images of the two
WHOLE = "data.augment.crop_scale=null"  # half of an image may lack the square that it is labeled with
SEEN = "data.augment={zoom_out: 0.0, iou_crop: 0.0}"
RUNS = {
    "classification": Short("folder_v2", squares.folder, 64, 16, 60, "top1", 1.0),
    "attributes": Short("attributes_scenes", squares.table, 64, 10, 60, "accuracy", 0.9, (WHOLE,), 0.03),
    "embedding": Short("embedding_folder", squares.folder, 64, 8, 60, "roc_auc", 0.9, (IDENTITIES,)),
    "segmentation": Short("lraspp_scenes", squares.masks, 128, 8, 120, "miou", 0.9, ("data.classes=null",)),
    "detection": Short("ssdlite_boxes", squares.boxes, 128, 8, 120, "AP50", 0.9, (SEEN,)),
}


def score_of(short: Short, folder, seed: int) -> float:
    workflow.train_run(short.config, short.arguments(folder / "data", seed), folder / "run")
    return workflow.evaluate_model(folder / "run", split="test")[short.metric]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("task", RUNS)
def test_two_colors_are_told_apart(task, seed, tmp_path):
    with shortened():
        assert score_of(RUNS[task], tmp_path, seed) >= RUNS[task].floor


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_red_and_blue_by_the_whole_network(seed, tmp_path):
    """27 normalizations in a row: here statistics that lag make all answers one."""
    assert score_of(RUNS["classification"], tmp_path, seed) == 1.0
