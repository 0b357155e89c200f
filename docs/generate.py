"""Writes docs/config.md and docs/api.md from the fields of the configs and the docstrings: python docs/generate.py

With --check nothing is written; the exit code is 1 where a page is out of date. Neither page needs TensorFlow: the
configs are pydantic classes, and signatures and docstrings are read from the source by griffe.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import griffe
from annotated_types import MinLen
from pydantic_core import PydanticUndefined, to_jsonable_python

from mobilenet_tf import config
from mobilenet_tf.config import Duration, Section
from mobilenet_tf.utils import files

DOCS = Path(__file__).parent
COMMAND = "python docs/generate.py"

# --- docs/config.md ---------------------------------------------------------------------------------------------------

WORDS = {int: "whole number", float: "number", str: "text", Path: "path", Duration: "duration"}
BOUNDS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}

CONFIG_HEAD = f"""# Config keys

Every key of an experiment's YAML file. On the command line a key is set by its dotted name, for instance
`train.batch_size=16`, and an entry of a list by its index from 0 on: `train.stages.0.learning_rate=0.01`.
Where a section comes in several kinds, its key `name` says which one it is: `train.optimizer={{name: adamw}}`.

A duration is a number of epochs, or text such as `20 epochs`, `500 steps` or `1e6 samples`. `null` is YAML's word for
"none". Relative paths start from the working directory unless a key says otherwise. `mobilenet-tf configs show NAME`
prints a shipped config with every default filled in.

This page is generated from the fields of `mobilenet_tf/config.py` and `tasks/*/config.py` by `{COMMAND}`.
"""


@dataclass(frozen=True)
class Row:
    """A config key as one row of a table, in Markdown."""

    key: str
    values: str
    default: str
    description: str

    @property
    def section(self) -> str:
        """The first part of the key; nothing for keys at the top."""
        return self.key.partition(".")[0] if "." in self.key else ""


def config_page() -> str:
    """The text of docs/config.md: the keys that all tasks share, then those that each task adds or changes."""
    shared = list(rows(config.Config))
    parts = [CONFIG_HEAD, "## Keys of every task\n", *tables(shared)]
    for name in sorted(path.parent.name for path in (DOCS.parent / "tasks").glob("*/config.py")):
        own = [row for row in rows(config.schema(name)) if row not in shared and row.key != code("task")]
        parts += [f"## {name}\n\nKeys of `task: {name}` that are not above, or differ from it.\n", *tables(own)]
    return "\n".join(parts)


def rows(section: type[Section], prefix: str = "", defaults: Section | None = None, kind: str = "") -> Iterator[Row]:
    """The keys of a section and of the sections in it.

    Args:
        prefix: the dotted key of the section, with a dot behind it.
        defaults: the section that holds where none is given; None: each field has a default of its own, or none.
        kind: what is said in front of the descriptions of a section that is one of several.
    """
    for name, field in section.model_fields.items():
        key = prefix + name
        default = getattr(defaults, name) if defaults else field.get_default(call_default_factory=True)
        inner = sections(field.annotation)
        if not inner:
            description = ": ".join(filter(None, (kind, described(section, name))))
            yield Row(code(key), values(field.annotation, field.metadata), shown(default), text(description))
        elif get_origin(field.annotation) is list:
            yield from rows(inner[0], f"{key}.N.")
        elif len(inner) == 1:
            yield from rows(inner[0], f"{key}.", default if isinstance(default, Section) else None)
        else:
            names = [one.model_fields["name"].default for one in inner]
            yield Row(code(f"{key}.name"), alternatives(names), shown(default.name), "Which of these it is")
            for one, label in zip(inner, names, strict=True):
                found = rows(one, f"{key}.", kind=label)
                yield from (row for row in found if row.key != code(f"{key}.name"))


def described(section: type[Section], name: str) -> str:
    """The description of a key: its own, or that of the key that it narrows."""
    bases = (base for base in section.__mro__ if issubclass(base, Section) and name in base.model_fields)
    return next(filter(None, (base.model_fields[name].description for base in bases)), "")


def sections(annotation: Any) -> list[type[Section]]:
    """The config sections that an annotation names."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [one for argument in get_args(annotation) for one in sections(argument)]


def values(annotation: Any, metadata: list | tuple = ()) -> str:
    """What a field may hold, in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return values(arguments[0], arguments[1:])
    if origin is Literal:
        return alternatives(arguments)
    if origin in (Union, UnionType):
        *found, last = [values(one, () if one is NoneType else metadata) for one in arguments]
        return f"{', '.join(found)} or {last}"
    if annotation is NoneType:
        return code("null")
    if annotation is bool:
        return alternatives(("true", "false"))
    if origin is list:
        least = next((f", {bound.min_length} or more" for bound in metadata if isinstance(bound, MinLen)), "")
        return f"[{values(arguments[0])}, …]{least}"
    if origin is tuple:
        return f"[{', '.join(map(values, arguments))}]"
    if origin is dict:
        return f"mapping from {values(arguments[0])} to {values(arguments[1])}"
    named = ((sign, getattr(bound, name, None)) for bound in metadata for name, sign in BOUNDS.items())
    bounds = [f"{sign} {limit:g}" for sign, limit in named if limit is not None]
    return text(" ".join([WORDS[annotation], ", ".join(bounds)]).strip())


def alternatives(names) -> str:
    """Values to choose from, as code."""
    return ", ".join(code(str(name)) for name in names)


def shown(default: Any) -> str:
    """A default as it would stand in YAML; "required" where there is none."""
    if default is PydanticUndefined:
        return "required"
    plain = str(default) if isinstance(default, Duration) else to_jsonable_python(default)
    return code(plain if isinstance(plain, str) else json.dumps(rounded(plain), ensure_ascii=False))


def rounded(value: Any) -> Any:
    """Numbers with at most 6 digits: 4/3 is 1.33333."""
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def tables(found: list[Row]) -> Iterator[str]:
    """One Markdown table for each section, in the order of the keys."""
    grouped: dict[str, list[Row]] = {}
    for row in found:
        grouped.setdefault(row.section.strip("`"), []).append(row)
    for name, keys in grouped.items():
        title = f"### {name}\n" if name else "### At the top\n"
        lines = [f"| {row.key} | {row.values} | {row.default} | {row.description} |" for row in keys]
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
    "Networks": ("MobileNetV1", "MobileNetV2", "MobileNetV3Large", "MobileNetV3Small", "backbone"),
    "Weights": ("weights.*",),
    "Configs": ("config.load", "config.override", "config.shipped", "config.Config"),
    "Training": ("training.train.train", "training.train.Run"),
    "What the commands do": ("workflow.*",),
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
    yield f"{'#' * level} {path if level == 3 else member.name}\n"
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
            if not one.name.startswith("_") and not one.is_alias and (one.is_function or "property" in one.labels):
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
