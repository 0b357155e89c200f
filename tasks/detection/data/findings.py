"""What is wrong with an annotated set, one line a finding, and what is done about it."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mobilenet_tf.utils.errors import UserError

MAX_WARNINGS = 5  # of a kind of finding, before training

KINDS = {
    # images
    "not an image": "left out",
    "no image id": "left out",
    "no file name": "left out",
    "duplicate image id": "left out",
    "missing image": "left out",
    "unreadable image": "left out",
    "same file twice": "kept",
    "no usable size": "read from the file",
    "other image size": "boxes are scaled",
    "other image shape": "left out",
    "stored sideways": "boxes are turned with the image",
    "unclear orientation": "boxes are taken to be those of the image as it is shown",
    # boxes
    "not an annotation": "left out",
    "unknown image": "left out",
    "unknown category": "left out",
    "shifted categories": "taken as they stand",
    "key points only": "left out",
    "no box": "left out",
    "not a box": "left out",
    "not finite": "left out",
    "no area": "left out",
    "copied annotation": "left out",
    "same box twice": "kept",
    "outside the image": "clipped",
    "one pixel": "kept",
    "boxes like corners": "taken for x, y, width, height all the same",
    "no usable iscrowd": "taken for a single object",
    "boxes from outlines": "computed",
    # classes and sets
    "root category": "left out",
    "category twice": "left out",
    "no boxes": "kept as a negative",
    "class without boxes": "never learned",
}

UNNAMED = ("not an image", "no image id", "no file name", "duplicate image id")  # images whose files nobody looks for


@dataclass(frozen=True)
class Finding:
    """One remark; `where` names the file and the annotation or image id."""

    kind: str  # a key of KINDS
    where: str
    received: str = ""

    def __str__(self) -> str:
        received = f" ({self.received})" if self.received else ""
        return f"{self.where}: {self.kind}{received}, {KINDS[self.kind]}"

    @property
    def left_out(self) -> bool:
        """Whether an image or box is lost by it."""
        return KINDS[self.kind] == "left out"


def warn(findings: Iterable[Finding], quiet: Sequence[str] = ("no boxes",)) -> None:
    """One warning a finding, the first few of each kind; kinds in `quiet`, which are no faults, are left out."""
    kinds: dict[str, list[Finding]] = {}
    for finding in findings:
        kinds.setdefault(finding.kind, []).append(finding)
    for kind, of_kind in kinds.items():
        if kind in quiet:
            continue
        for finding in of_kind[:MAX_WARNINGS]:
            warnings.warn(str(finding), stacklevel=3)
        if len(of_kind) > MAX_WARNINGS:
            warnings.warn(f"{len(of_kind) - MAX_WARNINGS} more: {kind}; check-data lists them", stacklevel=3)


def none_left(what: str, where: Path, findings: Sequence[Finding], hint: str = "") -> UserError:
    """The error for a file of which every image or box (`what`) was left out: how many for which reason."""
    out = [finding for finding in findings if finding.left_out]
    kinds = Counter(finding.kind for finding in out).most_common()
    reasons = ", ".join(f"{count} x {kind}" for kind, count in kinds)
    received = f"{len(out)} {what}, all left out: {reasons}; the first {out[0].where}: {out[0].received or out[0].kind}"
    return UserError(f"{where} must have {what} that can be used. Received: {received}{hint}")
