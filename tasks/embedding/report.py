"""Plots and tables of a finished evaluation of embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mobilenet_tf import viz
from mobilenet_tf.tasks.embedding import verification
from mobilenet_tf.utils import files

WORST_PAIRS = 9  # of each kind on the sheet


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
    captions = [f"{'same' if row['same'] else 'different'} {row['similarity']:.2f}\n{row[side][-40:]}"
                for row in rows for side in "ab"]  # fmt: skip
    images = [metric.thumbnails[index] for a, b, *_ in worst for index in (a, b)]
    sheet = viz.sheet(images, captions, folder / "worst_pairs.png", columns=6, cell=160)
    return [*written, sheet, files.write_csv(folder / "worst_pairs.csv", rows)]
