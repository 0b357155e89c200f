"""What the names of folders mean: which split, and which names are one class in other letters. No TensorFlow."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Mapping

from mobilenet_tf.config import Split
from mobilenet_tf.data.splits import SPLIT_NAMES

WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+")  # of seg_train, train2017, TestImages, TRAIN
FILLERS = {"set", "data", "dataset", "images", "image", "imgs", "img", "pictures", "photos", "samples", "split"}


def standard_form(name: str) -> str:
    """A name as it is stored: composed (NFC; archives made on a Mac decompose), without blanks around it."""
    return unicodedata.normalize("NFC", name).strip()


def folded(name: str) -> str:
    """What names have in common that differ in upper and lower case, blanks around them or Unicode form alone."""
    return unicodedata.normalize("NFC", standard_form(name).casefold())


def matcher(known: Collection[str]) -> Callable[[str], str]:
    """match(name): the one of the `known` names that a name means, else the name itself, both in standard form."""
    alike: dict[str, set[str]] = {}
    for name in map(standard_form, known):
        alike.setdefault(folded(name), set()).add(name)

    def match(name: str) -> str:
        name = standard_form(name)
        others = alike.get(folded(name), set())
        return next(iter(others)) if len(others) == 1 else name

    return match


def split_of_name(name: str) -> tuple[Split, tuple[str, ...]] | None:
    """(the split that a folder's name speaks of, the other words in it), as ("train", ("seg",)) for seg_train.

    Words such as "images" and numbers do not count. None for a name that speaks of no split, or of more than one.
    """
    words = [word.casefold() for word in WORD.findall(standard_form(name))]
    splits: set[Split] = {split for word in words if (split := _split_of_word(word))}
    if len(splits) != 1:
        return None
    return splits.pop(), tuple(word for word in words if not _split_of_word(word) and word not in FILLERS)


def _split_of_word(word: str) -> Split | None:
    for filler in ("", *FILLERS):  # trainset, testdata
        if word.endswith(filler) and (split := SPLIT_NAMES.get(word[: len(word) - len(filler)])):
            return split
    return None


def splits_of_names(names: Collection[str]) -> Mapping[str, Split]:
    """{name: split} of the folders in one folder whose names speak of a split.

    Further words, as in seg_train, must be the same for two splits; "steam train" alone is no split.
    """
    found = {name: parsed for name in names if (parsed := split_of_name(name))}
    splits_with = {rest: {split for split, other in found.values() if other == rest} for _, rest in found.values()}
    return {name: split for name, (split, rest) in found.items() if not rest or len(splits_with[rest]) > 1}
