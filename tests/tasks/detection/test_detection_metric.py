"""Detection's metric: COCO's numbers with the data set's own ids, Pascal VOC's, the results file and the images."""

import contextlib
import csv
import io
import json
import sys
import warnings
from functools import partial

import numpy as np
import pytest
from detection_sets import coco_dict, write_coco
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mobilenet_tf import config
from mobilenet_tf.data.source import evaluation_batches
from mobilenet_tf.tasks.detection import report, scoring
from mobilenet_tf.tasks.detection.inference import MIN_DRAWN_SCORE, draw, to_row
from mobilenet_tf.tasks.detection.metric import DetectionMetric, image_ap
from mobilenet_tf.tasks.detection.task import task
from mobilenet_tf.utils.errors import UserError

CLASSES = ["cat", "dog", "bird"]


def box_entry(number, image, category, box, **more):
    return {
        "id": number, "image_id": image, "category_id": category, "bbox": box, "area": box[2] * box[3], "iscrowd": 0
    } | more  # fmt: skip


def made_up(images=30, seed=0, strings=False) -> tuple[dict, list[dict]]:
    """Ground truth with gaps in its ids, crowds, a category without boxes; detections near it and elsewhere."""
    rng = np.random.default_rng(seed)
    name = (lambda i: f"2007_{i:06d}") if strings else (lambda i: 3 * i + 1)
    annotations, results = [], []
    for i in range(images):
        for _ in range(rng.integers(0, 6)):
            box = [*rng.uniform(0, 300, 2), *np.exp(rng.uniform(2, 5.6, 2))]
            box = [round(float(v), 2) for v in box]
            category = int(rng.choice([1, 7]))
            annotations.append(
                box_entry(len(annotations) + 1, name(i), category, box, iscrowd=int(rng.random() < 0.15))
            )
            for _ in range(2):
                near = [round(float(v), 3) for v in np.array(box) * rng.normal(1, 0.12, 4)]
                row = {"image_id": name(i), "category_id": category if rng.random() < 0.9 else 9, "bbox": near}
                results.append(row | {"score": round(float(rng.random()), 4)})
    truth = {
        "images": [{"id": name(i), "file_name": f"{i}.png", "height": 500, "width": 600} for i in range(images)],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "cat"}, {"id": 7, "name": "dog"}, {"id": 9, "name": "bird"}],
    }
    return truth, results


def by_pycocotools(truth, results) -> np.ndarray:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = json.loads(json.dumps(truth))
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(json.loads(json.dumps(results))), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


@pytest.mark.parametrize("seed", [0, 1])
def test_the_twelve_numbers_are_those_of_pycocotools_on_its_own(seed):
    truth, results = made_up(seed=seed)
    found = scoring.coco_scores(truth, results)
    np.testing.assert_allclose(list(found.numbers.values()), by_pycocotools(truth, results), atol=1e-12)
    assert 0 < found.numbers["AP"] < 1 and list(found.numbers) == list(scoring.NAMES)
    per_class = found.per_class()
    assert np.isnan(per_class[2]) and np.nanmean(per_class) == pytest.approx(found.numbers["AP"], abs=1e-9)
    assert np.nanmean(found.per_class(0)) == pytest.approx(found.numbers["AP50"], abs=1e-9)
    assert np.nanmean(found.per_class(area="large")) == pytest.approx(found.numbers["AP_large"], abs=1e-9)


def test_image_ids_may_be_names():
    numbers = scoring.coco_scores(*made_up()).numbers
    assert scoring.coco_scores(*made_up(strings=True)).numbers == numbers


def test_the_quick_backend_gives_the_same_numbers():
    pytest.importorskip("hotcoco")
    truth, results = made_up(60)
    slow, quick = scoring.coco_scores(truth, results), scoring.coco_scores(truth, results, backend="hotcoco")
    np.testing.assert_allclose(list(quick.numbers.values()), list(slow.numbers.values()), atol=1e-6)
    np.testing.assert_allclose(quick.precision, slow.precision, atol=1e-6)


def test_a_backend_that_is_not_installed_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "hotcoco", None)
    with pytest.raises(UserError, match=r"hotcoco is not installed; this needs: pip install .mobilenet-tf\[coco\]"):
        scoring.coco_scores(*made_up(2), backend="hotcoco")


def crowded(objects: int) -> tuple[dict, list[dict]]:
    """An image with so many objects of a class, all of them found."""
    entries = [box_entry(i + 1, 1, 1 + i % 2, [4 * (i % 50), 4 * (i // 50), 3, 3]) for i in range(2 * objects)]
    truth = {
        "images": [{"id": 1, "file_name": "1.png", "height": 200, "width": 200}],
        "annotations": entries,
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    return truth, [
        {key: entry[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.9} for entry in entries
    ]


@pytest.mark.parametrize("backend", ["pycocotools", "hotcoco"])
def test_detections_beyond_a_hundred_count_where_they_are_asked_for(backend):
    pytest.importorskip(backend)
    truth, results = crowded(150)
    numbers = scoring.coco_scores(truth, results, backend=backend).numbers
    assert numbers["AP"] == pytest.approx(by_pycocotools(truth, results)[0]) and numbers["AR100"] < 0.7
    numbers = scoring.coco_scores(truth, results, backend=backend, max_detections=150).numbers
    assert numbers["AP"] == numbers["AP_small"] == numbers["AR150"] == pytest.approx(1) and "AR100" not in numbers


def test_a_metric_counts_as_many_detections_as_an_image_has_objects_and_says_so():
    truth, results = crowded(150)
    for options, ap, lines in (
        ({}, 1.0, ["an image has 150 objects of a class: so many detections count there in place of COCO's 100"]),
        (
            {"max_found": 200},
            1.0,
            ["so many detections count", "300 objects, of which detections.max_detections lets 200"],
        ),
        ({"max_detections": 100}, 0.67, ["150 objects of a class, of which metric.max_detections lets 100 be found"]),
        ({"max_detections": 300, "max_found": 300}, 1.0, []),
    ):
        metric = DetectionMetric(["cat", "dog"], truth, **options)
        metric.images, metric.results = truth["images"], results
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            numbers = metric.result()
        assert numbers["AP"] == pytest.approx(ap, abs=0.01)
        for warning, line in zip(caught, lines, strict=True):
            assert line in str(warning.message)


def test_classes_in_an_order_of_their_own_keep_their_scores():
    """As data.classes has them: COCO's code sorts by id."""
    truth, results = crowded(5)
    results = [result for result in results if result["category_id"] == 1]
    metric = DetectionMetric(["dog", "cat"], truth)
    metric.images, metric.results = truth["images"], results
    assert {row["name"]: round(row["AP"], 3) for row in metric.per_class()} == {"dog": 0.0, "cat": 1.0}


def samples_of(truth: dict, classes=CLASSES) -> list[dict]:
    """Samples as evaluation hands them on: padded boxes, an image of the input's size."""
    label = {category["id"]: classes.index(category["name"]) for category in truth["categories"]}
    grouped = scoring.by_image(truth["annotations"])
    samples = []
    for image in truth["images"]:
        own = grouped.get(image["id"], [])
        size = np.array([image["height"], image["width"]])
        corners = scoring.corners([entry["bbox"] for entry in own])[:, [1, 0, 3, 2]] / np.tile(size, 2)
        samples.append(
            {
                "id": np.array(str(image["id"]).encode(), object),
                "original_size": size.astype(np.int32),
                "boxes": np.pad(corners, [(0, 7 - len(own)), (0, 0)]).astype(np.float32),
                "labels": np.array([label[e["category_id"]] for e in own] + [-1] * (7 - len(own)), np.int32),
                "crowd": np.array([bool(e["iscrowd"]) for e in own] + [False] * (7 - len(own))),
                "image": np.full((48, 48, 3), 90.0, np.float32),
            }
        )
    return samples


def perfect(sample: dict) -> dict:
    """The truth as a prediction; crowds are not detected."""
    real = (sample["labels"] >= 0) & ~sample["crowd"]
    return {"boxes": sample["boxes"][real], "labels": sample["labels"][real], "scores": np.ones(real.sum(), np.float32)}


def none_found(_: dict) -> dict:
    return {"boxes": np.zeros((0, 4)), "labels": np.zeros(0, np.int32), "scores": np.zeros(0)}


def filled(metric: DetectionMetric, truth: dict, predict=perfect) -> DetectionMetric:
    for sample in samples_of(truth):
        metric.update(sample, predict(sample))
    return metric


@pytest.mark.parametrize("own", [True, False], ids=["own annotations", "rebuilt"])
def test_the_truth_as_prediction_scores_one(own):
    truth, _ = made_up()
    ground_truth = truth if own else {"categories": truth["categories"]}
    metric = filled(DetectionMetric(CLASSES, ground_truth, voc=True), truth)
    numbers = metric.result()
    assert numbers["AP"] == numbers["AP50"] == numbers["AP75"] == 1.0 and numbers["count"] == 30
    assert numbers["mAP_voc07"] == numbers["mAP_voc12"] == 1.0
    assert [row["AP"] for row in metric.per_class()] == [1.0, 1.0, None]  # as COCO has it: no boxes, no AP
    assert {row["category_id"] for row in metric.results} == {1, 7}
    assert {row["image_id"] for row in metric.results} <= {image["id"] for image in truth["images"]}


def test_nothing_found_scores_zero_with_a_warning():
    metric = filled(DetectionMetric(CLASSES, made_up()[0], voc=True), made_up()[0], none_found)
    with pytest.warns(UserWarning, match="nothing was detected"):
        numbers = metric.result()
    assert numbers["AP"] == numbers["AR100"] == numbers["mAP_voc07"] == 0.0


def test_only_the_images_that_were_seen_count():
    truth, _ = made_up()
    metric = DetectionMetric(CLASSES, truth)
    for sample in samples_of(truth)[:5]:
        metric.update(sample, perfect(sample))
    assert metric.result()["AP"] == 1.0 and metric.result()["count"] == 5


def test_scores_are_computed_anew_after_another_image():
    truth, _ = made_up()
    first, second = [sample for sample in samples_of(truth) if (sample["labels"] >= 0).sum() > 1][:2]
    metric = DetectionMetric(CLASSES, truth)
    metric.update(first, perfect(first))
    assert metric.result()["AP"] == 1.0
    metric.update(second, none_found(second))
    assert metric.result()["AP"] < 1.0


def test_unknown_images_and_none_at_all():
    with pytest.raises(ValueError, match="id must be one of the annotations' images. Received: 5"):
        DetectionMetric(CLASSES, made_up(2)[0]).update(samples_of(made_up(2)[0])[0] | {"id": b"5"}, none_found({}))
    with pytest.raises(UserError, match="at least one sample"):
        DetectionMetric(CLASSES).result()


def test_detections_that_are_not_finite_are_left_out_and_counted():
    truth, _ = made_up()

    def broken(sample):
        found = perfect(sample)
        extra = np.full((1, 4), np.nan, np.float32)
        return {
            "boxes": np.concatenate([found["boxes"], extra]),
            "labels": np.append(found["labels"], 0),
            "scores": np.append(found["scores"], 1.0),
        }

    with pytest.warns(UserWarning, match="30 detections hold NaN"):
        assert filled(DetectionMetric(CLASSES, truth), truth, broken).result()["AP"] == 1.0


def test_results_can_be_written_and_scored_again(tmp_path):
    truth, results = made_up(seed=3)
    grouped = scoring.by_image(results)
    number = {1: 0, 7: 1, 9: 2}

    def predict(sample):
        own = grouped.get(int(sample["id"].item()), [])
        size = np.tile(sample["original_size"], 2)
        return {
            "boxes": scoring.corners([row["bbox"] for row in own])[:, [1, 0, 3, 2]] / size,
            "labels": np.array([number[row["category_id"]] for row in own], np.int32),
            "scores": np.array([row["score"] for row in own]),
        }

    metric = filled(DetectionMetric(CLASSES, truth), truth, predict)
    path = metric.write_results(tmp_path / "detections.json")
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    again = scoring.score_file(tmp_path / "truth.json", path)
    assert again == {name: metric.result()[name] for name in scoring.NAMES}
    np.testing.assert_allclose(list(again.values()), by_pycocotools(truth, results), atol=1e-3)
    with contextlib.redirect_stdout(io.StringIO()):
        COCO(str(tmp_path / "truth.json")).loadRes(str(path))  # the official code takes the file
    with pytest.raises(UserError, match="none.json must be a text file that can be read"):
        scoring.score_file(tmp_path / "truth.json", tmp_path / "none.json")
    for row in (
        {},
        None,
        {"image_id": [1], "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1},
        results[0] | {"score": None},
    ):
        (tmp_path / "wrong.json").write_text(json.dumps([row]))
        with pytest.raises(UserError, match=r"wrong.json: \[0\] must be a detection with image_id, category_id"):
            scoring.score_file(tmp_path / "truth.json", tmp_path / "wrong.json")
    with pytest.raises(UserError, match="detections must be of the images and categories"):
        scoring.coco_scores(truth, [{"image_id": 2, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1}])


# Pascal VOC


def voc_case():
    """Two boxes and a difficult one; by falling score: right, twice found, on the difficult one, wrong, right."""
    annotations = [
        box_entry(1, 1, 1, [0, 0, 10, 10]),
        box_entry(2, 1, 1, [50, 50, 20, 20]),
        box_entry(3, 1, 1, [100, 0, 30, 30], iscrowd=1, difficult=1),
    ]
    truth = {
        "images": [{"id": 1, "height": 200, "width": 200}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "cat"}],
    }
    boxes = [[0, 0, 10, 10], [1, 0, 10, 10], [100, 0, 30, 29], [150, 150, 9, 9], [50, 50, 20, 18]]
    scores = [0.9, 0.8, 0.7, 0.6, 0.5]
    return truth, [
        {"image_id": 1, "category_id": 1, "bbox": box, "score": score} for box, score in zip(boxes, scores, strict=True)
    ]


def test_voc_ap_by_hand():
    # precision 1, 1/2, -, 1/3, 2/4 at recall 1/2, 1/2, -, 1/2, 1
    scores = scoring.voc_scores(*voc_case())
    assert scores["area"][1] == pytest.approx(0.5 * 1 + 0.5 * 0.5)
    assert scores["11_point"][1] == pytest.approx((6 * 1 + 5 * 0.5) / 11)


def test_voc_overlap_must_be_over_one_half():
    truth, _ = voc_case()
    truth["annotations"] = truth["annotations"][:1]
    for height, expected in ((5.0, 0.0), (5.1, 1.0)):  # IoU 0.5, and a little more
        result = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 10, height], "score": 1.0}
        assert scoring.voc_scores(truth, [result])["area"] == {1: expected}


def test_classes_with_difficult_boxes_alone_are_left_out():
    truth, results = voc_case()
    truth["annotations"] = truth["annotations"][2:]
    assert scoring.voc_scores(truth, results) == {"11_point": {}, "area": {}}


def test_confusion_counts_every_box_once():
    truth = {
        "annotations": [
            box_entry(1, 1, 1, [0, 0, 10, 10]),
            box_entry(2, 1, 7, [50, 50, 20, 20]),
            box_entry(3, 1, 7, [80, 0, 20, 20]),
            box_entry(4, 1, 1, [0, 100, 90, 90], iscrowd=1),
        ]
    }
    rows = [(1, [0, 0, 10, 10], 0.9), (1, [50, 50, 20, 19], 0.8), (7, [150, 0, 9, 9], 0.7), (1, [10, 110, 20, 20], 0.6)]
    rows.append((7, [80, 0, 20, 20], 0.1))  # below the score
    results = [{"image_id": 1, "category_id": c, "bbox": box, "score": s} for c, box, s in rows]
    matrix = scoring.confusion(truth, results, [1, 7], score=0.5)
    np.testing.assert_array_equal(matrix, [[1, 0, 0], [1, 0, 1], [0, 1, 0]])  # rows: cat, dog, background


def test_agreement_of_two_predictions():
    agreement = partial(scoring.agreement, score=MIN_DRAWN_SCORE)
    first = {"boxes": np.array([[0, 0, 0.2, 0.2], [0.5, 0.5, 0.9, 0.9]]), "labels": [0, 1], "scores": [0.9, 0.8]}
    weak = {**first, "scores": [0.9, 0.2]}
    assert agreement(first, first) == 1.0
    assert np.isnan(agreement(none_found({}), none_found({}))), "two models that find nothing prove nothing"
    assert agreement(first, weak) == agreement(weak, first) == pytest.approx(2 / 3)
    assert agreement(first, {**first, "labels": [1, 0]}) == agreement(first, none_found({})) == 0.0


def test_quality_of_one_image():
    sample = samples_of(made_up()[0])[1]
    truth = {"boxes": sample["boxes"][:2], "labels": np.array([0, 1]), "crowd": np.array([False, False])}
    truth["boxes"] = np.array([[0, 0, 0.2, 0.2], [0.5, 0.5, 0.9, 0.9]])
    found = {"boxes": truth["boxes"], "labels": truth["labels"], "scores": np.array([0.9, 0.8])}
    assert image_ap(truth, found) == 1.0
    assert image_ap(truth, {**found, "labels": np.array([1, 1])}) == pytest.approx(0.25)  # wrong, then right: 1/2
    assert image_ap(truth, none_found({})) == 0.0


# The whole way


def small_config(*overrides):
    values = {
        "task": "detection",
        "model": {"backbone": "mobilenet_v2", "alpha": 0.35, "input_size": [64, 64], "weights": None},
        "data": {"reader": "scenes", "counts": {"train": 4, "validation": 6, "test": 4}},
        "train": {"batch_size": 4, "stages": [{"learning_rate": 0.1}]},
    }
    return config.override(values, overrides, "small")


def scored(cfg, source, predict) -> DetectionMetric:
    metric = task(cfg).metric(source)
    for batch in evaluation_batches(source, task(cfg).transform(False), batch_size=cfg.train.batch_size):
        rows = {key: value.numpy() for key, value in batch.items()}
        for i in range(len(rows["id"])):
            sample = {key: value[i] for key, value in rows.items()}
            metric.update(sample, predict(sample))
    return metric


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_a_set_on_disk_scores_one_in_its_own_coordinates(tmp_path, resize):
    """Predictions in the original image; the input may be padded."""
    cfg = small_config("data.reader=coco", f"data.root={write_coco(tmp_path)}", f"data.resize={resize}")
    source = task(cfg).source("validation")
    truth = scoring.by_image(coco_dict()["annotations"])
    sizes = {11: (40, 80), 7: (60, 48)}
    labels = {3: 0, 90: 1}

    def predict(sample):
        number = int(sample["id"])
        corners = scoring.corners([e["bbox"] for e in truth[number]])[:, [1, 0, 3, 2]] / np.tile(sizes[number], 2)
        found = np.array([labels[entry["category_id"]] for entry in truth[number]])
        return {"boxes": corners, "labels": found, "scores": np.ones(len(found))}

    metric = scored(cfg, source, predict)
    assert metric.result()["AP"] == pytest.approx(1.0, abs=1e-9)
    assert all(example.quality == 1.0 for *_, example in metric.examples["best"])
    rebuilt = scored(cfg, source.__class__(**vars(source) | {"ground_truth": None}), predict)
    assert rebuilt.result()["AP50"] == pytest.approx(1.0, abs=1e-9)


def test_the_images_of_a_report(tmp_path):
    cfg = small_config("metric.voc=true")
    source = task(cfg).source("validation")
    rng = np.random.default_rng(0)

    def shaky(sample):
        found = perfect(sample)
        found["scores"] = rng.uniform(0.2, 1, len(found["labels"]))
        found["boxes"] = np.clip(found["boxes"] + rng.normal(0, 0.04, found["boxes"].shape), 0, 1)
        return found

    metric = scored(cfg, source, shaky)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        written = report.report(metric, source.classes, tmp_path)
    names = {path.name for path in written}
    assert names == {
        "precision_recall.png", "per_class.png", "per_class.csv", "confusion.png", "detections.json", "examples.png",
    }  # fmt: skip
    for path in tmp_path.glob("*.png"):
        assert Image.open(path).width > 300
    rows = list(csv.DictReader((tmp_path / "per_class.csv").open()))
    assert [row["name"] for row in rows] == source.classes and sum(int(row["boxes"]) for row in rows) >= 6
    assert len(json.loads((tmp_path / "detections.json").read_text())) == len(metric.results)


def test_drawing_and_the_row_of_a_prediction():
    prediction = {
        "boxes": np.array([[0.25, 0.5, 0.75, 1.0], [0, 0, 0.5, 0.5]]),
        "labels": np.array([1, 0]),
        "scores": np.array([0.9, 0.1]),  # the second is below what is shown
        "size": np.array([40, 80]),
    }
    assert to_row(prediction, CLASSES) == {"count": 1, "objects": "dog 0.90", "boxes": "40 10 80 30"}
    image = np.zeros((480, 640, 3), np.uint8)
    drawn = draw(image, prediction, CLASSES)
    assert drawn.shape == image.shape and drawn[240, 320].any() and not drawn[100, 100].any()


def test_untrained_predictions_decode_to_the_original_image():
    cfg = small_config("data.resize=letterbox", "detections.score_threshold=0")
    network = task(cfg).model(task(cfg).source("validation"))
    raw = {key: value.numpy() for key, value in network(np.zeros((2, 64, 64, 3), np.float32)).items()}
    for prediction, size in zip(
        task(cfg).decode(raw, np.array([[40, 80], [60, 30]])), [(40, 80), (60, 30)], strict=True
    ):
        assert prediction["size"].tolist() == list(size) and len(prediction["boxes"]) == 100
        assert prediction["boxes"].min() >= 0 and prediction["boxes"].max() <= 1
        assert (np.diff(prediction["scores"]) <= 0).all() and prediction["labels"].max() < 10


@pytest.mark.real_data
def test_the_untouched_coco_validation_file_scores_one_end_to_end(real_data, tmp_path):
    """80 categories, crowds, run lengths; through the reader, the input and the metric."""
    cfg = small_config("data.reader=coco", f"data.root={real_data / 'coco_mini'}", "train.batch_size=20")
    source = task(cfg).source("validation")
    metric = scored(cfg, source, perfect)
    numbers = metric.result()
    assert numbers["count"] == 100
    assert all(numbers[name] == pytest.approx(1.0, abs=1e-6) for name in scoring.NAMES if name not in ("AR1", "AR10"))
    path = metric.write_results(tmp_path / "detections.json")
    annotations = real_data / "coco_mini/annotations/instances_val2017.json"
    again = scoring.score_file(annotations, path)
    assert again == {name: numbers[name] for name in scoring.NAMES}
    truth = json.loads(annotations.read_text())
    np.testing.assert_allclose(by_pycocotools(truth, metric.results), list(again.values()), atol=1e-12)
    assert len([row for row in metric.per_class() if row["AP"] is None]) == 80 - len(
        {entry["category_id"] for entry in truth["annotations"] if not entry["iscrowd"]}
    )
