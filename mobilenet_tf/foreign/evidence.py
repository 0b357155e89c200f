"""What a network answers under each range that it may take, for whoever has to say which one it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mobilenet_tf.config import Config
from mobilenet_tf.data import preprocess
from mobilenet_tf.data.unlabeled import read_some
from mobilenet_tf.foreign.declaration import CANDIDATES, Declaration
from mobilenet_tf.foreign.facts import Description, MissingRangeError
from mobilenet_tf.inference.endings import SHARED, softmax
from mobilenet_tf.utils.errors import UserError, short

MOST_PICTURES = 32
DRAWN = 16  # scenes that are drawn where there are no pictures
SATURATED = 0.99  # probability from which an answer counts as saturated

Answer = Callable[[np.ndarray], Any]  # images in 0..255 [N, H, W, 3] -> outputs [N, ..., C]


def ask(
    describe: Callable[[Declaration], Description],
    network: Callable[[Description], Answer],
    declaration: Declaration,
) -> Description:
    """The description of a model by what is said of it; arguments as for `evidence`.

    Raises UserError where something is missing; where it is the range, with what the network answers under each.
    """
    try:
        return describe(declaration)
    except MissingRangeError as error:
        answers = evidence(describe, network, declaration)
        raise UserError(str(error).replace("Received: none", f"{answers}. Received: none")) from None


def evidence(
    describe: Callable[[Declaration], Description],
    network: Callable[[Description], Answer],
    declaration: Declaration,
) -> str:
    """The most frequent answer, its mean probability and the share of saturated answers under each range, as text.

    Args:
        describe: the description of the model by a declaration.
        network: the model by a description.
    """
    cfg = describe(replace(declaration, input_range=CANDIDATES[0])).cfg
    images = _pictures(cfg)
    where = f"{len(images)} images" if images else f"{DRAWN} drawn scenes"
    images = images or _drawn()
    lines = []
    for text in CANDIDATES:
        description = describe(replace(declaration, input_range=text))
        if description.cfg.task in ("embedding", "detection"):
            return "its outputs show nothing of it"
        fraction = getattr(description.cfg.data, "crop_fraction", None)
        inputs = [preprocess.resize(image, description.cfg.model.input_size, fraction) for image in images]
        probabilities = _probabilities(network(description)(np.stack(inputs)), description.metadata.outputs)
        lines.append(f"{text}: {_summary(probabilities, description.classes)}")
    return f"on {where} it answers under {'; '.join(lines)}"


def _pictures(cfg: Config) -> list[np.ndarray]:
    """Some of the images that the model is to be calibrated or scored on; none where no folder is given."""
    folder = cfg.export.calibration or cfg.data.root
    if folder is None or not folder.is_dir():
        return []
    return list(read_some(folder, MOST_PICTURES, cfg.data.rendering, "the folder"))


def _drawn() -> list[np.ndarray]:
    from mobilenet_tf.data import scenes  # which imports TensorFlow

    return [scenes.render(0, index)["image"] for index in range(DRAWN)]


def _probabilities(outputs: np.ndarray, ends_in: str) -> np.ndarray:
    outputs = np.asarray(outputs, np.float64).reshape(-1, outputs.shape[-1])
    return outputs if SHARED[ends_in].probabilities else softmax(outputs)


def _summary(probabilities: np.ndarray, classes: Sequence[str]) -> str:
    best, confidence = probabilities.argmax(-1), probabilities.max(-1)
    label, count = Counter(best.tolist()).most_common(1)[0]
    return (
        f"{short(classes[label], 30)} most often ({count / len(best):.0%}), probability {confidence.mean():.2f} on "
        f"average, {(confidence > SATURATED).mean():.0%} saturated"
    )
