"""The built-in data set: seeded scenes of drawn animals with breed, attributes, boxes and pixel masks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFilter

from mobilenet_tf.data.scenes.animals import BREEDS, Animal, paint
from mobilenet_tf.data.scenes.canvas import Canvas, Layer
from mobilenet_tf.data.scenes.scenery import BACKGROUNDS, OCCLUDERS, ball, pick, room
from mobilenet_tf.data.source import Sample, Source
from mobilenet_tf.data.splits import SPLITS, check_split
from mobilenet_tf.utils.errors import UserError

CLASSES = list(BREEDS)
# Of the main animal up to "occluded", then of the scene. A horizontal flip of the image changes "facing_left".
ATTRIBUTES = ["facing_left", "sitting", "collar", "ball", "occluded", "indoors", "snow", "night"]
BACKDROP = 144  # pixels the background is drawn on, then halved: soft, and equally so at every size
CACHE_BYTES = 1 << 30  # drawn images one source keeps in memory; the rest are drawn again every epoch


def label_of(seed: int, index: int) -> int:
    """The main animal's class: every run of len(CLASSES) consecutive indices holds each class once, in seeded order."""
    block, position = divmod(index, len(CLASSES))
    return int(np.random.default_rng((seed, block, 1)).permutation(len(CLASSES))[position])


def render(seed: int, index: int, size: int = 96, animals: tuple[int, int] = (1, 1)) -> dict[str, Any]:
    """Draw scene `index` of the set `seed`: same arguments, same pixels; another size, the same scene.

    `animals` is the least and the largest number of animals. Returns "image" uint8 [size, size, 3], "label" int32 (the
    main animal's class), "attributes" float32 [8] (0 or 1, see ATTRIBUTES), "boxes" float32 [N, 4] normalized yxyx,
    tight round the visible pixels, main animal first, "labels" int32 [N], "mask" uint8 [size, size] (0 background,
    class + 1 elsewhere; nothing to ignore) and "instances" uint8 [size, size] (0, or i + 1 for the animal of boxes[i]).
    """
    rng = np.random.default_rng((seed, index, 0))
    zoom = max(2, -(-192 // size))  # drawn on at least 192 pixels, then reduced: smooth edges at every size
    canvas = Canvas(size * zoom)
    horizon = rng.uniform(0.35, 0.6)
    night, snow, has_ball, occluded = rng.random(4) < (0.15, 0.15, 0.3, 0.2)
    cast = choose_cast(CLASSES[label_of(seed, index)], int(rng.integers(animals[0], animals[1] + 1)), horizon, rng)
    background = pick(BACKGROUNDS, rng)
    backdrop = Layer("RGB", BACKDROP)
    background(backdrop, horizon, rng)
    canvas.picture.image.paste(backdrop.image.reduce(2).resize((size * zoom, size * zoom), Image.Resampling.BILINEAR))
    extents = [paint(canvas, animal, len(cast) - i, rng) for i, animal in enumerate(cast)]
    left, top, right, bottom = extents[-1]  # of the main animal
    main, middle, width = cast[-1], (left + right) / 2, right - left
    if has_ball:
        ball(canvas, middle + pick([-1, 1], rng) * rng.uniform(0.35, 0.5) * width, bottom, 0.13 * main.height, rng)
    if occluded:  # rather the hind part than the face
        x = middle + rng.uniform(-0.3, 0.12) * width * (-1 if main.facing_left else 1)
        pick(OCCLUDERS, rng)(canvas, x, bottom, bottom - top, rng)
    indoors = background is room
    facts = {"ball": has_ball, "occluded": occluded, "indoors": indoors, "snow": snow and not indoors, "night": night}
    facts = {**vars(main), **facts}
    owners = np.asarray(canvas.owners.image.resize((size, size), Image.Resampling.NEAREST))
    return {
        "image": light(canvas.picture.image.reduce(zoom), night, facts["snow"], rng),
        "label": np.int32(CLASSES.index(main.breed)),
        "attributes": np.array([facts[name] for name in ATTRIBUTES], np.float32),
        **annotate(owners, [CLASSES.index(animal.breed) for animal in reversed(cast)]),
    }


def choose_cast(breed: str, count: int, horizon: float, rng) -> list[Animal]:
    """The animals of a scene, the farthest first and the main one, of the given breed, last and nearest."""
    breeds = [*(pick(CLASSES, rng) for _ in range(count - 1)), breed]
    cast = []
    for i, (name, slot) in enumerate(zip(breeds, rng.permutation(count), strict=True)):
        if count == 1:
            height = rng.uniform(0.62, 0.78)
            ground = rng.uniform(horizon + 0.1, 0.97)
        else:
            height = rng.uniform(0.26, 0.36) + 0.1 * i / count
            ground = horizon + (0.95 - horizon) * (i + rng.uniform(0.5, 1)) / count
        x = (slot + 0.5 + rng.uniform(-0.14, 0.14)) / count
        left, sits, collar = (bool(v) for v in rng.random(3) < (0.5, 0.2, 0.4))
        cast.append(Animal(name, x, ground, height, left, sits, collar))
    return cast


def light(image: Image.Image, night: bool, snow: bool, rng) -> np.ndarray:
    """Exposure, color cast, night, a soft lens, snowfall and sensor noise, at the final size."""
    side = image.width
    gain = rng.uniform(0.75, 1.2) * (1 + rng.uniform(-0.08, 0.08, 3)) * ((0.5, 0.56, 0.76) if night else 1)
    curve = 255 * np.linspace(0, 1, 256) ** rng.uniform(0.8, 1.25)
    image = image.point(np.clip(curve * gain[:, None], 0, 255).astype(np.uint8).ravel().tolist())
    if rng.random() < 0.2:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.002, 0.006) * side))
    if snow:
        pen = ImageDraw.Draw(image)
        for x, y, radius in rng.uniform((0, 0, 0.004), (1, 1, 0.012), (60, 3)) * side:
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(248, 250, 255))
    noise = rng.standard_normal((side, side, 1), np.float32) * np.float32(rng.uniform(1, 5))
    return np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)


def annotate(owners: np.ndarray, labels: list[int]) -> dict[str, np.ndarray]:
    """Boxes, labels and masks from the map of owners (animal i owns value i + 1). Hidden animals drop out."""
    instances, mask, boxes, visible = np.zeros_like(owners), np.zeros_like(owners), [], []
    for i, label in enumerate(labels):
        mine = owners == i + 1
        rows, columns = np.flatnonzero(mine.any(1)), np.flatnonzero(mine.any(0))
        if len(rows):
            boxes.append([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])
            visible.append(label)
            instances[mine], mask[mine] = len(visible), label + 1
    boxes = np.array(boxes, np.float32).reshape(-1, 4) / len(owners)
    return {"boxes": boxes, "labels": np.array(visible, np.int32), "mask": mask, "instances": instances}


def split_seed(seed: int, split: str) -> int:
    """The seed of one split's scenes; no two splits share one. Raises UserError for an unknown split."""
    return len(SPLITS) * seed + SPLITS.index(check_split(split))


def source(split: str, count: int, size: int = 96, seed: int = 0, animals: tuple[int, int] = (1, 1)) -> Source:
    """`count` scenes of a split as a Source; images are drawn on first use and kept, so later epochs cost nothing.

    Raises UserError for an unknown split, count < 1, size < 16 or an impossible range of animals.
    """
    scene_seed = split_seed(seed, split)
    if count < 1:
        raise UserError(f"count must be at least 1. Received: count={count}")
    if size < 16:
        raise UserError(f"size must be at least 16 pixels. Received: size={size}")
    if not 1 <= animals[0] <= animals[1] <= 4:
        raise UserError(f"animals must be (least, most) within 1..4. Received: animals={tuple(animals)}")
    spec = {
        "image": tf.TensorSpec([size, size, 3], tf.uint8),
        "label": tf.TensorSpec([], tf.int32),
        "attributes": tf.TensorSpec([len(ATTRIBUTES)], tf.float32),
        "boxes": tf.TensorSpec([None, 4], tf.float32),
        "labels": tf.TensorSpec([None], tf.int32),
        "mask": tf.TensorSpec([size, size], tf.uint8),
    }
    cache: dict[int, list[np.ndarray]] = {}

    def draw(index: np.int64) -> list[np.ndarray]:
        if (values := cache.get(int(index))) is None:
            scene = render(scene_seed, int(index), size, animals)
            values = [scene[key] for key in spec]
            if len(cache) * 4 * size * size < CACHE_BYTES:  # image and mask: 4 bytes a pixel
                cache[int(index)] = values
        return values

    def load(record: Sample) -> Sample:
        record = dict(record)
        drawn = tf.numpy_function(draw, [record.pop("scene")], [s.dtype for s in spec.values()], stateful=False)
        shaped = {key: tf.ensure_shape(v, s.shape) for (key, s), v in zip(spec.items(), drawn, strict=True)}
        return {**record, **shaped}

    def record(index: tf.Tensor) -> Sample:
        name = tf.strings.as_string(index, width=5, fill="0")
        return {"id": tf.strings.join([f"{split}-{seed}-", name]), "scene": index}

    return Source(tf.data.Dataset.range(count).map(record), load, count, CLASSES.copy())


def write_folder(root: str | os.PathLike, counts: dict[str, int], size: int = 224, seed: int = 0) -> Path:
    """Write scenes of one animal as JPEG files `root/split/class/index.jpg`; `counts` maps split to number.

    The scenes are those of `source(split, count, size, seed)`. Returns the root. Raises UserError for an unknown split.
    """
    root = Path(root)
    for split, count in counts.items():
        scene_seed = split_seed(seed, split)
        for index in range(count):
            scene = render(scene_seed, index, size)
            path = root / split / CLASSES[scene["label"]] / f"{index:05d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            Image.fromarray(scene["image"]).save(part, "JPEG", quality=92)
            os.replace(part, path)
    return root
