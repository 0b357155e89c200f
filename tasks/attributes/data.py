"""Pictures with attributes from CelebA's files, CSV files, TensorFlow Datasets or the built-in scenes.

A label is 1, 0 or UNKNOWN; a picture may have no known label at all.
"""

from __future__ import annotations

import csv
import difflib
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from mobilenet_tf.data import images, scenes, tfds
from mobilenet_tf.data.image_lists import SPLIT_NAMES
from mobilenet_tf.data.source import AUTOTUNE, Sample, Source, file_source, image_loader
from mobilenet_tf.utils import files
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.progress import track

SPLITS = ("train", "validation", "test")  # CelebA's partitions 0, 1 and 2
UNKNOWN = -1.0
VALUES = {"1": 1.0, "0": 0.0, "-1": 0.0, "": UNKNOWN}  # in text files


def read(
    reader: str,
    root: str | Path | None,
    split: str,
    *,
    name: str = "celeb_a",
    attributes: Sequence[str] | None = None,
    splits: Mapping[str, str] | None = None,
    validation_fraction: float = 0.1,
    counts: Mapping[str, int] | None = None,
    size: int = 96,
    seed: int = 0,
    on_corrupt: str = "skip",
) -> Source:
    """The Source of a split: Samples with "id", "image" uint8 [H, W, 3] and "attributes" float32 [A].

    reader: "celeba" (`root` has list_attr_celeba.txt, list_eval_partition.txt and img_align_celeba/ or its .zip, which
        is unpacked beside it), "csv" (`root` is a file with the columns path, split if you like, and one an attribute;
        or a folder of such files without a split column, train.csv, validation.csv, test.csv; paths are relative to the
        file), "tfds" (`root` is its data_dir, `name` the data set) or "scenes".
    attributes: read these alone, in this order; their names are the Source's classes.
    splits: TFDS expressions a split, such as train[:90%].
    validation_fraction: of the labelled rows of a CSV file, for validation where it has none; where it has no splits at
        all, test gets as many. Rows without labels stay in train.
    counts, size: pictures a split and their side in pixels, for the scenes.
    Raises UserError: no such reader, split or attribute, nothing found, files that do not fit together, bad values.
    """
    if reader not in READERS:
        raise UserError(f"data.reader must be one of {', '.join(READERS)}. Received: {reader!r}")
    if split not in SPLITS:
        raise UserError(f"split must be one of {', '.join(SPLITS)}. Received: {split!r}")
    options = {
        "name": name, "attributes": attributes, "splits": splits or {}, "validation_fraction": validation_fraction,
        "counts": counts or {}, "size": size, "seed": seed, "on_corrupt": on_corrupt,
    }  # fmt: skip
    return READERS[reader](None if root is None else Path(root), split, **options)


def labels(source: Source) -> np.ndarray:
    """All labels of a Source, float32 [count, A]; no picture is decoded for them, but scenes are drawn."""
    records = source.items
    if "attributes" not in records.element_spec:
        records = records.map(source.load, num_parallel_calls=AUTOTUNE)
    batches = records.map(lambda record: record["attributes"]).batch(1024)
    return np.concatenate(list(batches.as_numpy_iterator()))


def _chosen(known: Sequence[str], wanted: Sequence[str] | None, where) -> list[int]:
    """The places of the wanted attributes among the known ones."""
    wanted = known if wanted is None else wanted
    for attribute in wanted:
        if attribute not in known:
            near = difflib.get_close_matches(attribute, known, 3) or known[:3]
            raise UserError(f"data.attributes must be in {where} (nearest: {', '.join(near)}). Received: {attribute}")
        if list(wanted).count(attribute) > 1:
            raise UserError(f"{where} and data.attributes must name each attribute once. Received: {attribute} twice")
    if not wanted:
        raise UserError(f"{where} must have at least one attribute. Received: none")
    return [known.index(attribute) for attribute in wanted]


def _parse(cells: Sequence[Sequence[str]], names: Sequence[str], where: Sequence[str]) -> np.ndarray:
    """Labels [N, A] from text; `where` names each row in an error."""
    for name, column in zip(names, zip(*cells, strict=True), strict=False):
        if {"0", "-1"} <= set(column):  # in 0 and 1 a no is 0; in -1 and 1 a 0 might mean anything
            expected = "either 0 and 1 or -1 and 1 in all rows, empty where not known"
            raise UserError(f"{where[column.index('-1')]}: {name} must be {expected}. Received: -1, elsewhere 0")
    try:
        return np.array([[VALUES[cell] for cell in row] for row in cells], np.float32).reshape(-1, len(names))
    except KeyError:
        row, column, cell = next(
            (i, j, cell) for i, row in enumerate(cells) for j, cell in enumerate(row) if cell not in VALUES
        )
        known = "1, 0, -1 (the same as 0) or empty (not known)"
        raise UserError(f"{where[row]}: {names[column]} must be {known}. Received: {cell}") from None


# CelebA's own files


def _read_celeba(root, split, *, attributes, on_corrupt, **_):
    if not root.is_dir():
        raise UserError(f"data.root must be CelebA's folder. Received: {root}")
    table, lists = root / "list_attr_celeba.txt", root / "list_eval_partition.txt"
    names, rows = _celeba_attributes(table)
    places = _chosen(names, attributes, table)
    partition = _celeba_partition(lists)
    if odd := sorted(set(rows) ^ set(partition)):
        raise UserError(f"{lists} must list the pictures of {table}. Received: {odd[0]} in one of them only")
    files = [file for file in rows if partition[file] == SPLITS.index(split)]
    if not files:
        raise UserError(f"{lists} must have pictures for the split {split}. Received: none")
    folder = _celeba_pictures(root)
    here = set(os.listdir(folder))
    if missing := [file for file in files if file not in here]:
        raise UserError(
            f"{folder} must have the pictures of {lists}. Received: {len(missing)} missing, {missing[0]} first"
        )
    kept = [names[place] for place in places]
    cells = [[rows[file][place] for place in places] for file in files]
    values = _parse(cells, kept, [f"{table}, {file}" for file in files])
    return file_source([folder / file for file in files], {"attributes": values}, kept, on_corrupt=on_corrupt)


def _celeba_attributes(path: Path) -> tuple[list[str], dict[str, list[str]]]:
    """(names, {file: values}): a line with the number of files, one with the names, one a file."""
    lines = _lines(path)
    if len(lines) < 2 or len(lines[0]) != 1 or not lines[0][0].isdigit():
        raise UserError(f"{path} must start with the number of pictures and a line of names. Received: other lines")
    (count,), names, *rows = lines
    if len(rows) != int(count):
        raise UserError(f"{path} must have as many rows as its first line says, {count}. Received: {len(rows)}")
    for number, row in enumerate(rows, 3):
        if len(row) != len(names) + 1:
            expected = f"a file name and {len(names)} values"
            raise UserError(f"{path}, line {number}: must have {expected}. Received: {max(0, len(row) - 1)} values")
    return names, {file: values for file, *values in rows}


def _celeba_partition(path: Path) -> dict[str, int]:
    """{file: 0, 1 or 2}."""
    found = {}
    for number, row in enumerate(_lines(path), 1):
        if len(row) != 2 or row[1] not in ("0", "1", "2"):
            expected = "a file name and 0 (train), 1 (validation) or 2 (test)"
            raise UserError(f"{path}, line {number}: must have {expected}. Received: {' '.join(row)[:60] or 'nothing'}")
        found[row[0]] = int(row[1])
    return found


def _lines(path: Path) -> list[list[str]]:
    if not path.is_file():
        raise UserError(f"{path} must exist: it is one of CelebA's files. Received: no such file")
    _refuse_web_page(path)
    return [line.split() for line in path.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()]


def _refuse_web_page(path: Path) -> None:
    with open(path, "rb") as file:
        head = file.read(512).lstrip().lower()
    if head.startswith((b"<!doctype", b"<html")):
        raise UserError(
            f"{path} must be CelebA's file. Received: a web page, as Google Drive sends when a file was downloaded too "
            "often or is too large for its virus scan; download it again, in a browser"
        )


def _celeba_pictures(root: Path) -> Path:
    """The folder of pictures; an archive in its place is unpacked, all or nothing."""
    folder, archive = root / "img_align_celeba", root / "img_align_celeba.zip"
    if folder.is_dir():
        return folder
    if not archive.is_file():
        raise UserError(f"{root} must have img_align_celeba/ or img_align_celeba.zip. Received: neither")
    _refuse_web_page(archive)
    try:
        with zipfile.ZipFile(archive) as file, files.replacing(folder) as temporary:
            temporary.mkdir()
            names = [name for name in file.namelist() if Path(name).suffix.lower() in images.EXTENSIONS]
            for name in track(names, f"unpack {archive.name}"):
                (temporary / Path(name).name).write_bytes(file.read(name))
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise UserError(f"{archive} must be a whole zip archive; download it again. Received: {error}") from None
    return folder


# CSV files


def _read_csv(root, split, *, attributes, validation_fraction, seed, on_corrupt, **_):
    files = _csv_files(root)
    names, rows = None, []
    for file, own in files.items():
        found, new = _csv_rows(file, own)
        if names is not None and sorted(found) != sorted(names):
            odd = sorted(set(found) ^ set(names))
            raise UserError(
                f"{file} must have the attributes of {next(iter(files))}. Received: others, such as {odd[0]}"
            )
        names, rows = names or found, rows + new
    kept = [names[place] for place in _chosen(names, attributes, root)]
    where = [f"{file}, line {line}" for file, line, _, _ in rows]
    values = _parse([[_whole(row[name]) for name in kept] for *_, row in rows], kept, where)
    chosen = _divide([own for _, _, own, _ in rows], (values >= 0).any(1), split, validation_fraction, seed)
    if not len(chosen):
        raise UserError(f"{root} must have pictures for the split {split}. Received: none")
    paths = []
    for place in chosen:
        file, _, _, row = rows[place]
        paths.append(file.parent / row["path"])
        if not row["path"] or not paths[-1].is_file():
            raise UserError(f"{where[place]}: path must be a file that exists. Received: {paths[-1]}")
    return file_source(paths, {"attributes": values[chosen]}, kept, on_corrupt=on_corrupt)


def _csv_files(root: Path) -> dict[Path, str | None]:
    """{file: its split, or None for a file of all splits}."""
    if root.is_file():
        return {root: None}
    found = {root / f"{name}.csv": split for name, split in SPLIT_NAMES.items() if (root / f"{name}.csv").is_file()}
    if "train" not in found.values():
        raise UserError(f"data.root must be a CSV file, or a folder with train.csv. Received: {root}")
    return found


def _csv_rows(file: Path, own: str | None) -> tuple[list[str], list[tuple[Path, int, str | None, dict]]]:
    """(names of the attributes, [(file, line, split, cells)])."""
    with open(file, newline="", encoding="utf-8-sig") as text:
        table = csv.DictReader(text, restval="")
        columns = table.fieldnames or []
        if "path" not in columns:
            raise UserError(f"{file} must have the columns path and one an attribute. Received: {', '.join(columns)}")
        rows = []
        for row in table:
            split = own or row.get("split") or None
            if split is not None and split not in SPLIT_NAMES:
                known = ", ".join(SPLIT_NAMES)
                raise UserError(f"{file}, line {table.line_num}: split must be one of {known}. Received: {split}")
            rows.append((file, table.line_num, SPLIT_NAMES.get(split), row))
    if not rows:
        raise UserError(f"{file} must have one picture a line. Received: none")
    return [column for column in columns if column not in ("path", "split")], rows


def _whole(cell: str) -> str:
    """A cell as text of a whole number: a column with empty cells is often written with decimals."""
    return cell.strip().removesuffix(".0")


def _divide(own: list[str | None], labelled: np.ndarray, split: str, fraction: float, seed: int) -> np.ndarray:
    """The places of a split's rows; those without a split are divided at random, the same way for every split."""
    own = np.array([name or "" for name in own])
    missing = [name for name in ("validation", "test") if name not in own]
    given = not (own == "").any()
    pool, wanted = (own == "train", ["validation"]) if given else (own == "", ["validation", "test"])
    wanted = [name for name in wanted if name in missing]
    free = np.random.default_rng(seed).permutation(np.flatnonzero(pool & labelled))
    share = min(max(1, round(fraction * len(free))), (len(free) - 1) // max(1, len(wanted)))  # train keeps one
    parts = {name: free[i * share : (i + 1) * share] for i, name in enumerate(wanted)}
    drawn = np.concatenate([[], *parts.values()])
    if split in parts:
        return np.sort(parts[split])
    mine = (own == split) | (pool if split == "train" else False)
    return np.setdiff1d(np.flatnonzero(mine), drawn)


# TensorFlow Datasets


def _read_tfds(root, split, *, name, attributes, splits, on_corrupt, **_):
    builder = tfds.builder(name, root)
    features = builder.info.features
    if features is None or not {"image", "attributes"} <= set(features):
        raise UserError(f"data.name must be a data set with image and attributes, such as celeb_a. Received: {name}")
    names = list(features["attributes"])
    kept = [names[place] for place in _chosen(names, attributes, name)]
    records, count = tfds.records(builder, split, splits.get(split) or split)

    def item(record):
        values = tf.stack([tf.cast(record["attributes"][key], tf.float32) for key in kept])
        return {"id": record["tfds_id"], "encoded": record["image"], "attributes": values}

    corrupt: dict[str, str] = {}
    load = image_loader(count, corrupt, on_corrupt=on_corrupt)
    return Source(records.map(item), load, count, kept, corrupt, tfds.SHUFFLE)


# The built-in set


def _read_scenes(root, split, *, attributes, counts, size, seed, **_):
    if split not in counts:
        raise UserError(f"data.counts must have {split}. Received: {', '.join(counts) or 'none'}")
    source = scenes.source(split, counts[split], size, seed)
    places = _chosen(scenes.ATTRIBUTES, attributes, "the scenes")

    def load(record: Sample) -> Sample:
        sample = source.load(record)
        kept = {key: sample[key] for key in ("id", "image", "index", "seed") if key in sample}
        return kept | {"attributes": tf.gather(sample["attributes"], places)}

    return replace(source, load=load, classes=[scenes.ATTRIBUTES[place] for place in places])


READERS = {"celeba": _read_celeba, "csv": _read_csv, "tfds": _read_tfds, "scenes": _read_scenes}
