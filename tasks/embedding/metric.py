"""Verification and retrieval scores of the embeddings of a split."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from warnings import warn

import numpy as np

from mobilenet_tf import viz
from mobilenet_tf.task import Prediction, as_text
from mobilenet_tf.tasks.embedding import verification
from mobilenet_tf.tasks.embedding.pairs import Pairs, draw_pairs
from mobilenet_tf.utils.errors import UserError

FARS = (1e-1, 1e-2, 1e-3, 1e-4)
RANKS = (1, 5, 10)
MAX_QUERIES = 5000  # of the retrieval; they are drawn from larger splits
THUMBNAIL_PIXELS = 96  # the longer side
MAX_THUMBNAILS = 5000  # images that are stored for the sheet of the worst pairs


@dataclass(frozen=True)
class VerificationPairs:
    """The pairs of images of a split that verification is scored on."""

    indices: np.ndarray  # int64 [P, 2], of the two images of each pair
    similarity: np.ndarray  # float64 [P], the cosine of their embeddings
    same: np.ndarray  # bool [P], whether both show one identity
    fold: np.ndarray  # int [P], of the cross-validation


class EmbeddingMetric:
    """Collects the embeddings of a split; scores pairs of its images (those of a list, or drawn ones) and retrieval."""

    no_scores = ("threshold", "accuracy_deviation")

    def __init__(self, pairs: Pairs | None = None, limit: int = 200_000, threshold: float | None = None):
        """`limit`: the largest number of pairs that are drawn; a list is scored whole. `threshold`: the model's own."""
        self.listed, self.limit, self.threshold = pairs, limit, threshold
        self.ids: list[str] = []
        self.thumbnails: list[np.ndarray] = []  # uint8 [h, w, 3], of the first images
        self._labels: list[int] = []
        self._embeddings: list[np.ndarray] = []

    def update(self, sample: dict, prediction: Prediction) -> None:
        """Adds one image: "label" int, "id", perhaps "image"; `embedding` float32 [D] of unit length."""
        self.__dict__.pop("verified", None)
        self.ids.append(as_text(sample.get("id", b"")))
        self._labels.append(int(sample["label"]))
        self._embeddings.append(np.asarray(prediction["embedding"], np.float32))
        image = np.asarray(sample.get("image", 0))
        if image.ndim == 3 and image.shape[-1] == 3 and len(self.thumbnails) == len(self.ids) - 1 < MAX_THUMBNAILS:
            self.thumbnails.append(viz.thumbnail(image, THUMBNAIL_PIXELS))

    def merge(self, other: EmbeddingMetric) -> None:
        """Adds the samples of another metric, without its thumbnails."""
        self.__dict__.pop("verified", None)
        self.ids += other.ids
        self._labels += other._labels
        self._embeddings += other._embeddings

    @property
    def labels(self) -> np.ndarray:
        """The labels of the samples so far, int64 [N]."""
        return np.array(self._labels, np.int64)

    @cached_property
    def verified(self) -> VerificationPairs:
        """The pairs with their cosines. Raises UserError where there are too few of one kind."""
        embeddings = np.array(self._embeddings)
        bad = ~np.all(np.isfinite(embeddings), axis=-1) if len(embeddings) else np.zeros(0, bool)
        if bad.any():
            warn(
                f"{bad.sum()} of {len(bad)} embeddings hold NaN or infinity: they count as similar to no other",
                stacklevel=3,
            )
            embeddings[bad] = 0
        self._embeddings = list(embeddings)
        indices, same, fold = self._pairs()
        counts = (int(same.sum()), int((~same).sum()))
        if min(counts) < 2:
            raise UserError(
                "verification needs at least two pairs of the same and two of different identities. "
                f"Received: {counts[0]} and {counts[1]} pairs of {len(self.ids)} images"
            )
        similarity = np.einsum("nd,nd->n", embeddings[indices[:, 0]], embeddings[indices[:, 1]]).astype(np.float64)
        if fold is None or len(np.unique(fold)) < 2:
            fold = verification.draw_folds(same)
        return VerificationPairs(indices, similarity, same, fold)

    def _pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        if self.listed is None:
            return *draw_pairs(self.labels, self.limit), None
        index_of = {name: i for i, name in enumerate(self.ids)}
        sides = zip(self.listed.first, self.listed.second, strict=True)
        indices = np.array([(index_of.get(a, -1), index_of.get(b, -1)) for a, b in sides], np.int64)
        available = (indices >= 0).all(1)  # an image may be unreadable, or left out by --limit
        fold = None if self.listed.fold is None else self.listed.fold[available]
        return indices[available], self.listed.same[available], fold

    def result(self) -> dict[str, float]:
        """accuracy (LFW's: mean of 10 folds), accuracy_deviation (over the folds), threshold (best on all pairs),
        roc_auc, eer, tar_at_far_1e-01 ... 1e-04 where the different pairs are enough to measure it, recall_at_1, 5, 10,
        pairs and count; with a threshold of the model's own also accuracy_at_threshold, the accuracy it gives.
        """
        v = self.verified
        folds = verification.k_fold(v.similarity, v.same, v.fold)
        tars = {f"tar_at_far_{far:.0e}": verification.tar_at_far(v.similarity, v.same, far) for far in FARS}
        queries = np.sort(np.random.default_rng(0).permutation(len(self.ids))[:MAX_QUERIES])
        recalls = verification.recall_at(np.array(self._embeddings), self.labels, RANKS, queries)
        scores = {
            "roc_auc": verification.roc_auc(v.similarity, v.same),
            "accuracy": float(folds.mean()),
            "accuracy_deviation": float(folds.std()),
            "eer": verification.equal_error_rate(v.similarity, v.same),
            **{name: value for name, value in tars.items() if value is not None},
            **{f"recall_at_{k}": value for k, value in zip(RANKS, recalls, strict=True)},
            "threshold": verification.best_threshold(v.similarity, v.same),
            "pairs": len(v.same),
            "count": len(self.ids),
        }
        if self.threshold is not None:
            scores["accuracy_at_threshold"] = verification.accuracy(v.similarity, v.same, self.threshold)
        return scores

    def worst(self, count: int) -> list[tuple[int, int, bool, float]]:
        """(index, index, same, similarity) of the least similar same pairs, then of the most similar different ones."""
        v = self.verified
        has_thumbnails = (v.indices < len(self.thumbnails)).all(1)
        worst = []
        for part, sign in ((v.same, 1), (~v.same, -1)):
            candidates = np.flatnonzero(part & has_thumbnails)
            for i in candidates[np.argsort(sign * v.similarity[candidates], kind="stable")[:count]]:
                worst.append((*map(int, v.indices[i]), bool(v.same[i]), float(v.similarity[i])))
        return worst
