"""What an embedding is trained on: losses and distillation."""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf

from mobilenet_tf.tasks.embedding.inference import EMBEDDING, vectors
from mobilenet_tf.tasks.embedding.model import COSINES
from mobilenet_tf.utils.errors import UserError

EPSILON = 1e-7  # keeps the gradient of the sine finite where a cosine is 1


def triplet(margin: float = 0.2) -> Callable:
    """fn(labels int [N], {"embedding": unit vectors [N, D]}) -> scalar: FaceNet's loss with semi-hard negatives.

    Each pair of one identity is compared with the nearest image of another identity that is farther from the anchor
    than the pair's other image; where there is none, with the farthest image of another identity. Mean over
    these pairs of max(0, d²(a, p) - d²(a, n) + margin); 0 for a batch without triplets.
    Source: Schroff et al. 2015 (arXiv:1503.03832), 3.1 and 3.2.
    """

    def compute(labels, raw):
        embeddings = tf.cast(raw[EMBEDDING], tf.float32)
        distances = 2 - 2 * tf.matmul(embeddings, embeddings, transpose_b=True)  # squared, [N, N]
        alike = labels[:, None] == labels[None, :]
        positive = alike & tf.logical_not(tf.eye(tf.size(labels), dtype=tf.bool))
        apart = distances[:, :, None]  # of anchor and positive
        others = distances[:, None, :]  # of anchor and negative
        unlike = ~alike[:, None, :]
        infinite = tf.constant(math.inf)
        semi_hard = tf.reduce_min(tf.where(unlike & (others > apart), others, infinite), -1)  # [N, N]
        farthest = tf.reduce_max(tf.where(~alike, distances, -infinite), -1, keepdims=True)  # [N, 1]
        negative = tf.where(tf.math.is_finite(semi_hard), semi_hard, farthest)
        valid = positive & tf.math.is_finite(negative)
        gap = distances - tf.where(valid, negative, 0.0) + margin
        losses = tf.where(valid, tf.nn.relu(gap), 0.0)
        return tf.math.divide_no_nan(tf.reduce_sum(losses), tf.math.count_nonzero(valid, dtype=tf.float32))

    return compute


def arcface(margin: float = 0.5, scale: float = 64.0) -> Callable:
    """fn(labels int [N], {"cosines": [N, C]}) -> [N]: softmax cross entropy with an angular margin.

    The margin is added to the angle between an embedding and the center of its class. Beyond pi - margin, where the
    cosine would rise again, it falls on as a straight line (insightface's rule).
    Source: Deng et al. 2019 (arXiv:1801.07698), eq. 3.
    """

    def widened(cosines):
        sines = tf.sqrt(tf.maximum(1 - cosines * cosines, EPSILON))
        turned = cosines * math.cos(margin) - sines * math.sin(margin)
        return tf.where(cosines > -math.cos(margin), turned, cosines - margin * math.sin(margin))

    return _softmax(widened, scale)


def cosface(margin: float = 0.35, scale: float = 64.0) -> Callable:
    """fn(labels int [N], {"cosines": [N, C]}) -> [N]: softmax cross entropy with a margin on the cosine.

    The margin is subtracted from the cosine between an embedding and the center of its class.

    Source: Wang et al. 2018 (arXiv:1801.09414), eq. 4; without a margin NormFace, Wang et al. 2017.
    """
    return _softmax(lambda cosines: cosines - margin, scale)


def _softmax(change, scale):
    def compute(labels, raw):
        cosines = tf.cast(raw[COSINES], tf.float32)
        is_label = tf.one_hot(labels, cosines.shape[-1], on_value=True, off_value=False, dtype=tf.bool)
        logits = scale * tf.where(is_label, change(cosines), cosines)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)

    return compute


LOSSES = {"triplet": triplet, "arcface": arcface, "cosface": cosface}


def regression() -> Callable:
    """fn(teacher's raw outputs, student's) -> [N]: 1 - the cosine of their embeddings, half their squared distance.

    Source: Howard et al. 2017 (arXiv:1704.04861), 4.7: FaceNet's embedding regressed onto by squared differences.
    Raises UserError where the two differ in length.
    """

    def compute(teacher, student):
        teacher, student = (tf.cast(vectors(raw), tf.float32) for raw in (teacher, student))
        if teacher.shape[-1] != student.shape[-1]:
            raise UserError(
                f"model.dimension must be that of the teacher's embedding, {teacher.shape[-1]}. "
                f"Received: model.dimension={student.shape[-1]}"
            )
        return 1 - tf.reduce_sum(tf.math.l2_normalize(teacher, -1) * tf.math.l2_normalize(student, -1), -1)

    return compute
