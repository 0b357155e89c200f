"""Plots and images: their content, that labels do not touch, that odd names and sizes pass, that files appear whole."""

import csv
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from PIL import Image, ImageColor

from mobilenet_tf import viz
from mobilenet_tf.utils.errors import UserError

ODD_NAMES = [
    "a very long class name that goes on and on until nobody reads it any more",
    "costs $5 or $10",  # mathtext, if it were parsed
    r"$\frac{$",  # an error, if it were parsed
    "Łódź weiß Ωμέγα собака",
    "كلب",
    "犬种",  # in no font that comes with matplotlib
    "two\nlines\tand a tab",
    "_underscore_first",
    "undecodable \udcff bytes",
    "",
    "%s {0} &<>",
]


def names(count: int) -> list[str]:
    return (ODD_NAMES + [f"n{i:08d}-breed_with_a_name_{i}" for i in range(count)])[:count]


@pytest.fixture
def figures(monkeypatch) -> list:
    """Every figure that is saved, to look inside."""
    seen = []
    save = viz.plots.save_figure
    monkeypatch.setattr(viz.plots, "save_figure", lambda figure, path: seen.append(figure) or save(figure, path))
    return seen


@pytest.fixture(autouse=True)
def no_font_warnings():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="no installed font|Glyph .* missing")
        yield


def overlapping(texts: list[Text]) -> list[tuple[str, str]]:
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text()]
    return [(a, b) for i, (a, box) in enumerate(boxes) for b, other in boxes[i + 1 :] if box.overlaps(other)]


def write_log(path: Path, columns: dict[str, list]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def legend(axes) -> dict[str, object]:
    return {line.get_label().split()[0]: line for line in axes.get_lines() if not line.get_label().startswith("_")}


# --- files ---


def test_no_pyplot_and_no_tensorflow(tmp_path):
    code = (
        "import sys; from mobilenet_tf import viz; viz.bars([0.5], ['a'], sys.argv[1]);"
        "print(sorted({'matplotlib.pyplot', 'tensorflow', 'keras'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code, tmp_path / "a.png"], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(("suffix", "kind"), [(".png", "PNG"), (".JPG", "JPEG"), (".jpeg", "JPEG"), (".webp", "WEBP")])
def test_save_image_takes_the_format_from_the_suffix(tmp_path, suffix, kind):
    image = np.full((8, 12, 3), (200, 30, 90), np.uint8)
    with Image.open(viz.save_image(image, tmp_path / f"a{suffix}")) as picture:
        assert (picture.format, picture.size, picture.mode) == (kind, (12, 8), "RGB")
        assert np.abs(np.asarray(picture, int) - image).max() <= 6


def test_save_image_refuses_other_suffixes(tmp_path):
    with pytest.raises(UserError, match=r"must end in \.png, .*Received: .*a\.txt"):
        viz.save_image(np.zeros((4, 4, 3), np.uint8), tmp_path / "a.txt")
    assert not list(tmp_path.iterdir())


# --- text ---


@pytest.mark.parametrize("width", [1, 2, 3, 8, 9, 30])
@pytest.mark.parametrize("text", [*ODD_NAMES, "exactly ten", "abc", "x" * 500])
def test_shorten_fits_and_keeps_both_ends(text, width):
    short = viz.shorten(text, width)
    clean = " ".join(text.encode("utf-8", "replace").decode().split())
    assert len(short) <= width
    if len(clean) <= width:
        assert short == clean
    else:
        head, tail = short.split("…")
        assert clean.startswith(head) and clean.endswith(tail)
        assert len(head) + len(tail) == width - 1 and abs(len(head) - len(tail)) <= 1
    short.encode("utf-8")  # whatever came in, this can be drawn and written


def test_characters_without_a_font_give_one_warning(tmp_path):
    strange = "\U0001f984\U000e0041"  # the second is not printable: no glyph is missed
    if ord(strange[0]) in viz.base.drawable():
        pytest.skip("an emoji font is installed")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        viz.bars([0.1, 0.2, 0.3], [f"{i} {strange}" for i in range(3)], tmp_path / "a.png")
    assert [str(w.message) for w in caught] == [
        f"no installed font can draw {strange[0]!r}; install one, such as Noto Sans CJK"
    ]


# --- curves ---


def run_log(tmp_path, epochs=8, **columns) -> Path:
    steps = np.arange(epochs)
    base = {
        "epoch": list(range(1, epochs + 1)),
        "stage": ["1"] * 3 + ["2"] * (epochs - 3),
        "loss": list(2 * 0.8**steps),
        "learning_rate": list(0.1 * 0.5**steps),
        "val_log_loss": list(2.1 * 0.8**steps),
        "val_top1": list(1 - 0.9**steps),
        "val_count": [2000] * epochs,
        "seconds": [33.0] * epochs,
    }
    return write_log(tmp_path / "log.csv", base | columns)


def test_curves_group_the_columns(tmp_path, figures):
    viz.curves(run_log(tmp_path), tmp_path / "curves.png")
    loss, scores, rate = figures[0].axes
    assert [axes.get_title(loc="left") for axes in (loss, scores, rate)] == ["Loss", "Scores", "Learning rate"]
    assert {name: list(legend(axes)) for name, axes in zip("lsr", (loss, scores, rate), strict=True)} == {
        "l": ["loss", "val_log_loss"],
        "s": ["val_top1"],  # neither the count nor the seconds
        "r": ["learning_rate"],
    }
    assert rate.get_yscale() == "log" and loss.get_yscale() == "linear"
    train, validation = legend(loss).values()
    assert train.get_color() == validation.get_color()
    assert train.is_dashed() and not validation.is_dashed()
    np.testing.assert_allclose(validation.get_ydata(), 2.1 * 0.8 ** np.arange(8))
    np.testing.assert_array_equal(validation.get_xdata(), np.arange(1, 9))


def test_curves_mark_the_stages(tmp_path, figures):
    viz.curves(run_log(tmp_path), tmp_path / "curves.png")
    for axes in figures[0].axes:
        assert [text.get_text() for text in axes.texts] == ["stage 1", "stage 2"]
        boundary = [line for line in axes.get_lines() if line.get_label().startswith("_")]
        assert [list(line.get_xdata()) for line in boundary] == [[3.5, 3.5]]
        assert not overlapping([*axes.texts, axes._left_title])
    viz.curves(run_log(tmp_path, stage=["head"] * 2 + ["all"] * 6), tmp_path / "curves.png")
    assert [text.get_text() for text in figures[1].axes[0].texts] == ["head", "all"]
    viz.curves(run_log(tmp_path, stage=["head"] * 8), tmp_path / "curves.png")
    assert not figures[2].axes[0].texts


def test_curves_skip_epochs_without_validation(tmp_path, figures):
    blanks = ["", "0.5", "NA", "0.6", "nan", "0.7", "", ""]
    viz.curves(run_log(tmp_path, val_top1=blanks, val_top5=[""] * 8), tmp_path / "curves.png")
    lines = legend(figures[0].axes[1])
    assert list(lines) == ["val_top1"]
    np.testing.assert_array_equal(lines["val_top1"].get_xdata(), [2, 4, 6])
    np.testing.assert_array_equal(lines["val_top1"].get_ydata(), [0.5, 0.6, 0.7])


def test_curves_of_a_log_that_counts_epochs_anew_in_every_stage(tmp_path, figures):
    viz.curves(run_log(tmp_path, epoch=[0, 1, 2, 0, 1, 2, 3, 4]), tmp_path / "curves.png")
    np.testing.assert_array_equal(legend(figures[0].axes[0])["loss"].get_xdata(), np.arange(1, 9))


@pytest.mark.parametrize("epochs", [1, 300])
def test_curves_of_any_length(tmp_path, figures, epochs):
    log = write_log(tmp_path / "log.csv", {"epoch": list(range(epochs)), "loss": [1.0] * epochs})
    with Image.open(viz.curves(log, tmp_path / "curves.png")) as picture:
        assert min(picture.size) > 300
    ticks = [text.get_text() for text in figures[0].axes[0].get_xticklabels()]
    assert ticks and all(tick.lstrip("−").isdigit() for tick in ticks)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "must be a CSV file that exists"),
        ("", "at least one finished epoch. Received: no rows"),
        ("epoch,loss\n", "at least one finished epoch. Received: no rows"),
        ("step,loss\n1,2\n", "must have a column 'epoch'. Received: step, loss"),
        ("epoch,seconds\n1,2\n", "must have a loss, a score or a learning rate. Received: seconds"),
    ],
)
def test_curves_name_a_bad_log(tmp_path, content, message):
    log = tmp_path / "log.csv"
    if content is not None:
        log.write_text(content)
    with pytest.raises(UserError, match=message) as error:
        viz.curves(log, tmp_path / "curves.png")
    assert str(log) in str(error.value) and "\n" not in str(error.value)


def test_curves_begin_with_the_monitored_metric_and_mark_its_best_epoch(tmp_path, figures):
    log = run_log(tmp_path, val_top1=[0.1, 0.4, 0.9, 0.6, 0.5, 0.5, 0.5, 0.5], val_ece=[0.2] * 8, val_prior=[0.3] * 8)
    viz.curves(log, tmp_path / "curves.png", ("top1", "max"))
    axes = figures[0].axes
    assert [a.get_title(loc="left") for a in axes] == ["top1", "Loss", "Errors", "Learning rate"]
    assert axes[0].get_title(loc="right") == "best: 0.9, epoch 3"
    [ring] = [line for line in axes[0].get_lines() if line.get_label() == "_best"]
    assert (ring.get_xdata(), ring.get_ydata()) == ([3], [0.9])
    assert not overlapping([*axes[0].texts, axes[0]._left_title, axes[0]._right_title])
    assert not [line for a in axes for line in a.get_lines() if "prior" in line.get_label()], "a number of the data"
    viz.curves(log, tmp_path / "curves.png", ("log_loss", "min"))
    assert figures[1].axes[0].get_title(loc="right").endswith("epoch 8")
    viz.curves(log, tmp_path / "curves.png", ("AP", "max"))  # of another log
    assert figures[2].axes[0].get_title(loc="left") == "Loss"


def test_no_two_curves_of_a_panel_look_alike(tmp_path, figures):
    many = {f"val_iou_{i}": list(np.linspace(0, 0.9, 8)) for i in range(20)}
    viz.curves(run_log(tmp_path, **many), tmp_path / "curves.png")
    scores = next(axes for axes in figures[0].axes if axes.get_title(loc="left") == "Scores")
    lines = list(legend(scores).values())
    assert len(lines) == viz.plots.MAX_LINES and "9 more lines in log.csv" in scores.get_xlabel()
    assert len({(line.get_color(), line.get_linestyle(), line.get_marker()) for line in lines}) == len(lines)


def test_numbers_on_logarithmic_axes_are_digits(tmp_path, figures):
    far = np.array([0, 0.0004, 0.02, 0.3, 1])
    viz.roc(far, [0.1, 0.5, 0.7, 0.9, 1], tmp_path / "roc.png")
    points = [(49.0, 56.2, "0.5, 128 px"), (569.0, 70.6, "1, 224 px"), (600.0, 60.0, "worse")]
    viz.costs(points, {"1": [(128, 186.0), (224, 569.0)], "0.5": [(128, 49.0)]}, tmp_path / "cost.png", "sixteen")
    viz.costs([], {"1": [(128, 9.5), (224, 569.0)]}, tmp_path / "cost.png")
    for figure in figures:
        figure.canvas.draw()
        for text in figure.findobj(Text):
            assert "$" not in text.get_text() and "mathdefault" not in text.get_text()
    assert [len(figure.axes) for figure in figures] == [1, 2, 1]
    line = figures[1].axes[0].get_lines()[0]
    np.testing.assert_array_equal(line.get_ydata(), [56.2, 70.6])


def test_a_sheet_has_sections(tmp_path):
    images = [np.zeros((20, 30, 3), np.uint8)] * 5
    plain = viz.sheet(images, ["a"] * 5, tmp_path / "a.png", columns=3)
    parted = viz.sheet(images, ["a"] * 5, tmp_path / "b.png", columns=3, sections=[("first", 3), ("second", 2)])
    with Image.open(plain) as one, Image.open(parted) as two:
        assert two.width == one.width and two.height == one.height + 2 * viz.images.HEADING


# --- confusion ---


@pytest.mark.parametrize("count", [2, 10, 20, 37, 120, 400])
def test_confusion_labels_do_not_touch(tmp_path, figures, count):
    rng = np.random.default_rng(count)
    matrix = rng.integers(0, 30, (count, count)) + 300 * np.eye(count, dtype=int)
    path = viz.confusion(matrix, names(count), tmp_path / "confusion.png")
    with Image.open(path) as picture:
        assert 400 < max(picture.size) < 2500
    axes = figures[0].axes[0]
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert len(labels) >= min(count, 40)
        assert not overlapping(labels)
    width, height = figures[0].canvas.get_width_height()
    for text in figures[0].findobj(Text):
        box = text.get_window_extent()
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        assert inside or not text.get_text() or not text.get_visible(), text.get_text()
    if count >= 31:
        assert not overlapping(figures[0].axes[1].texts)


def test_confusion_shows_shares_of_rows_and_counts(tmp_path, figures):
    matrix = np.array([[8, 2, 0], [0, 0, 0], [1, 0, 3]])
    viz.confusion(matrix, ["a", "b", "c"], tmp_path / "confusion.png")
    axes = figures[0].axes[0]
    shown = axes.images[0].get_array()
    np.testing.assert_allclose(shown.filled(-1), [[0.8, 0.2, 0], [-1, -1, -1], [0.25, 0, 0.75]])
    printed = {(text.get_position()[1], text.get_position()[0]): text.get_text() for text in axes.texts}
    assert printed == {(0, 0): "8", (0, 1): "2", (2, 0): "1", (2, 2): "3"}
    assert axes.get_xlabel() == "predicted" and axes.get_ylabel() == "truth"


def test_confusion_of_many_classes_lists_the_pairs(tmp_path, figures):
    matrix = 5 * np.eye(31, dtype=int)
    matrix[3, 7], matrix[9, 2] = 4, 2
    viz.confusion(matrix, [f"class {i}" for i in range(31)], tmp_path / "confusion.png")
    matrix_axes, pairs = figures[0].axes[:2]
    assert not matrix_axes.texts
    texts = [text.get_text() for text in pairs.texts]
    assert texts == ["4 of 9", "class 3", "→", "class 7", "2 of 7", "class 9", "→", "class 2"]


@pytest.mark.parametrize("seed", range(5))
def test_confused_pairs_against_a_plain_loop(seed):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(2, 12))
    matrix = rng.integers(0, 5, (size, size))
    before = matrix.copy()
    pairs = viz.confused_pairs(matrix, limit=6)
    everything = [(i, j, matrix[i, j]) for i in range(size) for j in range(size) if i != j and matrix[i, j]]
    assert pairs == sorted(everything, key=lambda pair: -pair[2])[:6]
    np.testing.assert_array_equal(matrix, before)


def test_confusion_refuses_a_matrix_of_another_size(tmp_path):
    with pytest.raises(ValueError, match=r"must be \[3, 3\] for 3 classes. Received: \[2, 2\]"):
        viz.confusion(np.eye(2), ["a", "b", "c"], tmp_path / "confusion.png")


# --- bars ---


@pytest.mark.parametrize("count", [1, 10, 37, 120, 300])
def test_bars_are_sorted_and_labels_do_not_touch(tmp_path, figures, count):
    rng = np.random.default_rng(count)
    values = list(rng.random(count))
    marks = {"precision": rng.random(count), "recall": rng.random(count)}
    notes = ["(12345)"] * count
    viz.bars(values, names(count), tmp_path / "bars.png", title="F1", notes=notes, marks=marks)
    figure = figures[0]
    widths = [bar.get_width() for axes in figure.axes for bar in axes.patches]
    np.testing.assert_allclose(widths, sorted(values)[:160])
    assert not overlapping([label for axes in figure.axes for label in axes.get_yticklabels()])
    for axes in figure.axes:
        frame = axes.get_window_extent()
        assert all(label.get_window_extent().x1 < frame.x0 for label in axes.get_yticklabels())
        assert axes.get_lines()[0].get_xdata()[0] == pytest.approx(np.mean(values))
    if count > 160:
        assert figure.get_suptitle() == "F1: the lowest 160 of 300"


def test_bars_put_missing_values_last(tmp_path, figures):
    viz.bars([None, 0.7, float("nan"), 0.2], list("abcd"), tmp_path / "bars.png", marks={"recall": [None, 1, 1, 0]})
    axes = figures[0].axes[0]
    labels = [label.get_text().split() for label in axes.get_yticklabels()]
    assert labels == [["d", "0.20"], ["b", "0.70"], ["a", "n/a"], ["c", "n/a"]]
    assert axes.get_lines()[0].get_xdata()[0] == pytest.approx(0.45)  # the mean of what there is


@pytest.mark.parametrize("labels", [[], ["a"], ["a", "b", "c"]])
def test_bars_need_one_value_a_label(tmp_path, labels):
    with pytest.raises(ValueError, match="one value a label"):
        viz.bars([] if not labels else [0.1, 0.2], labels, tmp_path / "bars.png")


# --- pictures ---

CELL, GAP, BORDER = 216, 12, 4


def sheet_pixels(tmp_path, *args, **kwargs) -> np.ndarray:
    with Image.open(viz.sheet(*args, tmp_path / "sheet.png", **kwargs)) as picture:
        return np.asarray(picture)


def test_sheet_places_images_with_colored_borders(tmp_path):
    colors = [(250, 10, 10), (10, 250, 10), (10, 10, 250)]
    images = [np.full((40, 40, 3), color, np.uint8) for color in colors]
    pixels = sheet_pixels(tmp_path, images, ["a", "b", "c"], columns=2, correct=[True, False, None])
    borders = [ImageColor.getrgb(viz.CORRECT), ImageColor.getrgb(viz.INCORRECT), ImageColor.getrgb("#CBD2D9")]
    height = (pixels.shape[0] - GAP) // 2  # of one row with its gap
    for index, (color, border) in enumerate(zip(colors, borders, strict=True)):
        x, y = GAP + index % 2 * (CELL + GAP), GAP + index // 2 * height
        assert tuple(pixels[y + CELL // 2, x + CELL // 2]) == color
        assert tuple(pixels[y + CELL - 2, x + CELL // 2]) == border
        assert tuple(pixels[y + CELL // 2, x - 2]) == (255, 255, 255)
        caption = pixels[y + CELL + 2 : y + height - GAP, x : x + CELL]
        assert caption.min() < 100  # something is written
    assert (pixels[GAP + height :, GAP + CELL + GAP :] == 255).all()  # the fourth place is empty


@pytest.mark.parametrize("shape", [(1, 1), (300, 20), (20, 300), (32, 32), (480, 640)])
def test_sheet_keeps_the_shape_of_images(tmp_path, shape):
    image = np.full((*shape, 3), (250, 10, 10), np.uint8)
    pixels = sheet_pixels(tmp_path, [image], ["one"])
    rows, columns = np.nonzero((pixels == (250, 10, 10)).all(axis=-1))
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert max(height, width) == CELL - 2 * BORDER
    assert height / width == pytest.approx(shape[0] / shape[1], rel=0.05)


def test_sheet_captions_stay_in_their_cell(tmp_path):
    gray = np.full((9, 9, 3), 128, np.uint8)
    captions = ["W" * 200 + "\n" + name for name in ODD_NAMES]
    pixels = sheet_pixels(tmp_path, [gray] * len(captions), captions, columns=4)
    for column in range(5):  # the gaps between the columns stay white from top to bottom
        x = column * (CELL + GAP)
        assert (pixels[:, x + 1 : x + GAP - 1] == 255).all()


def test_sheet_refuses_nothing_and_mismatch(tmp_path):
    for images, captions in ([], []), ([np.zeros((2, 2, 3), np.uint8)], ["a", "b"]):
        with pytest.raises(ValueError, match="one caption an image"):
            viz.sheet(images, captions, tmp_path / "sheet.png")


def test_annotate_leaves_the_image_and_adds_a_band():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (300, 400, 3), np.uint8)
    before = image.copy()
    out = viz.annotate(image, [("dog", 0.6), ("cat", 0.3), "a remark"])
    assert out.dtype == np.uint8 and out.shape[1:] == (400, 3) and out.shape[0] > 300
    np.testing.assert_array_equal(out[:300], before)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(viz.annotate(image, []), before)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.25, 0.5, 0.871, 1.0, 1.5, float("nan")])
@pytest.mark.parametrize("width", [256, 640, 2000])
def test_annotate_draws_the_share_to_scale(share, width):
    out = viz.annotate(np.zeros((400, width, 3), np.uint8), [("name", share)])
    blue = (out == np.array(ImageColor.getrgb(viz.SKY))).all(axis=-1).sum(axis=1).max()
    track = (out == np.array(ImageColor.getrgb("#3E4C59"))).all(axis=-1).sum(axis=1).max()
    expected = 0 if np.isnan(share) else min(share, 1)
    assert blue / (blue + track) == pytest.approx(expected, abs=0.008)


@pytest.mark.parametrize(
    "shape", [(1, 1, 3), (32, 32, 3), (32, 32, 1), (20, 30), (500, 20, 3), (20, 500, 3), (1, 3000, 3), (3000, 1, 3)]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_annotate_takes_any_image(shape, dtype):
    image = (np.arange(np.prod(shape)).reshape(shape) % 256).astype(dtype)
    out = viz.annotate(image, [(name, 0.5) for name in ODD_NAMES[:3]])
    assert out.dtype == np.uint8 and out.ndim == 3 and out.shape[-1] == 3
    assert out.shape[1] >= 256 and out.shape[0] * out.shape[1] < 4_000_000
    assert (out[-60:] > 200).any()  # the text


def test_annotate_text_never_reaches_the_percentage():
    image = np.zeros((256, 256, 3), np.uint8)
    empty, long = (viz.annotate(image, [(text, 0.5)]) for text in ("", "W" * 300))
    changed = np.nonzero((empty != long).any(axis=(0, 2)))[0]
    percent = np.nonzero((empty[258:270] > 200).all(axis=-1).any(axis=0))[0]
    assert changed.max() < percent.min() - 4


def test_floats_are_clipped_and_nan_is_black():
    image = np.array([[-5.0, 300.0, np.nan, 127.6]])
    np.testing.assert_array_equal(viz.thumbnail(image)[0, :, 0], [0, 255, 0, 128])


@pytest.mark.parametrize(
    ("shape", "expected"), [((400, 200), (160, 80)), ((100, 50), (100, 50)), ((1, 5000), (1, 160))]
)
def test_thumbnail_size(shape, expected):
    assert viz.thumbnail(np.zeros((*shape, 3), np.uint8)).shape == (*expected, 3)


def test_colors_are_told_apart_in_grey_too():
    gray = {name: np.dot(to_rgb(getattr(viz, name)), (0.2126, 0.7152, 0.0722)) for name in ("CORRECT", "INCORRECT")}
    assert abs(gray["CORRECT"] - gray["INCORRECT"]) > 0.02
    assert len(set(viz.COLORS)) == len(viz.COLORS)


@pytest.mark.real_data
def test_sheet_of_real_images(tmp_path):
    folder = os.environ.get("MOBILENET_TF_TEST_DATA")
    if not folder:
        pytest.skip("MOBILENET_TF_TEST_DATA is not set")
    small = sorted(Path(folder, "cifar10_mini/test/cat").glob("*.jpg"))[:6]
    large = sorted(Path(folder, "coco_mini/val2017").glob("*.jpg"))[:6]
    images = []
    for path in small + large:
        with Image.open(path) as picture:
            images.append(np.asarray(picture.convert("RGB")))
    pixels = sheet_pixels(tmp_path, images, [path.name for path in small + large], columns=6)
    top = pixels[GAP + BORDER : GAP + CELL - BORDER, GAP + BORDER : GAP + CELL - BORDER].astype(float)
    block = top.reshape(16, 13, 16, 13, 3).mean(axis=(1, 3))  # the cell again at 16 x 16, against the file at 16 x 16
    truth = images[0].reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))
    assert np.abs(block - truth).mean() < 6
