"""Image files in, answers out: what `predict` and `mobilenet_tf.load` share. No TensorFlow here."""

from __future__ import annotations

import glob
import math
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from PIL import Image

from mobilenet_tf.task import Inference, Prediction
from mobilenet_tf.utils import files
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.progress import track
from mobilenet_tf.viz import image_files

if TYPE_CHECKING:
    import numpy as np

    from mobilenet_tf.inference.predict import Predictor

VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".3gp")
T = TypeVar("T")
BATCH = 32  # images predicted at a time, at most
BATCH_PIXELS = 2**25  # of the images that are held at a time, at most: a photograph of 48 megapixels takes 144 MB


@dataclass(frozen=True)
class Answer:
    """What a model says of an image file.

    row: one flat row of the table that people read. values: names and numbers for programs, see docs/answers.md. Both
    have "file"; where the file cannot be read, they have "error" beside it and nothing else.
    complete: as `values`, without the task's own limit on what is listed; empty where nobody asked for it.
    """

    row: dict[str, Any]
    values: dict[str, Any]
    complete: dict[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether the file cannot be read."""
        return "error" in self.values


@dataclass(frozen=True)
class Answers:
    """The answers to image files, made as they are iterated over, one batch of images at a time.

    inference: the preprocessing and decoding of the model's task, with what is listed.
    predictor: the model, with metadata.
    drawings, masks: where the drawn copies and the masks of images go, by the files; empty: none are made.
    complete: whether the answers are given without the task's own limit on what is listed, too.
    """

    inference: Inference
    predictor: Predictor
    paths: Sequence[Path]
    drawings: Mapping[Path, Path] = field(default_factory=dict)
    masks: Mapping[Path, Path] = field(default_factory=dict)
    complete: bool = False

    @property
    def classes(self) -> Sequence[str]:
        """The names of the classes."""
        assert self.predictor.metadata is not None  # workflow.open_model has read or made it
        return self.predictor.metadata.classes

    def __iter__(self) -> Iterator[Answer]:
        """The answer of each file, in their order. The embedding task compares all images with the first one.

        Raises UserError: the first image cannot be read and the task compares the others with it.
        """
        waiting: dict[Path, Answer | None] = {}  # of the files that were begun, in their order; None: not predicted yet
        first = None

        def load(path: Path) -> np.ndarray | None:
            image = self._read(path)
            waiting[path] = image if isinstance(image, Answer) else None
            return None if isinstance(image, Answer) else image

        for batch in batches(track(self.paths, "predict"), load):
            predictions = predict_images(self.inference, self.predictor, [image for _, image in batch])
            for (path, image), prediction in zip(batch, predictions, strict=True):
                if self.inference.compares:
                    first = first or prediction
                    prediction = self.inference.compare(first, prediction)
                waiting[path] = self._answer(path, image, prediction)
            while waiting and (answer := waiting[path := next(iter(waiting))]):
                del waiting[path]
                yield answer
        yield from filter(None, waiting.values())  # the last files, where they cannot be read

    def ranked(self, found: Iterable[Answer]) -> list[Answer]:
        """The answers in their order; where the task sorts them, those with the highest number first."""
        column = self.inference.sort_by

        def rank(answer: Answer) -> float:
            value = answer.row.get(column, -math.inf) if column else 0
            return -math.inf if math.isnan(value) else value

        return sorted(found, key=rank, reverse=True)

    def _read(self, path: Path) -> np.ndarray | Answer:
        from mobilenet_tf.data import images

        try:
            return images.read(path, self.inference.cfg.data.rendering)
        except UserError as error:
            if self.inference.compares and path == self.paths[0]:
                raise
            failed = {"file": str(path), "error": str(error)}
            return Answer(failed, failed)

    def _answer(self, path: Path, image: np.ndarray, prediction: Prediction) -> Answer:
        inference, classes, file = self.inference, self.classes, {"file": str(path)}
        values = file | {"width": image.shape[1], "height": image.shape[0]}
        if path in self.masks:
            values["mask"] = _write(self.masks[path], lambda: Image.fromarray(prediction["mask"]))
        if path in self.drawings:
            _write(self.drawings[path], lambda: inference.draw(image, prediction, classes))
        return Answer(
            file | inference.to_row(prediction, classes),
            values | inference.to_dict(prediction, classes),
            values | unlimited(inference).to_dict(prediction, classes) if self.complete else {},
        )


def unlimited(inference: Inference) -> Inference:
    """The same with every score listed, unless a lowest one was asked for."""
    if inference.selection.min_score is not None:
        return inference
    return type(inference)(inference.cfg, replace(inference.selection, min_score=-math.inf))


def _write(path: Path, image: Callable[[], Image.Image | np.ndarray]) -> str | None:
    """Writes an image; one that cannot be written is a warning: the predictions are worth more."""
    try:
        return str(image_files.save_image(image(), path))
    except UserError as error:
        warnings.warn(str(error), stacklevel=2)
        return None


def predict_images(inference: Inference, predictor: Predictor, images: Sequence[np.ndarray]) -> list[Prediction]:
    """Predicts images in one batch.

    Args:
        inference: the preprocessing and decoding of the model's task.
        predictor: the model.
        images: RGB arrays uint8 [H, W, 3], each of any size.

    Returns:
        One prediction for each image.
    """
    import numpy as np

    inputs = np.stack([inference.preprocess(image) for image in images])
    sizes = np.array([image.shape[:2] for image in images], np.int32)
    return inference.decode(predictor(inputs), sizes)


def batches(items: Iterable[T], load: Callable[[T], np.ndarray | None]) -> Iterator[list[tuple[T, np.ndarray]]]:
    """Loads images in batches of at most 32 images and 33 million pixels; a larger image is a batch of its own.

    Args:
        items: what the images are loaded from, such as paths.
        load: item -> uint8 [H, W, 3], or None for an item that is left out.

    Yields:
        (item, image) of each image in the batch. The list is emptied once the next batch is asked for, so that no more
        than one is in memory.
    """
    batch, pixels = [], 0
    for item in items:
        image = load(item)
        if image is None:
            continue
        size = image.shape[0] * image.shape[1]
        if batch and (len(batch) == BATCH or pixels + size > BATCH_PIXELS):
            yield batch
            batch.clear()
            pixels = 0
        batch.append((item, image))
        pixels += size
    if batch:
        yield batch


def drawing_paths(paths: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Returns where the drawn copy or the mask of each image goes: a .png below `folder`, in the subfolders that the
    images have.

    Images that differ in their suffix alone keep it in the name of the copy.

    Raises:
        UserError: the folder cannot be written, or a copy would take the place of one of the images, or of another file
            that was not written here.
    """
    resolved = {path: path.resolve() for path in paths}
    root = Path(os.path.commonpath([path.parent for path in resolved.values()])) if paths else folder
    names = {path: original.relative_to(root) for path, original in resolved.items()}
    short = {path: name.with_suffix(".png") for path, name in names.items()}
    long = {path: name.with_name(f"{name.name}.png") for path, name in names.items()}
    taken = Counter([*short.values(), *long.values()])
    copies = {path: folder / (short[path] if taken[short[path]] == 1 else long[path]) for path in paths}
    originals = set(resolved.values())
    files.check_writable(folder)
    for copy in copies.values():
        if copy.resolve() in originals:
            raise UserError(f"no predicted image may be replaced: choose another folder. Received: {copy}")
        if copy.exists() and not image_files.is_made_here(copy):
            raise UserError(f"no image of others may be replaced: choose another folder. Received: {copy}")
    return copies


def find_images(patterns: Sequence[str]) -> list[Path]:
    """Returns the image files that paths, folders (with their subfolders) and globs name.

    Args:
        patterns: paths of files, paths of folders, or globs.

    Returns:
        The paths, sorted within each pattern, each of them once.

    Raises:
        UserError: a pattern matches nothing.
    """
    from mobilenet_tf.data.images import files_below

    paths: dict[Path, None] = {}
    for pattern in patterns:
        path = Path(pattern)
        found = [path] if path.exists() else sorted(map(Path, glob.glob(pattern, recursive=True)))
        folders = [path for path in found if path.is_dir()]
        matches = [path for path in found if path not in folders]
        if video := next((path for path in matches if path.suffix.lower() in VIDEOS), None):
            raise UserError(
                "predict takes images, and no videos: write the frames as images first, for instance with ffmpeg -i "
                f"{video.name} -vf fps=2 frame%05d.jpg. Received: {video}"
            )
        matches += [path for folder in folders for path in files_below(folder)]
        if not matches:
            raise UserError(f"no image file, folder with images or matching glob has this name. Received: {pattern}")
        paths |= dict.fromkeys(matches)
    return list(paths)
