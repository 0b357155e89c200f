"""Embeddings of identities, wired together."""

from __future__ import annotations

from mobilenet_tf import task as base
from mobilenet_tf.data import transforms
from mobilenet_tf.data.augment import augmentation
from mobilenet_tf.tasks.embedding import data, sampling, verification
from mobilenet_tf.tasks.embedding import loss as losses
from mobilenet_tf.tasks.embedding.config import MARGINS, Config
from mobilenet_tf.tasks.embedding.export import serving_model
from mobilenet_tf.tasks.embedding.inference import Inference, similarity
from mobilenet_tf.tasks.embedding.metric import EmbeddingMetric
from mobilenet_tf.tasks.embedding.model import embedder
from mobilenet_tf.tasks.embedding.report import report
from mobilenet_tf.utils.errors import UserError


class Task(Inference, base.Task[Config]):
    """A vector an image, near to those of other images of the same identity."""

    name = "embedding"
    closed_set = False

    def source(self, split):
        """The samples of a split: "id", "image" uint8 [H, W, 3], "label" int32, an index into the split's identities.

        Raises UserError: see `data.read`; or the training split has too few identities for a batch.
        """
        cfg = self.cfg
        source = data.read(cfg.data, split, seed=cfg.seed, size=max(cfg.model.input_size))
        each = cfg.data.images_per_identity
        if split == "train" and each and len(source.classes) < cfg.train.batch_size // each:
            raise UserError(
                f"train.batch_size={cfg.train.batch_size} with data.images_per_identity={each} must have at least "
                f"{cfg.train.batch_size // each} identities to train on. Received: {len(source.classes)}"
            )
        return source

    def transform(self, training):
        """Sample -> Sample with a float32 image [H, W, 3] of the input size, in 0..255."""
        size, part = self.cfg.model.input_size, self.cfg.data.crop_fraction
        if not training:
            return transforms.resize(size, part)
        change = augmentation(size, self.cfg.data.augment)
        return transforms.compose([transforms.resize(size, part), change]) if part else change

    def encode(self, source):
        """Batch of samples -> (images [N, H, W, 3], labels int32 [N])."""
        return lambda batch: (batch["image"], batch["label"])

    def sampler(self):
        """Batches of identities with several images each; None: batches as they come."""
        each = self.cfg.data.images_per_identity
        if each is None:
            return None
        identities = self.cfg.train.batch_size // each
        return lambda items, seed: sampling.balanced_order(items["label"], seed, identities, each)

    def model(self, source):
        """Images [N, H, W, 3] in 0..255 -> {"embedding": [N, D]} and, for losses with centers, "cosines" [N, C]."""
        cfg = self.cfg
        options = cfg.model.model_dump(exclude={"backbone"})
        return embedder(cfg.model.backbone, None if cfg.loss.name == "triplet" else len(source.classes), **options)

    def loss(self):
        """fn(labels int [N], raw) -> scalar or [N]."""
        name, margin = self.cfg.loss.name, self.cfg.loss.margin
        options = {"margin": MARGINS[name] if margin is None else margin}
        return losses.LOSSES[name](**options if name == "triplet" else options | {"scale": self.cfg.loss.scale})

    def metric(self, source):
        """Of the listed pairs, or of pairs drawn from the split."""
        options = self.cfg.verification
        return EmbeddingMetric(source.ground_truth, options.pairs, options.threshold)

    def report(self, metric, classes, folder):
        return report(metric, classes, folder)

    def annotation(self, sample, classes):
        """The image and the name of its identity."""
        label = int(sample["label"])
        return base.drawable(sample["image"]), classes[label] if label < len(classes) else str(label)

    def serving_model(self, model):
        return serving_model(model)

    def agreement(self, reference, candidate):
        """The cosine of the two embeddings, 0 where it is negative."""
        return max(0.0, similarity(reference, candidate))

    def distillation_loss(self):
        return losses.regression()

    def calibrate_thresholds(self, metric):
        """The config with the threshold that is best on the validation split, unless it names one."""
        cfg = self.cfg
        if cfg.verification.threshold is not None:
            return cfg
        threshold = round(verification.best_threshold(metric.verified.similarity, metric.verified.same), 4)
        return cfg.model_copy(update={"verification": cfg.verification.model_copy(update={"threshold": threshold})})


task = Task
