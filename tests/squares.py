"""Red and blue squares on noise, as each task reads them from disk: what any network must learn in a moment."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

COLORS = {"red": (200, 40, 40), "blue": (40, 40, 200)}
COUNTS = {"train": 48, "validation": 16, "test": 24}


@dataclass(frozen=True)
class Square:
    color: str
    top: int
    left: int
    side: int


def scene(rng, size: int, colors, large: bool) -> tuple[np.ndarray, list[Square]]:
    """(uint8 [size, size, 3], squares): one of each color, each in its half of the image; or a large one."""
    image = rng.normal(128, 30, (size, size, 3))
    squares = []
    for half, color in zip(rng.permutation(2), colors, strict=False):
        width, half = (size, 0) if large else (size // 2, half)
        side = int(rng.integers(width * 7 // 8, width) if large else rng.integers(width * 5 // 8, width * 7 // 8))
        top = int(rng.integers(0, size - side))
        left = int(half * width + rng.integers(0, width - side + 1))
        image[top : top + side, left : left + side] = COLORS[color] + rng.normal(0, 15, (side, side, 3))
        squares.append(Square(color, top, left, side))
    return image.clip(0, 255).astype(np.uint8), squares


def scenes(split: str, size: int, colors_of, large: bool = False):
    """(number, image, squares) of a split; `colors_of` a number are the colors in that scene."""
    rng = np.random.default_rng(list(COUNTS).index(split))
    for number in range(COUNTS[split]):
        yield number, *scene(rng, size, colors_of(number), large)


def save(image: np.ndarray, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return path


def one(number: int) -> list[str]:
    return [list(COLORS)[number % 2]]


def any_of(number: int) -> list[str]:
    return [color for place, color in enumerate(COLORS) if number >> place & 1]


def folder(root: Path, size: int = 64) -> list[str]:
    """root/split/color/*.png; the overrides that name it."""
    for split in COUNTS:
        for number, image, [square] in scenes(split, size, one, large=True):
            save(image, root / split / square.color / f"{number}.png")
    return ["data.reader=folder", f"data.root={root}"]


def table(root: Path, size: int = 64) -> list[str]:
    """A CSV file of which colors are in an image: none, one or both."""
    rows = []
    for split in COUNTS:
        for number, image, squares in scenes(split, size, any_of):
            present = {color: int(color in [square.color for square in squares]) for color in COLORS}
            path = save(image, root / split / f"{number}.png")
            rows.append({"path": str(path.relative_to(root)), "split": split} | present)
    with open(root / "table.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return ["data.reader=csv", f"data.root={root / 'table.csv'}"]


def masks(root: Path, size: int = 128) -> list[str]:
    """root/split/images and root/split/masks: the background and both colors."""
    for split in COUNTS:
        for number, image, squares in scenes(split, size, lambda number: list(COLORS)):
            mask = np.zeros((size, size), np.uint8)
            for s in squares:
                mask[s.top : s.top + s.side, s.left : s.left + s.side] = 1 + list(COLORS).index(s.color)
            save(image, root / split / "images" / f"{number}.png")
            save(mask, root / split / "masks" / f"{number}.png")
    (root / "classes.txt").write_text("\n".join(["background", *COLORS]) + "\n")
    return ["data.reader=folder", f"data.root={root}"]


def boxes(root: Path, size: int = 128) -> list[str]:
    """YOLO's layout."""
    for split in COUNTS:
        for number, image, squares in scenes(split, size, lambda number: list(COLORS)):
            save(image, root / "images" / split / f"{number}.png")
            lines = [
                f"{list(COLORS).index(s.color)} {(s.left + s.side / 2) / size} {(s.top + s.side / 2) / size} "
                f"{s.side / size} {s.side / size}"
                for s in squares
            ]
            path = root / "labels" / split / f"{number}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(lines) + "\n")
    names = {"train": "train", "val": "validation", "test": "test"}
    keys = "".join(f"{key}: images/{split}\n" for key, split in names.items())
    (root / "data.yaml").write_text(f"path: .\n{keys}names: {dict(enumerate(COLORS))}\n")
    return ["data.reader=yolo", f"data.root={root / 'data.yaml'}"]
