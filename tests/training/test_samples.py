"""The sheet of training images: what a sample says of its image, for every task."""

import numpy as np
import pytest
from PIL import Image

from mobilenet_tf import config, workflow
from mobilenet_tf.training import samples

COUNTS = ["data.counts={train: 80, validation: 8, test: 8}"]


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("demo", "beagle"),
        ("attributes_scenes", "collar"),
        ("ssdlite_scenes", "1 "),
        ("lraspp_scenes", "background "),
        ("embedding_scenes", "poodle"),
    ],
)
def test_the_sheet_has_changed_images_with_their_annotations(name, word, tmp_path, monkeypatch):
    captions, images = [], []
    save = samples.viz.sheet

    def sheet(shown, words, *rest, **options):
        images.extend(shown)
        captions.extend(words)
        return save(shown, words, *rest, **options)

    monkeypatch.setattr(samples.viz, "sheet", sheet)
    cfg = config.load(name, COUNTS)
    task = workflow.find_task(cfg.task)(cfg)
    path = samples.write_sheet(task, task.source("train"), tmp_path / "plots" / samples.SHEET)
    assert Image.open(path).width > 1200 and len(images) == samples.IMAGES
    assert any(word in caption for caption in captions), captions
    assert all(image.dtype == np.uint8 and image.ndim == 3 for image in images)
    assert len({image.tobytes() for image in images}) == samples.IMAGES


def test_a_sheet_that_cannot_be_written_is_a_warning(tmp_path):
    cfg = config.load("demo", COUNTS)
    task = workflow.find_task(cfg.task)(cfg)
    (tmp_path / "plots").write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="no sheet of training images: "):
        assert samples.write_sheet(task, task.source("train"), tmp_path / "plots" / samples.SHEET) is None
