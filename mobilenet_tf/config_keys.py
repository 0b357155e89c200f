"""Every config key with what it may hold, its default and its description, from the fields of the config classes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import MinLen
from pydantic_core import PydanticUndefined, to_jsonable_python

from mobilenet_tf.config import Duration, Section

WORDS = {int: "whole number", float: "number", str: "text", Path: "path", Duration: "duration"}
BOUNDS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


@dataclass(frozen=True)
class Row:
    """A config key as one row of a table; what stands in YAML is in backticks, the key itself aside."""

    key: str
    values: str
    default: str
    description: str

    @property
    def section(self) -> str:
        """The first part of the key; nothing for keys at the top."""
        return self.key.partition(".")[0] if "." in self.key else ""


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
            yield Row(key, values(field.annotation, field.metadata), shown(default), description)
        elif get_origin(field.annotation) is list:
            yield from rows(inner[0], f"{key}.N.")
        elif len(inner) == 1:
            yield from rows(inner[0], f"{key}.", default if isinstance(default, Section) else None)
        else:
            names = [one.model_fields["name"].default for one in inner]
            yield Row(f"{key}.name", alternatives(names), shown(default.name), "Which of these it is")
            for one, label in zip(inner, names, strict=True):
                found = rows(one, f"{key}.", kind=label)
                yield from (row for row in found if row.key != f"{key}.name")


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
    return " ".join([WORDS[annotation], ", ".join(bounds)]).strip()


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


def code(value: str) -> str:
    """What stands so in YAML."""
    return f"`{value}`"
