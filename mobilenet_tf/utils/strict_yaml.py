"""YAML as configs may use it: plain values, every key once, and no document that grows when it is read."""

from __future__ import annotations

from typing import Any

import yaml

MAX_ALIASES = 100
MAX_CHARACTERS = 1_000_000


def parse(text: str) -> Any:
    """Returns the plain values of a YAML document.

    Raises yaml.YAMLError with the line: no YAML, a key that is there twice, too long a document or too many aliases.
    """
    if len(text) > MAX_CHARACTERS:
        raise yaml.YAMLError(f"it must have at most {MAX_CHARACTERS:,} characters. Received: {len(text):,}")
    return yaml.load(text, Loader=_Loader)  # a SafeLoader


class _Loader(yaml.SafeLoader):
    aliases = 0

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            self.aliases += 1
            if self.aliases > MAX_ALIASES:
                raise yaml.YAMLError(f"it must have at most {MAX_ALIASES} aliases")
        return super().compose_node(parent, index)

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key_node.tag == "tag:yaml.org,2002:merge" or not isinstance(key_node, yaml.ScalarNode):
                continue
            if key_node.value in seen:
                line = key_node.start_mark.line + 1
                raise yaml.YAMLError(f"every key must be there once. Received: {key_node.value} again in line {line}")
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)
