"""Plots and tables of a finished evaluation of embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mobilenet_tf import viz
from mobilenet_tf.tasks.embedding import verification
from mobilenet_tf.utils import files

WORST_PAIRS = 9  # of each kind on the sheet
GAP = 3  # pixels between the images of a pair


def report(metric, classes: Sequence[str], folder: str | Path) -> list[Path]:
    """Writes roc.png, similarity.png, worst_pairs.csv and, where images were stored, worst_pairs.png."""
    folder, v = Path(folder), metric.verified
    _, far, tar = verification.rates(v.similarity, v.same)
    auc = verification.roc_auc(v.similarity, v.same)
    written = [
        viz.roc(far, tar, folder / "roc.png", title=f"Verification of {len(v.same):,} pairs, ROC AUC {auc:.4f}"),
        viz.distributions(
            {"same identity": v.similarity[v.same], "different": v.similarity[~v.same]},
            folder / "similarity.png",
            title="Cosines of pairs",
            mark=("best threshold", verification.best_threshold(v.similarity, v.same)),
        ),
    ]
    worst = metric.worst(WORST_PAIRS)
    rows = [
        {"a": metric.ids[a], "b": metric.ids[b], "same": int(same), "similarity": round(similarity, 4)}
        for a, b, same, similarity in worst
    ]
    if not rows:
        return written
    captions = [f"cosine {row['similarity']:.2f}\n{row['a'][-48:]}\n{row['b'][-48:]}" for row in rows]
    images = [_side_by_side(metric.thumbnails[a], metric.thumbnails[b]) for a, b, *_ in worst]
    same = sum(row["same"] for row in rows)
    sections = [("One identity, least alike", same), ("Two identities, most alike", len(rows) - same)]
    shown = [section for section in sections if section[1]]
    sheet = viz.sheet(images, captions, folder / "worst_pairs.png", columns=3, cell=330, sections=shown)
    return [*written, sheet, files.write_csv(folder / "worst_pairs.csv", rows)]


def _side_by_side(*images: np.ndarray) -> np.ndarray:
    """Two images of any sizes as one of their height, with a white line between them."""
    drawn = [Image.fromarray(image) for image in images]
    height = max(image.height for image in drawn)
    drawn = [image.resize((max(1, image.width * height // image.height), height)) for image in drawn]
    pair = Image.new("RGB", (sum(image.width for image in drawn) + GAP, height), viz.PAPER)
    pair.paste(drawn[0], (0, 0))
    pair.paste(drawn[1], (drawn[0].width + GAP, 0))
    return np.asarray(pair)
