"""What could not be read of a source, in one line: scores are of the other samples."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

from mobilenet_tf.data.source import Source, user_errors
from mobilenet_tf.utils.console import readable

FEW = 8  # classes that are named


def skipped_line(source: Source) -> str | None:
    """How many samples were skipped so far, of which classes and why; None where there are none.

    Classes are counted where each sample has one, its "label".
    """
    if not source.corrupt:
        return None
    spec: Any = source.items.element_spec  # a dict by the Sample convention
    label = spec.get("label")
    has_class = label is not None and not label.shape.rank and label.dtype.is_integer
    all_of, skipped = Counter(), {}
    with user_errors():
        for record in source.items.as_numpy_iterator():
            item: Any = record
            name = os.fsdecode(bytes(item.get("path", item["id"])))  # what was read is a path where there is one
            of_class = source.classes[int(item["label"])] if has_class else ""
            all_of[of_class] += 1
            if name in source.corrupt:
                skipped[name] = of_class
    if not skipped:
        return None
    example = min(skipped)
    counts = Counter(skipped.values())
    classes = ", ".join(f"{name} {count} of {all_of[name]}" for name, count in counts.most_common(FEW))
    more = ", …" if len(counts) > FEW else ""
    return readable(
        f"{len(skipped)} of {all_of.total()} images cannot be read and are skipped"
        f"{f' ({classes}{more})' if has_class else ''}, such as {example}: {source.corrupt[example]}"
    )
