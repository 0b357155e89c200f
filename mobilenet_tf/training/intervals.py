"""How sure a score is: 95 % intervals of metrics, and how many samples would make one small enough.

Two methods, by what a number is:

- A share of the samples, such as top-1 accuracy, gets Wilson's interval, which is right near 0 and 1 too.
- Everything else, such as AP, mean IoU or ROC AUC, gets a jackknife over groups of samples: the score is computed again
  without each tenth of them. A bootstrap would count some images twice, which these scores must not: two copies of an
  image are a pair of equal embeddings, and a second copy of a detection is a false positive.

Sources: Wilson 1927, "Probable inference"; Shao and Tu 1995, "The Jackknife and Bootstrap", section 2.3.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mobilenet_tf.task import Metric, Prediction
from mobilenet_tf.utils.errors import UserError

Z = 1.959964  # of a normal distribution: 95 % lie within
GROUPS = 10
T = 2.262157  # of Student's distribution with GROUPS - 1 degrees of freedom: 95 % lie within
T_ONE_SIDED = 1.833113  # of the same: 95 % lie below
UNSEEN = 3.0  # what happens in UNSEEN / n of the samples, or fewer, is likely not to be among n: the rule of three


@dataclass(frozen=True)
class Interval:
    """Where the score of endless samples lies, with 95 % confidence."""

    low: float
    high: float
    method: str  # "Wilson" or "jackknife"


@dataclass(frozen=True)
class Scores:
    """The numbers of a metric over samples, their intervals, and the numbers without each group of the samples."""

    numbers: dict[str, Any]
    intervals: dict[str, Interval] = field(default_factory=dict)
    partial: Sequence[Mapping[str, Any]] = ()  # empty where the samples are too few for groups


class Grouped:
    """A metric that also counts its samples in groups, for the jackknife."""

    def __init__(self, make: Callable[[], Any]):
        self.make, self.whole = make, make()
        self.groups = [make() for _ in range(GROUPS)]
        self.count = 0

    def update(self, sample: Mapping[str, np.ndarray], prediction: Prediction) -> None:
        """Adds one sample to the metric and to one of the groups in turn."""
        self.whole.update(sample, prediction)
        self.groups[self.count % GROUPS].update(sample, prediction)
        self.count += 1

    def result(self) -> dict[str, float]:
        """Returns the numbers over all samples."""
        return self.whole.result()

    def scores(self, numbers: dict[str, Any]) -> Scores:
        """Returns the numbers with their intervals."""
        partial = self._partial()
        return Scores(numbers, intervals(self.whole, numbers, partial), partial)

    def _partial(self) -> list[dict[str, Any]]:
        """The numbers without each group; none where too few samples are left to compute them."""
        if self.count < 2 * GROUPS:
            return []
        results = []
        for left_out in self.groups:
            metric = self.make()
            for group in self.groups:
                if group is not left_out:
                    metric.merge(group)
            try:
                with warnings.catch_warnings():  # the whole metric has said them
                    warnings.simplefilter("ignore")
                    results.append(metric.result())
            except UserError:
                return []
        return results


def intervals(metric: Metric, numbers: Mapping[str, Any], partial: Sequence[Mapping[str, Any]]) -> dict[str, Interval]:
    """Returns the interval of each number that has one; counts and thresholds have none."""
    count, shares = int(numbers.get("count", 0)), getattr(metric, "shares", ())
    found = {}
    for name, value in numbers.items():
        if name in shares and count:
            found[name] = Interval(*wilson(round(value * count), count), "Wilson")
        elif isinstance(value, float) and value >= 0 and name not in getattr(metric, "no_scores", ()):
            error = standard_error([row.get(name) for row in partial])
            if error is not None:
                high = value + T * error
                found[name] = Interval(max(0.0, value - T * error), min(1.0, high) if value <= 1 else high, "jackknife")
    return found


def wilson(successes: float, count: float) -> tuple[float, float]:
    """Returns Wilson's 95 % interval of a share; (0, 1) without samples. A sum of shares counts like successes."""
    if not count:
        return 0.0, 1.0
    share, z2 = successes / count, Z**2
    center = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return max(0.0, center - half), min(1.0, center + half)


def standard_error(values: Sequence[Any]) -> float | None:
    """Returns the jackknife's standard error of a score from its values without each group; None where one is missing.

    Source: Shao and Tu 1995, eq. 2.29 with groups in place of samples.
    """
    if len(values) < 2 or not all(isinstance(value, (int, float)) and math.isfinite(value) for value in values):
        return None
    numbers = np.asarray(values, np.float64)
    return float(np.sqrt((len(numbers) - 1) / len(numbers) * np.sum((numbers - numbers.mean()) ** 2)))


def worst_drop(drop: float, error: float | None, count: int) -> float:
    """Returns how large a measured drop of a score may be, with 95 % confidence, for the number of samples.

    error: its standard error. However small that is, what fewer than 3 in `count` samples show may not be among them.
    """
    return drop + max(T_ONE_SIDED * (error or 0.0), UNSEEN / max(1, count))


def samples_for_drop(drop: float, error: float | None, count: int, limit: float) -> int | None:
    """Returns how many samples would show that a drop stays within the limit; None where no number would."""
    room = limit - drop
    if room <= 0:
        return None
    by_error = count * (T_ONE_SIDED * (error or 0.0) / room) ** 2  # errors shrink with the root of the samples
    return round_up(max(by_error, UNSEEN / room))


def samples_for_share(share: float, least: float) -> int | None:
    """Returns how many samples would show that a share is at least `least`; None where no number would."""
    if share <= least:
        return None
    count = 1
    while wilson(share * count, count)[0] < least:
        count = math.ceil(count * 1.02 + 0.5)
    return round_up(count)


def round_up(count: float) -> int:
    """Returns the next larger number of two figures, as nobody needs 1,037 samples rather than 1,100."""
    step = 10 ** max(0, math.floor(math.log10(max(1.0, count))) - 1)
    return math.ceil(count / step - 1e-9) * step
