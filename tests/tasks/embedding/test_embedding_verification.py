"""Verification scores against brute force and by hand; pairs drawn and read; retrieval."""

import numpy as np
import pytest
from PIL import Image
from sections import reader_of

from mobilenet_tf.tasks.embedding import report, verification
from mobilenet_tf.tasks.embedding.metric import EmbeddingMetric
from mobilenet_tf.tasks.embedding.pairs import Pairs, _unrank, draw_pairs, read_pairs
from mobilenet_tf.utils.errors import UserError

rng = np.random.default_rng(0)


@pytest.fixture(params=[3, 40, 10**6], ids=["many ties", "some ties", "no ties"])
def scored(request):
    """(similarity [P], same [P]); the first parameter says how many values the similarities take."""
    same = rng.random(700) < 0.4
    similarity = np.round((rng.normal(size=700) + 0.9 * same) * request.param / 8) / request.param
    return similarity, same


def test_auc_is_the_chance_of_the_right_order(scored):
    similarity, same = scored
    gaps = similarity[same][:, None] - similarity[~same]
    assert verification.roc_auc(similarity, same) == pytest.approx(
        (gaps > 0).mean() + (gaps == 0).mean() / 2, abs=1e-12
    )


@pytest.mark.parametrize("far", [0.3, 0.1, 0.01])
def test_tar_at_far_is_the_best_of_all_thresholds(scored, far):
    similarity, same = scored
    thresholds = [*np.unique(similarity), np.inf]
    best = max((similarity[same] >= t).mean() for t in thresholds if (similarity[~same] >= t).mean() <= far)
    assert verification.tar_at_far(similarity, same, far) == pytest.approx(best, abs=1e-12)


def test_a_far_that_cannot_be_measured_has_no_tar():
    same = np.arange(1100) < 100
    assert verification.tar_at_far(rng.normal(size=1100), same, 1e-4) is None
    assert verification.tar_at_far(np.where(same, 1.0, 0.0), same, 1e-3) == 1
    assert verification.tar_at_far(np.zeros(1100), same, 1e-3) == 0, "equal similarities earn nothing"


def test_the_best_threshold_is_the_best_of_all(scored):
    similarity, same = scored
    chosen = verification.best_threshold(similarity, same)
    best = max(verification.accuracy(similarity, same, t) for t in np.unique(similarity))
    assert verification.accuracy(similarity, same, chosen) == pytest.approx(best, abs=1e-12)


def test_equal_error_rate_by_hand():
    similarity = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2])
    same = np.array([1, 1, 0, 1, 1, 0, 0, 0], bool)  # at 0.6 one of four is wrong on each side
    assert verification.equal_error_rate(similarity, same) == pytest.approx(0.25)
    assert verification.equal_error_rate(similarity, similarity > 0.5) == 0
    assert verification.equal_error_rate(np.ones(8), same) == pytest.approx(0.5)


def test_ten_folds_by_hand():
    """Fold 0 is apart at 0.5, fold 1 at 0.1: the threshold of one is wrong for half of the other's pairs."""
    similarity = np.array([0.6, 0.7, 0.4, 0.3, 0.2, 0.15, 0.0, 0.05])
    same = np.array([1, 1, 0, 0, 1, 1, 0, 0], bool)
    fold = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    assert verification.best_threshold(similarity[:4], same[:4]) == pytest.approx(0.5)
    assert verification.best_threshold(similarity[4:], same[4:]) == pytest.approx(0.1)
    np.testing.assert_allclose(verification.k_fold(similarity, same, fold), [0.5, 0.5])
    drawn = verification.draw_folds(rng.random(1000) < 0.1)
    assert set(drawn) == set(range(10)) and np.bincount(drawn).min() >= 99


@pytest.mark.parametrize("ties", [False, True])
def test_recall_against_brute_force(ties):
    embeddings = rng.normal(size=(60, 3))
    embeddings = np.round(embeddings) if ties else embeddings
    labels = rng.integers(0, 25, 60)
    queries = np.arange(0, 60, 2)
    found, counted = np.zeros(3), 0
    for query in queries:
        others = [i for i in range(60) if i != query]
        others.sort(key=lambda i: (-(embeddings[query] @ embeddings[i]), labels[i] == labels[query]))
        hits = [labels[i] == labels[query] for i in others]
        counted += any(hits)
        found += [any(hits[:k]) for k in (1, 5, 10)]
    expected = found / counted
    np.testing.assert_allclose(verification.recall_at(embeddings, labels, (1, 5, 10), queries), expected)


# Pairs


def test_all_pairs_are_taken_where_they_are_few():
    labels = np.array([0, 0, 1, 1, 1])
    places, same = draw_pairs(labels, 10)
    assert {tuple(p) for p in places} == {(i, j) for j in range(5) for i in range(j)}
    np.testing.assert_array_equal(same, labels[places[:, 0]] == labels[places[:, 1]])
    ranks = np.array([0, 1, 2, 10**13 - 1, 10**13], np.int64)
    i, j = _unrank(ranks).T
    assert (i < j).all() and (j * (j - 1) // 2 + i == ranks).all()


def test_of_many_pairs_half_are_of_one_identity():
    labels = np.repeat(np.arange(40), rng.integers(1, 30, 40))
    labels = labels[rng.permutation(len(labels))]
    places, same = draw_pairs(labels, 1000, seed=1)
    assert len(np.unique(np.sort(places, 1), axis=0)) == len(same) == 1000 and same.sum() == 500
    assert (places[:, 0] != places[:, 1]).all()
    np.testing.assert_array_equal(same, labels[places[:, 0]] == labels[places[:, 1]])
    np.testing.assert_array_equal(places, draw_pairs(labels, 1000, seed=1)[0])
    assert len(set(labels[places[same, 0]])) > 25, "from all over the identities"
    few = np.repeat(np.arange(100), 2)
    assert draw_pairs(few, 1000)[1].sum() == 100, "all there are"


def lfw(root, people):
    for name, count in people.items():
        (root / name).mkdir(parents=True)
        for i in range(1, count + 1):
            Image.fromarray(np.full((8, 8, 3), 40 * i, np.uint8)).save(root / name / f"{name}_{i:04d}.jpg")
    return root


@pytest.fixture
def faces(tmp_path):
    return lfw(tmp_path / "lfw", {"Ann_Lee": 3, "Bob": 2, "Cy_Ray": 4, "Dee": 2, "Eve": 1})


def listed(faces, text, name="pairs.txt"):
    path = faces.parent / name
    path.write_text(text)
    return read_pairs(path, {p: p.parent.name for p in faces.rglob("*.jpg")}, faces)


def test_lfw_lists_with_and_without_folds(faces):
    text = "2\t1\nAnn_Lee\t1\t3\nAnn_Lee\t2\tBob\t1\nCy_Ray\t4\t1\nDee\t2\tEve\t1\n"
    pairs = listed(faces, text)
    assert [path.rpartition("/")[2] for path in pairs.first] == [
        "Ann_Lee_0001.jpg",
        "Ann_Lee_0002.jpg",
        "Cy_Ray_0004.jpg",
        "Dee_0002.jpg",
    ]
    assert pairs.second[3].endswith("Eve_0001.jpg") and pairs.second[0].endswith("Ann_Lee_0003.jpg")
    assert list(pairs.same) == [True, False, True, False] and list(pairs.fold) == [0, 0, 1, 1]
    assert listed(faces, "2\n" + text.partition("\n")[2]).fold is None
    rows = "a,b,same\nlfw/Dee/Dee_0001.jpg,lfw/Dee/Dee_0002.jpg,1\nlfw/Bob/Bob_0001.jpg,lfw/Eve/Eve_0001.jpg,0\n"
    assert list(listed(faces, rows, "pairs.csv").same) == [True, False]


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "must begin with LFW's header"),
        ("Bob 1 2", "must begin with LFW's header.*Received: 'Bob 1 2'"),
        ("1 2\nBob 1 2", "must have the 4 pairs of its header. Received: 1"),
        ("1\nBob 1 2\nBob 1", "line 3: a pair must be"),
        ("1\nBob 1 3\nBob 1 Eve 1", "line 2: Bob_0003 must be an image below .*lfw"),
    ],
)
def test_mistakes_in_a_list(faces, text, message):
    with pytest.raises(UserError, match=message):
        listed(faces, text)


def test_people_of_the_list_are_not_trained_on(faces):
    (faces.parent / "pairs.txt").write_text("1\nBob 1 2\nDee 1 Bob 1\n")
    keys = {"pairs": faces.parent / "pairs.txt", "held_out": {"validation": 0.0}, "image_fraction": 0.3}
    train, test = (reader_of("embedding")("folder", faces, split, **keys) for split in ("train", "test"))
    assert train.classes == ["Ann_Lee", "Cy_Ray", "Eve"] and test.classes == ["Bob", "Dee"]
    assert test.count == 3 and train.ground_truth is None
    metric = EmbeddingMetric(test.ground_truth)
    with pytest.raises(UserError, match="at least two pairs of the same and two of different"):
        metric.result()


# The metric


def filled(count=60, noise=0.4, **keys):
    """A metric over pictures of ten identities, whose embeddings lie round a centre each."""
    metric, centres = EmbeddingMetric(**keys), np.random.default_rng(1).normal(size=(10, 16))
    draws = np.random.default_rng(2)
    for i in range(count):
        vector = centres[i % 10] + noise * draws.normal(size=16)
        image = np.full((20, 30, 3), 4 * i, np.float32)
        sample = {"id": np.array(f"p{i}".encode()), "label": i % 10, "image": image}
        metric.update(sample, {"embedding": (vector / np.linalg.norm(vector)).astype(np.float32)})
    return metric


def test_the_metric_and_its_pictures(tmp_path):
    metric = filled(threshold=0.99)
    numbers = metric.result()
    assert numbers["roc_auc"] > 0.99 and numbers["accuracy"] > 0.95 and numbers["eer"] < 0.05
    assert numbers["pairs"] == 60 * 59 // 2 and numbers["count"] == 60 and numbers["recall_at_1"] == 1
    assert "tar_at_far_1e-03" in numbers and "tar_at_far_1e-04" not in numbers, "of 1,620 different pairs"
    assert numbers["accuracy_at_threshold"] < numbers["accuracy"], "0.99 is not the threshold of these"
    written = report.report(metric, [], tmp_path)
    assert {path.name for path in written} == {"roc.png", "similarity.png", "worst_pairs.png", "worst_pairs.csv"}
    rows = (tmp_path / "worst_pairs.csv").read_text().splitlines()
    assert len(rows) == 19 and rows[1].split(",")[2] == "1" and rows[-1].split(",")[2] == "0"
    v = metric.verified
    assert float(rows[1].rpartition(",")[2]) == pytest.approx(v.similarity[v.same].min(), abs=1e-4)


def test_embeddings_that_are_not_finite_count_for_nothing():
    metric = filled(noise=0.01)
    metric.update({"id": b"bad", "label": 0}, {"embedding": np.full(16, np.nan, np.float32)})
    with pytest.warns(UserWarning, match="1 of 61 embeddings hold NaN"):
        numbers = metric.result()
    assert 0.9 < numbers["roc_auc"] < 1


def test_a_list_of_one_fold_is_scored_by_drawn_folds():
    """LFW's own pairsDevTest.txt has one: there are no other folds to take the threshold from."""
    names = [f"{i}.jpg" for i in range(12)]
    one = Pairs(names[:10], names[1:11], np.arange(10) % 2 == 0, np.zeros(10, int))
    metric = EmbeddingMetric(one, 100, None)
    for i, name in enumerate(names):
        vector = rng.normal(size=4)
        metric.update({"id": name, "label": i // 2}, {"embedding": vector / np.linalg.norm(vector)})
    assert 0 <= metric.result()["accuracy"] <= 1
