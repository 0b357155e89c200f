"""Writes docs/config.md and docs/api.md from the fields of the configs and the docstrings: python docs/generate.py

With --check nothing is written; the exit code is 1 where a page is out of date. Neither page needs TensorFlow: the
configs are pydantic classes, and signatures and docstrings are read from the source by griffe.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe

from mobilenet_tf import config
from mobilenet_tf.config_keys import Row, rows
from mobilenet_tf.utils import files

DOCS = Path(__file__).parent
COMMAND = "python docs/generate.py"

# --- docs/config.md ---------------------------------------------------------------------------------------------------

CONFIG_HEAD = f"""# Config keys

Every key of an experiment's YAML file. On the command line a key is set by its dotted name, for instance
`train.batch_size=16`, and an entry of a list by its index from 0 on: `train.stages.0.learning_rate=0.01`.
Where a section comes in several kinds, its key `name` says which one it is: `train.optimizer={{name: adamw}}`.

A duration is a number of epochs, or text such as `20 epochs`, `500 steps` or `1e6 samples`. `null` is YAML's word for
"none". Relative paths start from the working directory unless a key says otherwise. `mobilenet-tf configs show NAME`
prints a shipped config with every default filled in, `mobilenet-tf configs keys TASK` this page for one task.

On the command line some keys have short names: `epochs=3` is the length of all stages together, which keep their
proportions; `lr=0.01` the highest learning rate, with those of the other stages in proportion; `batch`, `size` (or
`imgsz`), `backbone` and `root` stand for `train.batch_size`, `model.input_size`, `model.backbone` and `data.root`.

This page is generated from the fields of `mobilenet_tf/config.py` and `tasks/*/config.py` by `{COMMAND}`.
"""


def config_page() -> str:
    """The text of docs/config.md: the keys that all tasks share, then those that each task adds or changes."""
    shared = list(rows(config.Config))
    parts = [CONFIG_HEAD, "## Keys of every task\n", *tables(shared)]
    for name in sorted(path.parent.name for path in (DOCS.parent / "tasks").glob("*/config.py")):
        own = [row for row in rows(config.schema(name)) if row not in shared and row.key != "task"]
        parts += [f"## {name}\n\nKeys of `task: {name}` that are not above, or differ from it.\n", *tables(own)]
    return "\n".join(parts)


def tables(found: list[Row]) -> Iterator[str]:
    """One Markdown table for each section, in the order of the keys."""
    grouped: dict[str, list[Row]] = {}
    for row in found:
        grouped.setdefault(row.section, []).append(row)
    for name, keys in grouped.items():
        title = f"### {name}\n" if name else "### At the top\n"
        lines = [f"| {code(row.key)} | {text(row.values)} | {row.default} | {text(row.description)} |" for row in keys]
        yield "\n".join([title, "| key | value | default | description |", "| --- | --- | --- | --- |", *lines, ""])


# --- docs/api.md ------------------------------------------------------------------------------------------------------

API_HEAD = f"""# Python interface

What programs and notebooks may rely on. A name that changes goes on working for one release, with a warning that tells
the new one. Only what needs TensorFlow imports it, and only when it is used.

This page is generated from signatures and docstrings by `{COMMAND}`.
"""

# title -> public names, by the path that programs import them from; "module.*" is all that the module makes public
API = {
    "Trained models": ("load", "api.Model"),
    "Results of predictions": (
        "tasks.classification.inference.Classification",
        "tasks.detection.inference.Detections",
        "tasks.segmentation.inference.Segmentation",
        "tasks.attributes.inference.Attributes",
        "tasks.embedding.inference.Embedding",
    ),
    "Networks": (
        "MobileNetV1",
        "MobileNetV2",
        "MobileNetV3Large",
        "MobileNetV3Small",
        "models.builder.Builder",
        "backbone",
    ),
    "Weights": ("weights.*",),
    "Configs": ("config.load", "config.override", "config.shipped", "config.Config"),
    "Training": ("training.train.train", "training.train.Run"),
    "What the commands do": ("workflow.*", "prediction.Answers", "prediction.Answer", "task.Selection"),
    "Results of exports": ("export.verification.Verification",),
    "The contract of a task": ("task.Inference", "task.Metric", "task.Task", "data.source.Source"),
    "Errors": ("utils.errors.UserError",),
}
PLAIN = (griffe.DocstringSectionKind.text, griffe.DocstringSectionKind.admonition)


def api_page() -> str:
    """The text of docs/api.md."""
    package = griffe.load("mobilenet_tf", search_paths=[DOCS.parent], allow_inspection=False)
    parts = [API_HEAD]
    for title, names in API.items():
        parts.append(f"## {title}\n")
        for name in names:
            for path in expanded(package, name):
                parts += entry(resolved(package[path]), f"mobilenet_tf.{path}")
    return "\n".join(parts)


def expanded(package: griffe.Module, name: str) -> list[str]:
    """The names that "module.*" stands for: `__all__`, or the public functions and classes that are defined there."""
    if not name.endswith(".*"):
        return [name]
    module = package[name.removesuffix(".*")]
    own = [key for key, member in module.members.items() if not member.is_alias and not key.startswith("_")]
    found = module.exports or [key for key in own if module[key].is_function or module[key].is_class]
    return [f"{name.removesuffix('.*')}.{key}" for key in map(str, found)]


def resolved(member: griffe.Object | griffe.Alias) -> griffe.Object:
    """What a name stands for that another module may have given."""
    return member.final_target if member.is_alias else member


def entry(member: griffe.Object, path: str, level: int = 3) -> Iterator[str]:
    """A function, a class with its fields and public methods, or a value: heading, signature, docstring."""
    yield f"{'#' * level} {path if level == 3 else member.name.strip('_')}\n"
    if member.is_function:
        yield fenced(signature(member, path if level == 3 else member.name))
    elif member.is_class:
        bases = f"({', '.join(map(str, member.bases))})" if member.bases else ""
        head = f"class {member.name}{bases}:"
        yield fenced("\n".join([head, *fields(member)]) if fields(member) else f"{head} ...")
    else:
        yield fenced(f"{member.name}: {member.annotation}")
    if member.docstring:
        yield docstring(member.docstring)
    if member.is_class:
        for one in member.members.values():
            is_public = one.name == "__call__" or not one.name.startswith("_")
            if is_public and not one.is_alias and (one.is_function or "property" in one.labels):
                yield from entry(one, path, level + 1)


def fields(member: griffe.Object) -> list[str]:
    """The lines of a class's annotated fields, with their comments."""
    attributes = (one for one in member.members.values() if one.is_attribute and not one.name.startswith("_"))
    own = [one for one in attributes if one.annotation and "property" not in one.labels]
    in_method = "        "  # where a method sets the field, its value is of no interest
    return [
        line
        for one in own
        for line in (one.lines if not one.lines[0].startswith(in_method) else [f"    {one.name}: {one.annotation}"])
    ]


def signature(function: griffe.Object, name: str) -> str:
    """A function's signature; a long one has one parameter a line."""
    whole = function.signature(name=name)
    if len(whole) <= 100:
        return whole
    parts, depth = [""], 0
    end = whole.rindex(")")
    for character in whole[len(name) + 1 : end]:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return "\n".join([f"{name}(", *(f"    {part.strip()}," for part in parts), whole[end:]])


def docstring(found: griffe.Docstring) -> str:
    """A docstring as Markdown: paragraphs, and lists of arguments, results and errors."""
    blocks = []
    for section in found.parse("google", warnings=False, returns_multiple_items=False, returns_named_value=False):
        if section.kind in PLAIN:
            blocks.append(paragraphs(section.value if isinstance(section.value, str) else section.value.contents))
            continue
        blocks.append(f"{section.kind.value.capitalize()}:")
        blocks.append("\n".join(f"- {item(one)}" for one in section.value))
    return "\n\n".join(blocks) + "\n"


def item(element: Any) -> str:
    """One argument, result or error."""
    name = element.annotation if isinstance(element, griffe.DocstringRaise) else getattr(element, "name", None)
    described = text(" ".join(element.description.split()))
    return f"{code(str(name))}: {described}" if name else described


def paragraphs(value: str) -> str:
    """Text in which "name: ..." and "Raises ..." begin a paragraph, and indented examples stay as they are."""
    lines = re.sub(r"\n(?=(?:\"[^:\n]*|[a-z_]+): |Returns |Raises |Source: )", "\n\n", value)
    blocks = re.split(r"\n{2,}", lines)
    return "\n\n".join(block if block.startswith(("    ", "```")) else text(block) for block in blocks)


# --- Markdown ---------------------------------------------------------------------------------------------------------


# Emphasis, HTML and links; an underscore within a word is none
MARKUP = r"([\\*]|<(?=[a-zA-Z/!])|\b_|_\b|(?<=\])(?=[\[(]))"


def code(value: str) -> str:
    """Code within a line, also in a cell of a table."""
    return f"`{value}`".replace("|", "\\|")


def text(value: str) -> str:
    """Words with what Markdown would take as markup escaped, outside of code."""
    words = re.split(r"(`[^`]*`)", value)
    words[::2] = [re.sub(MARKUP, r"\\\1", part) for part in words[::2]]
    return "".join(words).replace("|", "\\|")


def fenced(value: str) -> str:
    """A block of Python."""
    return f"```python\n{value}\n```\n"


PAGES = {"config.md": config_page, "api.md": api_page}


def outdated() -> list[str]:
    """The pages whose text is not what the code says."""
    found = {name: (DOCS / name).read_text(encoding="utf-8") if (DOCS / name).exists() else "" for name in PAGES}
    return [name for name, page in PAGES.items() if found[name] != page()]


def main() -> None:
    """Writes the pages, or only checks them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a page is out of date")
    if parser.parse_args().check:
        names = outdated()
        sys.exit(f"out of date: {', '.join(names)}; run {COMMAND}" if names else 0)
    for name, page in PAGES.items():
        with files.replacing(DOCS / name) as temporary:
            temporary.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
