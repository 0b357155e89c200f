"""Losses against their definitions, at their corners too; distillation, decoding and comparing."""

import math

import numpy as np
import pytest
import tensorflow as tf

from mobilenet_tf.tasks.embedding import inference, loss
from mobilenet_tf.utils.errors import UserError

rng = np.random.default_rng(0)


def unit(*shape):
    x = rng.normal(size=shape).astype(np.float32)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def brute_force(labels, embeddings, margin):
    losses = []
    distance = ((embeddings[:, None] - embeddings) ** 2).sum(-1)
    for a in range(len(labels)):
        negatives = [distance[a, n] for n in range(len(labels)) if labels[n] != labels[a]]
        for p in range(len(labels)):
            if p != a and labels[p] == labels[a] and negatives:
                beyond = [d for d in negatives if d > distance[a, p]]
                losses.append(max(0, distance[a, p] - (min(beyond) if beyond else max(negatives)) + margin))
    return np.mean(losses) if losses else 0.0


@pytest.mark.parametrize("margin", [0.2, 1.0])
@pytest.mark.parametrize("identities", [2, 4, 12])
def test_triplet_is_the_mean_over_all_pairs_of_one_identity(identities, margin):
    labels, embeddings = rng.integers(0, identities, 24), unit(24, 5)
    found = loss.triplet(margin)(tf.constant(labels), {"embedding": tf.constant(embeddings)})
    assert found.numpy() == pytest.approx(brute_force(labels, embeddings, margin), rel=1e-5)


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [5, 5, 5, 5], [7]], ids=["no pair", "no other", "one picture"])
def test_a_batch_without_triplets_costs_nothing_and_moves_nothing(labels):
    embeddings = tf.Variable(unit(len(labels), 4))
    with tf.GradientTape() as tape:
        value = loss.triplet()(tf.constant(labels), {"embedding": embeddings})
    assert value == 0
    np.testing.assert_array_equal(tf.convert_to_tensor(tape.gradient(value, embeddings)), np.zeros((len(labels), 4)))


def test_triplet_gradients_are_finite_where_pictures_coincide():
    embeddings = tf.Variable(np.repeat(unit(2, 4), 3, 0))
    with tf.GradientTape() as tape:
        value = loss.triplet(5.0)(tf.constant([0, 0, 0, 0, 1, 1]), {"embedding": embeddings})
    assert value > 0 and np.isfinite(tape.gradient(value, embeddings)).all()


def softmax_loss(cosines, labels, scale, change):
    logits = cosines.astype(np.float64).copy()
    rows = np.arange(len(labels))
    logits[rows, labels] = change(logits[rows, labels])
    logits *= scale
    return np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1)) + logits.max(1) - logits[rows, labels]


@pytest.mark.parametrize("margin", [0.0, 0.3, 0.5])
def test_arcface_widens_the_own_angle(margin):
    cosines, labels = rng.uniform(-0.85, 0.99, (20, 6)).astype(np.float32), rng.integers(0, 6, 20)
    found = loss.arcface(margin, 16.0)(tf.constant(labels), {"cosines": tf.constant(cosines)})
    expected = softmax_loss(cosines, labels, 16.0, lambda c: np.cos(np.arccos(c) + margin))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_arcface_falls_on_beyond_the_half_turn_and_stays_finite_at_its_ends():
    cosines = tf.Variable(np.linspace(-1, 1, 201, dtype=np.float32)[:, None])
    others = tf.zeros([201, 1])
    with tf.GradientTape() as tape:
        raw = {"cosines": tf.concat([cosines, others], 1)}
        value = loss.arcface(0.5, 4.0)(tf.zeros([201], tf.int32), raw)
    gradient = tape.gradient(value, cosines)
    assert np.isfinite(gradient).all() and (np.diff(value) < 0).all(), "a larger cosine is always better"
    assert value[-1].numpy() == pytest.approx(math.log1p(math.exp(-4 * math.cos(0.5))), rel=1e-3)


def test_cosface_takes_the_margin_from_the_own_cosine():
    cosines, labels = rng.uniform(-1, 1, (20, 6)).astype(np.float32), rng.integers(0, 6, 20)
    found = loss.cosface(0.35, 30.0)(tf.constant(labels), {"cosines": tf.constant(cosines)})
    np.testing.assert_allclose(found, softmax_loss(cosines, labels, 30.0, lambda c: c - 0.35), rtol=1e-4, atol=1e-5)


def test_distillation_pulls_to_the_teachers_embedding_and_names_a_wrong_length():
    teacher, student = unit(5, 8), unit(5, 8)
    found = loss.regression()({"embedding": teacher, "cosines": unit(5, 3)}, {"embedding": student})
    np.testing.assert_allclose(found, ((teacher - student) ** 2).sum(-1) / 2, atol=1e-6)
    np.testing.assert_allclose(loss.regression()(teacher, teacher), 0, atol=1e-6)
    with pytest.raises(UserError, match="model.dimension must be that of the teacher's embedding, 8. .*dimension=4"):
        loss.regression()(tf.constant(teacher), {"embedding": tf.constant(unit(5, 4))})


def test_decoded_embeddings_have_unit_length_and_compare():
    raw = np.array([[3, 4], [0.5, 0], [0, 0]], np.float32)
    first, second, nothing = inference.decode({"embedding": raw, "cosines": raw})
    np.testing.assert_allclose(first["embedding"], [0.6, 0.8])
    assert inference.similarity(first, second) == pytest.approx(0.6) and inference.similarity(first, nothing) == 0
    assert inference.compare(0.7, first, second)["same"] is False
    assert inference.to_row(inference.compare(0.5, first, second)) == {
        "similarity": 0.6,
        "same": True,
        "threshold": 0.5,
    }
    assert set(inference.to_row(inference.compare(None, first, second))) == {"similarity"}
