"""What a run was made of: its config, classes and images. A checkpoint holds it, so that no run goes on as another."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, Field, ValidationError

from mobilenet_tf import config
from mobilenet_tf.config import Config
from mobilenet_tf.data.source import Source, difference
from mobilenet_tf.inference import artifact
from mobilenet_tf.training import checkpoint
from mobilenet_tf.utils import strict_yaml
from mobilenet_tf.utils.console import readable
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.run_folder import RunFolder

RECORD = "setup"  # the key of the record in the state of a checkpoint
FREE = (
    "export",
    "train.jit",
    "train.resume",
    "schema",
)  # what may change in the middle of a run: no result depends on it
FIXED = ("task", "classes", "quantize.qat")  # what a run that starts from another one must have in common with it
SCORES = ("validation images", "train.monitor", "model.input_size")  # what scores depend on, beside `data`
OF_A_START = ("model.weights", "model.input_size", "model.dropout")  # the keys of `model` that such a run may change
OPTIMIZER = ("train.optimizer.name", "train.optimizer.momentum", "train.precision")  # what its variables depend on
MAX_NAMED = 6  # differences in a message
MAX_VALUE = 300  # characters of a value in a message: two paths may differ at their ends alone
ROWS = 4096  # items of a source that are read at a time


class Images(BaseModel, frozen=True):
    """The samples of a split: how many, and a digest of their names and labels where these are at hand."""

    count: int = Field(ge=0)
    digest: str | None = None

    @classmethod
    def of(cls, source: Source, root: Path | None) -> Images:
        """Those of a source. Names below `root` count from there, so that a data set may move."""
        spec: Any = source.items.element_spec  # a dict by the Sample convention
        keys = sorted(key for key, part in spec.items() if part.shape.rank == 0)
        if "encoded" in spec:  # every image would have to be read
            return cls(count=source.count)
        digest, prefix = hashlib.sha256(), os.fsencode(f"{root}{os.sep}")
        for batch in source.items.map(lambda item: {key: item[key] for key in keys}).batch(ROWS):
            for key in keys:
                values = batch[key].numpy()
                rows = (
                    [value.removeprefix(prefix) for value in values] if values.dtype == object else [values.tobytes()]
                )
                digest.update(b"\0".join([key.encode(), *rows, b"\n"]))
        return cls(count=source.count, digest=digest.hexdigest())


class Setup(BaseModel, frozen=True):
    """The resolved config of a run, the classes that it learns, and its images by split; None where nobody knows."""

    config: dict[str, Any]
    classes: list[str] | None = None
    root: str | None = None  # the folder of the data, from the root of the file system
    images: dict[str, Images] = {}

    @classmethod
    def of(cls, cfg: Config) -> Setup:
        """That of a run that begins now, as far as its config tells."""
        return cls(config=cfg.to_dict(), root=str(cfg.data.root.resolve()) if cfg.data.root else None)

    def with_data(self, source: Source, validation: Source, root: Path | None) -> Setup:
        """The same with the classes and the images of the sources."""
        images = {"training": Images.of(source, root), "validation": Images.of(validation, root)}
        return self.model_copy(update={"classes": list(source.classes), "images": images})

    @classmethod
    def load(cls, path: Path) -> Setup | None:
        """That of the run which wrote a checkpoint; of version 0.1.0, what the files beside it say.

        Returns None where nothing is known. Raises UserError where the checkpoint is damaged.
        """
        record = checkpoint.load_state(path).get(RECORD)
        if record is None:
            return cls._beside(path)
        try:
            return cls.model_validate(record)
        except ValidationError as error:
            reason = f"{'.'.join(map(str, error.errors()[0]['loc']))}: {error.errors()[0]['msg']}"
            raise UserError(f"checkpoint {path} must say what it was made of. Received: {reason}") from None

    @classmethod
    def _beside(cls, path: Path) -> Setup | None:
        folder = RunFolder(path.parent.parent)
        if not folder.config.is_file():
            return None
        try:
            values = strict_yaml.parse(folder.config.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError, ValueError) as error:
            raise UserError(f"{folder.config} must be the config of the run. Received: {error}") from None
        metadata = artifact.read(folder.best_checkpoint) if folder.best_checkpoint.is_file() else None
        return cls(config=values if isinstance(values, dict) else {}, classes=metadata.classes if metadata else None)

    def parsed(self, origin: Path) -> Config:
        """The config, validated, with a root that does not depend on the current folder. Raises UserError where this
        version cannot read it.
        """
        cfg = config.override(self.config, [], str(origin))
        if not self.root or not cfg.data.root or cfg.data.root.is_absolute():
            return cfg
        return config.override(self.config, [f"data.root={self.root}"], str(origin))


@dataclass(frozen=True)
class Change:
    """One thing that is not as it was."""

    key: str  # a dotted key of the config, or "classes", "training images", "validation images"
    text: str  # "train.batch_size was 16, is 32"


def changes(old: Setup, new: Setup, origin: Path) -> list[Change]:
    """What differs between two setups and changes the result. Raises UserError where `old` cannot be read."""
    found, place = [], {"root": new.root} if old.root and new.root else {}
    if old.classes is not None and new.classes is not None and old.classes != new.classes:
        found.append(Change("classes", _classes(old.classes, new.classes)))
    found += [
        Change(key, text)
        for key, text in _changed(old.parsed(origin).to_dict(), new.config | {"data": new.config["data"] | place})
        if not any(key == free or key.startswith(f"{free}.") for free in FREE)
    ]
    for split in (split for split in old.images if split in new.images):
        was, now = old.images[split], new.images[split]
        if was.count != now.count or was.digest != now.digest and was.digest and now.digest:
            what = f"{was.count}, now {now.count}" if was.count != now.count else "as many, with other names or labels"
            found.append(Change(f"{split} images", f"the {split} images have changed: {what}"))
    return found


def described(found: Sequence[Change]) -> str:
    """The first of the changes on one line."""
    texts = [change.text for change in found[:MAX_NAMED]]
    return "; ".join(texts + [f"and {len(found) - MAX_NAMED} more"] * (len(found) > MAX_NAMED))


def _classes(old: Sequence[str], new: Sequence[str]) -> str:
    if max(len(old), len(new)) <= MAX_NAMED:
        return f"the classes were {', '.join(old)}, are {', '.join(new)}"
    return f"the classes were {len(old)}, are {len(new)}, which differ in {difference(old, new)}"


def _changed(old: Any, new: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """(dotted key, what it was and is) of the values that differ."""
    if old == new or _same_place(old, new):
        return
    if isinstance(old, dict) and isinstance(new, dict):
        if (
            old.get("name") != new.get("name")
            and {"name"} <= old.keys() & new.keys()
            and len(old) > 1
            and key != "data"
        ):
            yield f"{key}.name", f"{key}.name was {old['name']}, is {new['name']}"  # the others belong to the name
            return
        for part in dict.fromkeys([*old, *new]):
            yield from _changed(old.get(part), new.get(part), f"{key}.{part}" if key else str(part))
    elif isinstance(old, list) and isinstance(new, list) and any(isinstance(each, dict) for each in [*old, *new]):
        if len(old) != len(new):
            yield key, f"the length of {key} was {len(old)}, is {len(new)}"
        for i, (was, now) in enumerate(zip(old, new, strict=False)):
            yield from _changed(was, now, f"{key}.{i}")
    else:
        yield key, f"{key} was {_value(old)}, is {_value(new)}"


def _same_place(old: Any, new: Any) -> bool:
    """Whether two texts are paths of the same file or folder."""
    if not (isinstance(old, str) and isinstance(new, str)):
        return False
    try:
        return os.path.samefile(old, new)
    except (OSError, ValueError):
        return False


def _value(value: Any) -> str:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]} …"


# Continuing


def check_same(found: Sequence[Change], folder: Path, resume: bool) -> None:
    """Whether the run in a folder may go on: nothing that changes its result has changed, or `resume` accepts it.

    Raises:
        UserError: something has changed and `resume` is false, or the classes have.
    """
    if not found:
        return
    if resume and all(change.key != "classes" for change in found):
        print(readable(f"--resume: the run goes on although {described(found)}"))
    elif resume:
        raise UserError(
            f"--resume needs the classes that the run in {folder} has learned; --new starts a new run beside it. "
            f"Received: {described(found)}"
        )
    else:
        raise UserError(
            f"the unfinished run in {folder} must be continued as it was started: --resume does that, --new starts a "
            f"new run beside it. Received: {described(found)}"
        )


def check_other(found: Sequence[Change], path: Path) -> None:
    """Whether a new run may start from the checkpoint of another one; prints what differs and may.

    Raises:
        UserError: the task, the classes or the network is another.
    """
    fixed = [change for change in found if _is_fixed(change.key)]
    if fixed:
        raise UserError(
            "train.resume must name a run of the same task, classes and network; model.weights=FILE.keras starts from "
            f"the weights of another one. Received: {path}: {described(fixed)}"
        )
    if found:
        print(readable(f"train.resume: {described(found)}"))


def begins_anew(found: Sequence[Change], stage: int) -> str | None:
    """Why the stage in which a checkpoint stands begins anew: what its optimizer held is of no use now. Else None."""
    keys = [*OPTIMIZER, *(f"train.stages.{stage}.{key}" for key in ("train", "freeze_batch_norm"))]
    return next((change.text for change in found if change.key in keys), None)


def keeps_best(found: Sequence[Change]) -> bool:
    """Whether the best score so far still compares with those to come."""
    keys = [change.key for change in found if not change.key.startswith("data.augment")]
    return not any(key in SCORES or key.startswith("data.") for key in keys)


def _is_fixed(key: str) -> bool:
    return key in FIXED or key.startswith("model.") and key not in OF_A_START
