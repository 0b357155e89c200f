"""What is wrong with a config, in one line a mistake: the key, what it must be, what was received."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

Section = type[BaseModel]


def explain(error: Any, config: Section) -> str:
    """One of a ValidationError's `errors()` as a line for the user.

    config: the class that was validated; its fields name the keys.
    """
    key = ".".join(_keys_of(error["loc"], config))
    if error["type"] == "extra_forbidden":
        return _unknown_key(key, config)
    if error["type"] == "union_tag_not_found":
        return f"{key} must have a key 'name' that says which one it is. Received: {error['input']!r}"
    if error["type"] == "union_tag_invalid":
        names = error["ctx"]["expected_tags"].replace("'", "").split(", ")
        return f"{key}.name must be {', '.join(names[:-1])} or {names[-1]}. Received: {error['ctx']['tag']}"
    received = "" if error["type"] == "missing" else f". Received: {error['input']!r}"
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input ").replace("should", "must")
    if not key or message.startswith(f"{key}."):  # a check of a whole section names its keys itself
        return message
    return f"{key} {message}{received}"


def _keys_of(location: Sequence[str | int], config: Section) -> Iterator[str]:
    """The user's keys in a pydantic location, which also holds the tags of unions and the types it tried."""
    annotations: list[Any] = [config]
    for part in location:
        sections = [section for annotation in annotations for section in _sections(annotation)]
        fields = [section.model_fields[part].annotation for section in sections if part in section.model_fields]
        mappings = [values for annotation in annotations for values in _mapping_values(annotation)]
        if isinstance(part, int):
            yield str(part)
        elif fields:
            yield part
            annotations = fields
        elif part == "[key]":  # what stands before it is the key itself
            continue
        elif mappings:
            yield part
            annotations = mappings
        elif part == location[-1] and sections:  # a key that no section knows
            yield part


def types_of(key: str, config: Section) -> set[Any]:
    """The plain types that the value of a dotted key may have, such as {Path, NoneType}; choices have their type.

    Empty where there is no such key.
    """
    annotations: list[Any] = [config]
    for part in key.split("."):
        if part.isdigit():
            continue
        sections = [section for annotation in annotations for section in _sections(annotation)]
        fields = [section.model_fields[part].annotation for section in sections if part in section.model_fields]
        annotations = fields or [values for annotation in annotations for values in _mapping_values(annotation)]
    return {plain for annotation in annotations for plain in _plain_types(annotation)}


def _plain_types(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Literal:
        return [type(choice) for choice in get_args(annotation)]
    if get_origin(annotation) in (Union, UnionType, Annotated):
        return [plain for argument in get_args(annotation) for plain in _plain_types(argument)]
    return [annotation]


def _mapping_values(annotation: Any) -> list[Any]:
    """The types of the values of the mappings among a type and the types it is made of."""
    arguments = get_args(annotation)
    if get_origin(annotation) is dict:
        return [arguments[1]]
    return [values for argument in arguments for values in _mapping_values(argument)]


def _unknown_key(key: str, config: Section) -> str:
    """The message for a key that no section knows: similar names beside it, else elsewhere, else all beside it."""
    keys = _all_keys(config)
    parent, _, name = ".".join(part for part in key.split(".") if not part.isdigit()).rpartition(".")
    siblings = sorted({known for known in keys if known.rpartition(".")[0] == parent})
    for candidates in (siblings, keys):
        names = {known.rpartition(".")[2]: known for known in candidates}
        near = [names[match] for match in difflib.get_close_matches(name, names, n=3, cutoff=0.6)]
        if near:
            return f"unknown key {key} (nearest: {', '.join(near)})"
    return f"unknown key {key} (known here: {', '.join(siblings)})"


def _all_keys(section: Section, prefix: str = "") -> list[str]:
    """All dotted keys of a config class, unions and lists included; list indices and tags are left out."""
    keys = []
    for name, field in section.model_fields.items():
        keys.append(prefix + name)
        for inner in _sections(field.annotation):
            keys += _all_keys(inner, f"{prefix}{name}.")
    return list(dict.fromkeys(keys))


def _sections(annotation: Any) -> list[Section]:
    """The sections among a type and the types it is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for argument in get_args(annotation) for section in _sections(argument)]
