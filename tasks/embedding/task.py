"""Embeddings of identities, wired together."""

from __future__ import annotations

from mobilenet_tf.data import transforms
from mobilenet_tf.data.augment import augmentation
from mobilenet_tf.data.source import Source
from mobilenet_tf.task import Task
from mobilenet_tf.tasks.embedding import data, report, sampling, verification
from mobilenet_tf.tasks.embedding import loss as losses
from mobilenet_tf.tasks.embedding.config import MARGINS, Config
from mobilenet_tf.tasks.embedding.export import deployable
from mobilenet_tf.tasks.embedding.inference import answers, similarity
from mobilenet_tf.tasks.embedding.metric import EmbeddingMetric
from mobilenet_tf.tasks.embedding.model import embedder
from mobilenet_tf.utils.errors import UserError


def source(cfg: Config, split: str) -> Source:
    """The samples of a split: "id", "image" uint8 [H, W, 3], "label" int32, an index into the split's identities.

    Raises UserError: see `data.read`; or the training split has too few identities for a batch.
    """
    keys = cfg.data.model_dump(exclude={"reader", "root", "augment", "crop_fraction", "pictures_per_identity"})
    found = data.read(cfg.data.reader, cfg.data.root, split, seed=cfg.seed, size=max(cfg.model.input_size), **keys)
    each = cfg.data.pictures_per_identity
    if split == "train" and each and len(found.classes) < cfg.train.batch_size // each:
        raise UserError(
            f"train.batch_size={cfg.train.batch_size} with data.pictures_per_identity={each} must have at least "
            f"{cfg.train.batch_size // each} identities to train on. Received: {len(found.classes)}"
        )
    return found


def transform(cfg: Config, training: bool):
    """Sample -> Sample with a float32 image [H, W, 3] of the input size, in 0..255."""
    size, part = cfg.model.input_size, cfg.data.crop_fraction
    if not training:
        return transforms.resize(size, part)
    change = augmentation(size, **cfg.data.augment.model_dump())
    return transforms.compose([transforms.resize(size, part), change]) if part else change


def order(cfg: Config):
    """Batches of identities with several pictures each, or None: batches as they come."""
    each = cfg.data.pictures_per_identity
    if each is None:
        return None
    return lambda items, seed: sampling.balanced_order(items["label"], seed, cfg.train.batch_size // each, each)


def model(cfg: Config, source: Source):
    """Images [N, H, W, 3] in 0..255 -> {"embedding": [N, D]} and, for losses with centres, "cosines" [N, C]."""
    keys = cfg.model.model_dump(exclude={"backbone"})
    return embedder(cfg.model.backbone, None if cfg.loss.name == "triplet" else len(source.classes), **keys)


def loss(cfg: Config):
    """fn(labels int [N], raw) -> scalar or [N]."""
    name, margin = cfg.loss.name, cfg.loss.margin
    keys = {"margin": MARGINS[name] if margin is None else margin}
    return losses.LOSSES[name](**keys if name == "triplet" else keys | {"scale": cfg.loss.scale})


def metric(cfg: Config, source: Source):
    """Of the listed pairs, or of pairs drawn from the split."""
    return EmbeddingMetric(source.ground_truth, cfg.verification.pairs, cfg.verification.threshold)


def tune(cfg: Config, metric: EmbeddingMetric) -> Config:
    """The config with the threshold that is best on the validation split, unless it names one."""
    if cfg.verification.threshold is not None:
        return cfg
    v = metric.verified
    threshold = round(verification.best_threshold(v.similarity, v.same), 4)
    return cfg.model_copy(update={"verification": cfg.verification.model_copy(update={"threshold": threshold})})


task = Task(
    **vars(answers),
    name="embedding",
    source=source,
    transform=transform,
    encode=lambda cfg, source: lambda batch: (batch["image"], batch["label"]),
    order=order,
    mix=lambda cfg: None,
    model=model,
    loss=loss,
    metric=metric,
    monitor=("roc_auc", "max"),
    report=report.report,
    deploy=lambda cfg, model: deployable(model),
    agree=lambda *pair: max(0.0, similarity(*pair)),
    distill=lambda cfg: losses.regression(),
    tune=tune,
    shared_classes=False,
)
