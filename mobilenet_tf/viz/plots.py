"""Plots of a run: curves, confusion matrix, bars, precision and recall, histograms."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.viz.base import COLORS, DPI, FAINT, GREEN, INK, MUTED, PAPER, SKY, VERMILION, save_figure, shorten

MAX_CLASSES_WITH_COUNTS = 20  # a confusion matrix of more classes prints no counts
MIN_CLASSES_WITH_PAIRS = 31  # from this number of classes on the most confused pairs are listed


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), dpi=DPI, facecolor=PAPER, layout="constrained")


def _axes_style(axes, grid: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=MUTED, labelcolor=INK, labelsize=9)
    axes.set_axisbelow(True)
    axes.grid(axis=grid, color=FAINT, linewidth=0.8)


def _title(axes, text: str, pad: float = 6) -> None:
    axes.set_title(text, loc="left", fontsize=11, color=INK, fontweight="bold", pad=pad)


def _number(cell: str | None) -> float:
    try:
        return float(cell or "")
    except ValueError:  # an empty cell, or the "NA" of an epoch without validation
        return math.nan


def _read_log(path: Path) -> tuple[np.ndarray, list[str], dict[str, np.ndarray]]:
    """Epochs, the stage of each, and the other columns that hold at least one finite number."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        raise UserError(f"a training log must be a CSV file that exists. Received: {path}") from None
    if not rows:
        raise UserError(f"{path} must hold at least one finished epoch. Received: no rows")
    if "epoch" not in rows[0]:
        raise UserError(f"{path} must have a column 'epoch'. Received: {', '.join(map(str, rows[0]))}")
    epochs = np.array([_number(row["epoch"]) for row in rows])
    if not np.all(np.diff(epochs) > 0):  # counted anew in every stage
        epochs = np.arange(1, len(rows) + 1)
    stages = [row.get("stage") or "" for row in rows]
    names = [name for name in rows[0] if name not in (None, "epoch", "stage")]
    columns = {name: np.array([_number(row[name]) for row in rows]) for name in names}
    return epochs, stages, {name: column for name, column in columns.items() if np.isfinite(column).any()}


MAX_LINES = 12  # of a panel; what there is more of is in log.csv
NOT_DRAWN = ("count", "seconds", "prior", "majority", "threshold", "accuracy_deviation", "pairs", "attributes")
ERRORS = ("ece", "eer")  # within 0..1, the lower the better
STYLES = ("-", (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)))  # of the first six lines, of the next six, …


def _is_share(name: str, column: np.ndarray) -> bool:
    finite = column[np.isfinite(column)]
    return _kind(name) not in NOT_DRAWN and not name.endswith("loss") and finite.min() >= 0 and finite.max() <= 1


# title -> does this column belong to the panel? Each panel has one unit, and one direction that is better.
PANELS: dict[str, Callable[[str, np.ndarray], bool]] = {
    "Loss": lambda name, column: name.endswith("loss"),
    "Scores": lambda name, column: _is_share(name, column) and _kind(name) not in (*ERRORS, "learning_rate"),
    "Errors": lambda name, column: _is_share(name, column) and _kind(name) in ERRORS,
    "Learning rate": lambda name, column: name == "learning_rate",
}


def curves(log_csv: str | Path, path: str | Path, monitor: tuple[str, str] | None = None) -> Path:
    """Training curves from a log with the columns epoch, loss, learning_rate, val_… and perhaps stage.

    monitor: (name, "max" or "min") of the metric that picks the best epoch: it has the first panel, in which that epoch
    is marked. One panel each follows for losses, scores (every other column within 0..1), errors and the learning rate;
    solid lines are validation, dashed ones training. Stages are divided by a line and named. Raises UserError for a log
    without rows.
    """
    epochs, stages, columns = _read_log(Path(log_csv))
    front = f"val_{monitor[0]}" if monitor else ""
    panels = {monitor[0]: {front: columns.pop(front)}} if monitor and front in columns else {}
    for title, belongs in PANELS.items():
        lines = {name: column for name, column in columns.items() if belongs(name, column)}
        panels |= {title: lines} if lines else {}
    if not panels:
        raise UserError(f"{log_csv} must have a loss, a score or a learning rate. Received: {', '.join(columns)}")
    across = 2 if len(panels) == 4 else min(3, len(panels))
    down = math.ceil(len(panels) / across)
    figure = _figure(5.2 * across, 4.2 * down)
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for axes, (title, lines) in zip(grid, panels.items(), strict=False):
        _axes_style(axes, grid="y")
        _title(axes, title, pad=18 if len(set(stages)) > 1 else 6)  # above the names of the stages
        _lines(axes, epochs, lines)
        _stage_marks(axes, epochs, stages)
        if monitor and front in lines:
            _mark_best(axes, epochs, lines[front], monitor[1])
    for axes in grid[len(panels) :]:
        axes.remove()
    return save_figure(figure, path)


def _mark_best(axes, epochs: np.ndarray, column: np.ndarray, mode: str) -> None:
    """A ring around the best epoch's value, which is written beside it."""
    best = int(np.nanargmax(column) if mode == "max" else np.nanargmin(column))
    axes.plot(epochs[best], column[best], "o", markersize=11, color=VERMILION, fillstyle="none", markeredgewidth=2)
    axes.lines[-1].set_label("_best")
    text = f"best: {column[best]:.4g}, epoch {epochs[best]:g}"
    axes.set_title(text, loc="right", fontsize=9.5, color=VERMILION, pad=18 if len(axes.texts) else 6)


def _lines(axes, epochs: np.ndarray, lines: Mapping[str, np.ndarray]) -> None:
    shown = dict(list(lines.items())[:MAX_LINES])
    kinds = list(dict.fromkeys(_kind(name) for name in shown))
    for name, column in shown.items():
        known = np.isfinite(column)
        trained = name != "learning_rate" and not name.startswith("val_")
        index = kinds.index(_kind(name))
        axes.plot(
            epochs[known],
            column[known],
            color=COLORS[index % len(COLORS)],
            linestyle=(0, (4, 2)) if trained else STYLES[index // len(COLORS) % len(STYLES)],
            linewidth=1.4 if trained else 2,
            marker="os^"[index // len(COLORS) % 3] if len(epochs) <= 30 else None,
            markersize=3.5,
            label=f"{name.lstrip('_')}  {column[known][-1]:.4g}",
        )
    values = np.concatenate([column[np.isfinite(column)] for column in shown.values()])
    if "learning_rate" in lines and values.min() > 0 and values.max() / values.min() > 20:
        axes.set_yscale("log")
        _plain_ticks(axes.yaxis)
    more = f", {len(lines) - MAX_LINES} more lines in log.csv" if len(lines) > MAX_LINES else ""
    axes.set_xlabel(f"epoch{more}", color=INK, fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
    axes.margins(y=0.08)
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.14), fontsize=8.5, frameon=False, ncols=2, handlelength=2.8)


def _kind(name: str) -> str:
    """What a column measures, so that training and validation share a color: val_log_loss and loss are one."""
    return name.removeprefix("val_").removeprefix("log_")


def _stage_marks(axes, epochs: np.ndarray, stages: Sequence[str]) -> None:
    starts = [0] + [i for i, (before, after) in enumerate(pairwise(stages), 1) if before != after]
    if len(starts) == 1:
        return
    top = axes.get_xaxis_transform()  # x in epochs, y as a fraction of the panel
    for start, end in pairwise([*starts, len(stages)]):
        if start:
            axes.axvline((epochs[start - 1] + epochs[start]) / 2, color=MUTED, linewidth=1, linestyle=":")
        middle = (epochs[start] + epochs[end - 1]) / 2
        name = f"stage {stages[start]}" if stages[start].isdecimal() else shorten(stages[start], 14)
        axes.text(middle, 1.02, name, transform=top, fontsize=8, color=MUTED, ha="center")


def confused_pairs(matrix: np.ndarray, limit: int = 25) -> list[tuple[int, int, int]]:
    """The most frequent mistakes of a confusion matrix [C, C] (rows = truth): (truth, predicted, count)."""
    wrong = np.array(matrix)
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
    pairs = [(int(i), int(j), int(wrong[i, j])) for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True)]
    return [pair for pair in pairs if pair[2] > 0]


def confusion(matrix: np.ndarray, classes: Sequence[str], path: str | Path, unit: str = "samples") -> Path:
    """Confusion matrix [C, C] of counts (rows = truth) of a `unit`, colored by the share of each row.

    Counts are printed up to 20 classes; from 31 on the most confused pairs are listed beside it and labels are thinned.
    A class without samples has a gray row.
    """
    matrix = np.asarray(matrix)
    count = len(classes)
    if matrix.shape != (count, count):
        raise ValueError(f"matrix must be [{count}, {count}] for {count} classes. Received: {list(matrix.shape)}")
    support = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, support, out=np.full(matrix.shape, np.nan), where=support > 0)
    listed = count >= MIN_CLASSES_WITH_PAIRS
    names = [shorten(name, 26) for name in classes]
    fontsize = 9 if not listed else 6.5
    cells = min(9.0, max(2.4, 0.44 * count))  # inches
    side = cells + 1.0 + max(map(len, names)) * fontsize * 0.6 / 72
    figure = _figure(side + 0.6 + 4.6 * listed, side)
    grid = figure.subplots(1, 2, width_ratios=(side, 4.6), squeeze=False)[0] if listed else [figure.add_subplot()]
    _matrix(figure, grid[0], matrix, shares, names, fontsize, cells, unit)
    if listed:
        _pair_list(grid[1], matrix, classes, limit=int(cells * 72 / 27))
    return save_figure(figure, path)


def _matrix(figure, axes, counts, shares, names: Sequence[str], fontsize: float, inches: float, unit: str) -> None:
    # The square root keeps a mistake of a few per cent visible beside the diagonal.
    norm = PowerNorm(0.5, vmin=0, vmax=1)
    image = axes.imshow(shares, cmap="Blues", norm=norm, interpolation="nearest")
    axes.set_facecolor(FAINT)
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02, ticks=[0, 0.01, 0.05, 0.1, 0.25, 0.5, 1])
    bar.ax.set_yticklabels(["0", "1 %", "5 %", "10 %", "25 %", "50 %", "100 %"], fontsize=8, color=INK)
    bar.outline.set_visible(False)
    step = max(1, math.ceil(len(names) * fontsize * 1.25 / (inches * 72)))  # labels that fit without touching
    positions = np.arange(0, len(names), step)
    labels = [names[int(i)] for i in positions]
    flat = max(map(len, labels)) * fontsize * 0.7 < inches * 72 / len(names)
    axes.set_xticks(positions, labels, rotation=0 if flat else 90, fontsize=fontsize, color=INK)
    axes.set_yticks(positions, labels, fontsize=fontsize, color=INK)
    axes.tick_params(length=2, color=MUTED)
    axes.set_xlabel("predicted", color=INK, fontsize=10, labelpad=6)
    axes.set_ylabel("truth", color=INK, fontsize=10, labelpad=6)
    axes.spines[:].set_color(MUTED)
    title = f"Confusion of {counts.sum():,} {unit}"
    _title(axes, title + (", colored by the share of the row" if len(names) > 6 else ""))
    if len(names) > MAX_CLASSES_WITH_COUNTS:
        return
    for (i, j), number in np.ndenumerate(counts):
        if number:
            color = PAPER if shares[i, j] > 0.4 else INK
            axes.text(j, i, f"{number:,}", ha="center", va="center", fontsize=8, color=color)


def _pair_list(axes, matrix: np.ndarray, classes: Sequence[str], limit: int) -> None:
    axes.set_axis_off()
    _title(axes, "Most confused: truth → predicted")
    support = matrix.sum(axis=1)
    pairs = confused_pairs(matrix, limit)
    for row, (truth, predicted, number) in enumerate(pairs):
        y = 1 - (row + 0.35) / limit
        style = {"fontsize": 8, "va": "center", "color": INK}
        axes.text(0, y, f"{number:,} of {support[truth]:,}", **style | {"color": MUTED})
        axes.text(0.22, y, shorten(classes[truth], 32), **style)
        axes.text(0.22, y - 0.45 / limit, "→", **style)
        axes.text(0.27, y - 0.45 / limit, shorten(classes[predicted], 32), **style)
    if not pairs:
        axes.text(0, 0.97, "no mistakes", fontsize=9, color=MUTED, va="top")


def bars(
    values: Sequence[float | None],
    labels: Sequence[str],
    path: str | Path,
    title: str = "",
    notes: Sequence[str] | None = None,
    marks: Mapping[str, Sequence[float | None]] | None = None,
    limit: int = 160,
) -> Path:
    """One horizontal bar a label, lowest first, in columns of up to 40; at most `limit` labels, the lowest.

    `notes` stand behind the names; `marks` are further values a label, drawn as points. A value of None or NaN has
    no bar and comes last. The dotted line is the mean of all values.
    """
    heights = _floats(values)
    if not len(values) or len(values) != len(labels):
        raise ValueError(f"bars needs one value a label. Received: {len(values)} values, {len(labels)} labels")
    order = np.argsort(np.where(np.isnan(heights), np.inf, heights), kind="stable")[:limit]
    points = {name: _floats(column) for name, column in (marks or {}).items()}
    columns = math.ceil(len(order) / 40)
    rows = math.ceil(len(order) / columns)
    figure = _figure(max(7.5, 5.0 * columns), 1.4 + 0.23 * rows)
    shown = f"{title}: the lowest {limit} of {len(values)}" if len(values) > limit else title
    figure.suptitle(shown, x=0.01, ha="left", fontsize=12, color=INK, fontweight="bold")
    highest = np.nanmax([1.0, *heights, *(v for column in points.values() for v in column)])
    for number, axes in enumerate(figure.subplots(1, columns, squeeze=False)[0]):
        part = [int(i) for i in order[number * rows : (number + 1) * rows]]
        names = [f"{shorten(labels[i], 30)}  {notes[i] if notes else ''}   {_as_text(heights[i])}" for i in part]
        _bar_column(axes, heights[part], names, {name: point[part] for name, point in points.items()}, rows)
        axes.set_xlim(0, highest * 1.03)
        if np.isfinite(heights).any():
            axes.axvline(np.nanmean(heights), color=MUTED, linewidth=1, linestyle=":")
    if points:
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=4, frameon=False, fontsize=9)
    return save_figure(figure, path)


def _floats(values: Sequence[float | None]) -> np.ndarray:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def _as_text(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{value:.2f}"


def _bar_column(axes, values: np.ndarray, names: list[str], points: Mapping[str, np.ndarray], rows: int) -> None:
    _axes_style(axes, grid="x")
    positions = np.arange(len(values))
    axes.barh(positions, values, height=0.72, color=SKY)
    for (name, column), color, shape in zip(points.items(), (VERMILION, INK, GREEN), "|x+", strict=False):
        axes.scatter(column, positions, color=color, marker=shape, s=38, linewidths=1.7, label=name, zorder=3)
    axes.set_yticks(positions, names, fontsize=8, color=INK)
    axes.set_ylim(rows - 0.4, -0.6)  # first row on top; columns keep the same scale


def precision_recall(lines: Mapping[str, Sequence[float]], path: str | Path, title: str = "") -> Path:
    """Precision over recall, which runs evenly from 0 to 1; one line a name, the first in ink, NaN left out."""
    figure = _figure(6.4, 4.8)
    axes = figure.add_subplot()
    _axes_style(axes, grid="both")
    _title(axes, title)
    for index, (name, values) in enumerate(lines.items()):
        values = _floats(values)
        color = INK if index == 0 else COLORS[(index - 1) % len(COLORS)]
        style = ("-", (0, (4, 2)), (0, (1, 1.5)))[max(0, index - 1) // len(COLORS) % 3]
        axes.plot(
            np.linspace(0, 1, len(values)),
            values,
            color=color,
            linestyle=style,
            linewidth=2.4 if index == 0 else 1.5,
            label=f"{shorten(name, 24).lstrip('_')}  {_as_text(float(np.mean(values)))}",
        )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("recall", color=INK, fontsize=9)
    axes.set_ylabel("precision", color=INK, fontsize=9)
    figure.legend(loc="outside right upper", fontsize=8.5, frameon=False)
    return save_figure(figure, path)


def histograms(panels: Mapping[str, tuple[Sequence[float], Sequence[int]]], path: str | Path, title: str = "") -> Path:
    """One panel of vertical bars for each title: (edges of the bins [n + 1], counts [n])."""
    figure = _figure(4.6 * len(panels), 3.6)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, color=INK, fontweight="bold")
    for axes, (name, (edges, counts)) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        _axes_style(axes, grid="y")
        _title(axes, name)
        positions = np.arange(len(counts))
        axes.bar(positions + 0.5, counts, width=0.86, color=SKY)
        axes.set_xticks(np.arange(len(edges)), [f"{edge:.3g}" for edge in edges], rotation=45, fontsize=8, color=INK)
    return save_figure(figure, path)


def sensitivity(
    errors: Sequence[tuple[str, float]],
    trials: Sequence[tuple[int, float]],
    reference: float,
    metric: str,
    path: str | Path,
) -> Path:
    """(layer, its error in steps of int8) as bars; (layers in float32, metric) as a line, the model's dotted above."""
    figure = _figure(11.5, max(4.2, 1.2 + 0.21 * len(errors)))
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    names = [f"{shorten(name, 44)}  {value:.2f}" for name, value in errors]
    _bar_column(left, _floats([value for _, value in errors]), names, {}, len(errors))
    _title(left, "Error of each layer alone, in steps of int8")
    left.axvline(12**-0.5, color=MUTED, linewidth=1, linestyle=":")
    left.set_xlabel("root mean square (dotted: rounding alone)", color=INK, fontsize=9)
    _axes_style(right, grid="y")
    _title(right, f"{metric} with the worst layers in float32")
    counts, values = zip(*trials, strict=True)
    right.plot(counts, values, color=COLORS[0], linewidth=2, marker="o")
    right.axhline(reference, color=INK, linewidth=1.2, linestyle=":")
    right.annotate("the model", (counts[-1], reference), (0, 4), textcoords="offset points", ha="right", fontsize=9)
    right.set_xticks(counts)
    right.set_xlabel("layers in float32", color=INK, fontsize=9)
    return save_figure(figure, path)


def roc(far: Sequence[float], tar: Sequence[float], path: str | Path, title: str = "") -> Path:
    """True over false accept rate, the latter on a logarithmic axis; points in the order of falling thresholds."""
    false_accepts, true_accepts = _floats(far), _floats(tar)
    lowest = false_accepts[false_accepts > 0].min(initial=1.0) / 2  # where 0 is drawn
    figure = _figure(6.0, 4.8)
    axes = figure.add_subplot()
    _axes_style(axes, grid="both")
    _title(axes, title)
    axes.step(np.maximum(false_accepts, lowest), true_accepts, where="post", color=COLORS[0], linewidth=2)
    chance = np.geomspace(lowest, 1, 100)
    axes.plot(chance, chance, color=MUTED, linewidth=1, linestyle=":")
    axes.set_xscale("log")
    _plain_ticks(axes.xaxis)
    axes.set_xlim(lowest, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("false accept rate (dotted: chance)", color=INK, fontsize=9)
    axes.set_ylabel("true accept rate", color=INK, fontsize=9)
    return save_figure(figure, path)


def distributions(
    groups: Mapping[str, Sequence[float]],
    path: str | Path,
    title: str = "",
    mark: tuple[str, float] | None = None,
    bins: int = 60,
) -> Path:
    """Histograms of several groups of values over one another, each as shares of its group; `mark` is a dotted line."""
    figure = _figure(6.4, 4.0)
    axes = figure.add_subplot()
    _axes_style(axes, grid="y")
    _title(axes, title)
    least, most = np.quantile(np.concatenate([_floats(values) for values in groups.values()]), [0, 1])
    edges = np.linspace(least, most, bins + 1)
    for (name, values), color in zip(groups.items(), COLORS, strict=False):
        shares = np.histogram(values, edges)[0] / max(1, len(values))
        axes.stairs(shares, edges, fill=True, color=color, alpha=0.35)
        axes.stairs(shares, edges, color=color, linewidth=1.5, label=f"{name} ({len(values):,})")
    if mark:
        axes.axvline(mark[1], color=INK, linewidth=1.2, linestyle=":", label=f"{mark[0]} {mark[1]:.3f}")
    axes.legend(fontsize=8.5, frameon=False)
    return save_figure(figure, path)


def costs(
    points: Sequence[tuple[float, float, str]],
    grid: Mapping[str, Sequence[tuple[int, float]]],
    path: str | Path,
    title: str = "",
) -> Path:
    """Accuracy over multiply-adds, where there are points, and multiply-adds over the resolution.

    points: (millions of multiply-adds, accuracy in percent, text at the point). grid: by width, (resolution in pixels,
    millions of multiply-adds).
    """
    figure = _figure(12.5 if points else 6, 5.2)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, color=INK, fontweight="bold")
    *left, right = figure.subplots(1, 1 + bool(points), squeeze=False)[0]
    for axes in left:
        _accuracies(axes, sorted(points))
    for (name, rows), color in zip(sorted(grid.items(), key=lambda item: -float(item[0])), COLORS * 3, strict=False):
        sizes, millions = zip(*sorted(rows), strict=True)
        right.plot(sizes, millions, color=color, marker="o", markersize=4, linewidth=1.8, label=name)
        for x, y in rows:
            text = f"{y:.0f}" if y >= 10 else f"{y:.1f}"
            right.annotate(text, (x, y), (0, 5), textcoords="offset points", ha="center", fontsize=7.5, color=MUTED)
    _axes_style(right, grid="both")
    _title(right, "Multiply-adds by width")
    right.set_ylabel("millions of multiply-adds", color=INK, fontsize=9)
    right.set_xlabel("resolution, pixels", color=INK, fontsize=9)
    right.set_xticks(sorted({size for rows in grid.values() for size, _ in rows}))
    right.set_yscale("log")
    right.margins(y=0.1)
    _plain_ticks(right.yaxis)
    right.legend(
        fontsize=8.5, frameon=False, loc="upper left", bbox_to_anchor=(1, 1), title="width", title_fontsize=8.5
    )
    return save_figure(figure, path)


def _accuracies(axes, points: Sequence[tuple[float, float, str]]) -> None:
    millions, accuracies, texts = zip(*points, strict=True)
    best = _frontier(points)
    axes.plot(*zip(*best, strict=True), color=COLORS[0], linewidth=2, zorder=2, label="the best for its cost")
    axes.plot(millions, accuracies, "o", color=MUTED, markersize=4, zorder=2)
    axes.plot(*zip(*best, strict=True), "o", color=COLORS[0], markersize=6, zorder=3)
    of_best = [(x, y, text) for x, y, text in zip(millions, accuracies, texts, strict=True) if (x, y) in best]
    for index, (x, y, text) in enumerate(of_best):  # in turns above and below, where neighbors are near
        place, side = ((-6, 4), "right") if index % 2 else ((6, -9), "left")
        axes.annotate(text, (x, y), place, textcoords="offset points", fontsize=7.5, color=MUTED, ha=side)
    _axes_style(axes, grid="both")
    _title(axes, "Accuracy of the published weights")
    axes.set_xscale("log")
    axes.set_xlabel("millions of multiply-adds", color=INK, fontsize=9)
    axes.set_ylabel("top-1 on ImageNet, %", color=INK, fontsize=9)
    axes.margins(x=0.16, y=0.08)
    _plain_ticks(axes.xaxis)
    axes.legend(fontsize=8.5, frameon=False, loc="lower right")


def _plain_ticks(axis) -> None:
    """Numbers as digits on a logarithmic axis: matplotlib's own powers of ten are mathtext, which is not parsed."""
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter("")


def _frontier(rows: Sequence[tuple[float, float, str]]) -> list[tuple[float, float]]:
    """The points (x, y) of rows by rising x that have a higher y than all before them."""
    best: list[tuple[float, float]] = []
    for x, y, _ in rows:
        if not best or y > best[-1][1]:
            best.append((x, y))
    return best
