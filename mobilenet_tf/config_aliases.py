"""Short names for the config keys that everybody reaches for, such as epochs=3 and lr=0.01. No TensorFlow here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from mobilenet_tf.utils.errors import UserError

KEYS = {
    "batch": "train.batch_size",
    "batch_size": "train.batch_size",
    "train.batch": "train.batch_size",
    "imgsz": "model.input_size",
    "size": "model.input_size",
    "input_size": "model.input_size",
    "model.size": "model.input_size",
    "backbone": "model.backbone",
    "root": "data.root",
}
OF_STAGES = {  # what stands for a value of every stage: the key -> which of the values
    "epochs": "epochs",
    "train.epochs": "epochs",
    "lr": "learning_rate",
    "train.lr": "learning_rate",
    "learning_rate": "learning_rate",
    "train.learning_rate": "learning_rate",
}
NAMES = frozenset(KEYS) | frozenset(OF_STAGES)
SCHEDULE_LENGTHS = ("warmup", "every", "at")  # the keys of schedules that are lengths of training


def set_all_stages(values: dict, key: str, value: Any, parse: Callable) -> None:
    """Changes every stage of a config's plain values in place, so that one number holds for the whole training.

    Args:
        values: the config.
        key: a key of `OF_STAGES`; epochs: the length of all stages together, which keep their proportions, and what
            the schedule counts in epochs with them; learning_rate: the highest one, the others in proportion.
        value: a number above 0.
        parse: what reads a duration, `config.Duration.parse`.

    Raises:
        UserError: the value is no such number, or the stages are counted in steps or samples.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise UserError(f"{key} must be a number above 0. Received: {value}")
    train = values.get("train")
    stages = train.get("stages") if isinstance(train, dict) else None
    if not isinstance(stages, list) or not stages or not all(isinstance(stage, dict) for stage in stages):
        raise UserError(f"{key} needs train.stages to be a list of stages. Received: {key}={value}")
    if OF_STAGES[key] == "learning_rate":
        rates = [stage.get("learning_rate") for stage in stages]
        highest = max((rate for rate in rates if isinstance(rate, int | float)), default=0)
        for stage, rate in zip(stages, rates, strict=True):
            stage["learning_rate"] = float(f"{rate / highest * value:.6g}") if highest and rate else value
        return
    lengths = [_epochs(stage.get("duration", 10), parse) for stage in stages]
    if None in lengths or not (total := sum(filter(None, lengths))):
        raise UserError(
            f"{key} needs stages whose lengths are in epochs; set train.stages.0.duration and the others instead. "
            f"Received: {', '.join(str(stage.get('duration', 10)) for stage in stages)}"
        )
    for stage, length in zip(stages, shares([length or 0 for length in lengths], value), strict=True):
        stage["duration"] = f"{length:g} epochs"
    assert isinstance(train, dict)
    _shorten(train.get("schedule"), value / total, parse)


def shares(lengths: list[float], total: float) -> list[float]:
    """Lengths in the same proportions that are `total` together; whole ones of at least 1 where that can be."""
    scaled = [length * total / sum(lengths) for length in lengths]
    trained = [index for index, length in enumerate(scaled) if length]
    if total != int(total) or total < len(trained):
        return scaled
    whole = [max(1, int(length)) if length else 0 for length in scaled]
    while sum(whole) != total:  # at most a step for each stage
        step = 1 if sum(whole) < total else -1
        among = trained if step > 0 else [index for index in trained if whole[index] > 1]
        whole[max(among, key=lambda index: step * (scaled[index] - whole[index]))] += step
    return [float(length) for length in whole]


def notes(values: dict, overrides: list[str]) -> Iterator[str]:
    """Lines that say what overrides of all stages have made of the stages of a config's resolved values."""
    given = {OF_STAGES.get(item.partition("=")[0]): item for item in overrides}
    stages = values["train"]["stages"]
    if item := given.get("epochs"):
        yield f"{item}: " + " + ".join(str(stage["duration"]) for stage in stages)
    if item := given.get("learning_rate"):
        yield f"{item}: " + ", then ".join(f"{stage['learning_rate']:g}" for stage in stages)


def _epochs(duration: Any, parse: Callable) -> float | None:
    """A duration in epochs; None where it is counted otherwise, or none at all."""
    try:
        parsed = parse(duration)
    except ValueError:
        return None
    return parsed.amount if parsed.unit == "epochs" else None


def _shorten(schedule: Any, factor: float, parse: Callable) -> None:
    for key in SCHEDULE_LENGTHS if isinstance(schedule, dict) else ():
        if key not in schedule:
            continue
        given = schedule[key]
        scaled = [
            each if (epochs := _epochs(each, parse)) is None else f"{epochs * factor:g} epochs"
            for each in (given if isinstance(given, list) else [given])
        ]
        schedule[key] = scaled if isinstance(given, list) else scaled[0]
