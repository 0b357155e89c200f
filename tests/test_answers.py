"""What `predict` says to programs: JSON, lines of JSON, CSV, COCO's results, masks and vectors; docs/answers.md."""

import csv
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from command import call, command_without_tensorflow
from PIL import Image

import mobilenet_tf
from mobilenet_tf import answer_files, prediction, workflow
from mobilenet_tf.data import scenes
from mobilenet_tf.data.coco_objects import compressed
from mobilenet_tf.inference import artifact
from mobilenet_tf.task import Selection, as_number
from mobilenet_tf.tasks.classification import inference as classification
from mobilenet_tf.tasks.detection import inference as detection

PAGE = (Path(__file__).parents[1] / "docs" / "answers.md").read_text(encoding="utf-8")
TASKS = ["classification", "detection", "segmentation", "attributes", "embedding"]
OPTIONS = {"segmentation": ["--masks", "MASKS"], "embedding": ["--vectors"], "detection": ["--min-score", "0"]}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    """An exported file of every task, that an earlier version made."""
    folder = tmp_path_factory.mktemp("runs")
    zipfile.ZipFile(Path(__file__).parent / "stored" / "0.1.0.zip").extractall(folder)
    return {task: folder / task / "exports" / "model.tflite" for task in TASKS}


@pytest.fixture
def photographs(tmp_path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for index in range(4):
        image = scenes.render(3, index, 80)["image"][10 : 60 + index]
        Image.fromarray(image).save(folder / f"{index}.png")
    return folder


@pytest.fixture
def predict(capsys, models, photographs):
    """predict(task, *options) -> (exit code, stdout, stderr)."""
    return lambda task, *options: call(capsys, "predict", models[task], photographs, *options)


# What the page says


def example(task: str) -> dict:
    """The object that the page shows for a task."""
    section = PAGE.split(f"## {task.capitalize()}\n")[1].split("\n## ")[0]
    return json.loads(re.findall(r"```json\n(.*?)```", section, re.DOTALL)[0])


def shape(value):
    """The keys and kinds of values; of lists, and of dicts whose keys are names of attributes, those of the first."""
    if isinstance(value, list):
        return [shape(value[0])]
    if isinstance(value, dict):
        return {key: ["by name", shape(next(iter(one.values())))] if key == "attributes" else shape(one)
                for key, one in value.items()}  # fmt: skip
    return "number" if type(value) in (int, float) else type(value).__name__


@pytest.mark.parametrize("task", TASKS)
def test_objects_have_what_the_page_says_in_its_order_without_tensorflow(models, photographs, task):
    masks = photographs.parent / "masks"
    given = [str(masks) if option == "MASKS" else option for option in OPTIONS.get(task, [])]
    lines = command_without_tensorflow("predict", models[task], photographs, "--jsonl", *given).splitlines()
    answers = list(map(json.loads, lines))
    assert [Path(answer["file"]).name for answer in answers] == [f"{index}.png" for index in range(4)]
    assert (answers[1]["width"], answers[1]["height"]) == (80, 51)
    for answer in answers:
        answer.setdefault("same", True) if task == "embedding" else None  # a model without a calibrated threshold
        answer.setdefault("threshold", 0.5) if task == "embedding" else None
        assert shape(answer) == shape(example(task))


def test_the_page_has_every_option_and_its_masks_decode():
    from pycocotools import mask as coco_masks

    road, sky = (coco_masks.decode(one["rle"]) for one in example("segmentation")["classes"])
    assert road.tolist() == [[1, 1, 1, 0]] * 2 and (road + sky == 1).all()
    options = {option for task in TASKS for option in workflow.find_inference(task).options}
    assert all(f"--{option.replace('_', '-')}" in PAGE for option in options)


# The values


def answers_of(model, photographs, **selection) -> list[prediction.Answer]:
    return list(workflow.answer_files(model, [str(photographs)], selection=Selection(**selection)))


@pytest.mark.parametrize("task", TASKS)
def test_values_are_those_of_python(models, photographs, task):
    model = mobilenet_tf.load(models[task])
    results = model.predict(sorted(photographs.iterdir()))
    options = {"detection": {"min_score": 0.0}, "embedding": {"vectors": True}, "classification": {"top": 99}}
    for answer, result in zip(answers_of(models[task], photographs, **options.get(task, {})), results, strict=True):
        values = answer.values
        if task == "classification":
            assert values["label"] == result.name and values["classes"][0]["label"] == result.name
            assert {one["label"]: np.float32(one["probability"]) for one in values["classes"]} == dict(
                zip(result.names, result.probabilities, strict=True)
            )
        if task == "detection":
            boxes = [[one[name] for name in detection.CORNERS] for one in values["objects"]]
            np.testing.assert_allclose(boxes, result.boxes, atol=1e-3)
            assert [np.float32(one["score"]) for one in values["objects"]] == result.scores.tolist()
            assert [one["label"] for one in values["objects"]] == [result.names[label] for label in result.labels]
        if task == "segmentation":
            pixels = {one["label"]: one["pixels"] for one in values["classes"]}
            assert pixels == {name: n for i, name in enumerate(result.names) if (n := int((result.mask == i).sum()))}
        if task == "attributes":
            assert list(values["attributes"]) == result.names
            assert [one["present"] for one in values["attributes"].values()] == result.present.tolist()
        if task == "embedding":
            assert np.array_equal(np.float32(values["vector"]), result.vector)


@pytest.mark.parametrize("task", ["classification", "detection", "attributes"])
def test_min_score_and_top_hold_for_values_rows_and_drawings(models, photographs, task):
    every = answers_of(models[task], photographs, min_score=0.0, top=99)[0]
    scores = [float(number) for number in re.findall(r"score': ([\d.e-]+)|probability': ([\d.e-]+)", str(every.values))
              for number in number if number][1:]  # fmt: skip
    middle = sorted(scores)[len(scores) // 2]
    drawn = {}
    for name, selection in {
        "all": {"min_score": 0.0},
        "some": {"min_score": middle},
        "one": {"top": 1, "min_score": 0.0},
    }.items():
        [first, *_] = answers = workflow.answer_files(
            models[task], [str(photographs)], selection=Selection(**selection), pictures=photographs.parent / name
        )
        listed = answer_files.table_rows(first.values)
        assert {"all": len(listed) >= 2, "some": len(listed) < len(scores), "one": len(listed) == 1}[name]
        key = "score" if task == "detection" else "probability"
        assert all(row[key] >= selection["min_score"] for row in listed)
        words = {"classification": f"top{selection.get('top', 5)}", "detection": "objects", "attributes": "attributes"}
        assert len(first.row[words[task]].split(", ")) == len(listed)
        drawn[name] = np.asarray(Image.open(next(iter(answers.drawings.values()))))
    assert not np.array_equal(drawn["all"], drawn["one"])


def test_detections_without_a_lowest_score_are_those_from_three_tenths_on():
    found = {
        "boxes": np.array([[0, 0, 0.5, 0.5], [0.25, 0.5, 0.75, 1.0], [0, 0, 1, 1]], np.float32),
        "labels": np.array([1, 0, 0]),
        "scores": np.float32([0.29, 0.9, np.nan]),
        "size": np.array([40, 80]),
    }
    dog = {"label": "cat", "score": 0.9, "xmin": 40.0, "ymin": 10.0, "xmax": 80.0, "ymax": 30.0}
    assert detection.to_dict(found, ["cat", "dog"]) == {"objects": [dog]}
    both = detection.to_dict(found, ["cat", "dog"], Selection(min_score=0.2))
    assert [one["score"] for one in both["objects"]] == [0.9, 0.29]
    assert detection.to_row(found, ["cat", "dog"], Selection(min_score=0.2))["count"] == 2
    assert len(detection.boxes_to_draw(found, ["cat", "dog"], Selection(min_score=0.2, top=1))) == 1


def test_a_class_that_no_image_reaches_is_null_and_what_is_not_finite_too():
    sure = {"probabilities": np.float32([0.25, 0.75])}
    assert classification.to_dict(sure, ["a", "b"], Selection(min_score=0.8)) == {
        "label": None,
        "probability": None,
        "classes": [],
    }
    assert classification.to_row(sure, ["a", "b"], Selection(min_score=0.8))["label"] == ""
    assert as_number(np.float32(0.1)) == 0.1 and as_number(np.float32(1 / 3)) == 0.33333334
    broken = classification.to_dict({"probabilities": np.float32([np.nan, np.inf])}, ["a", "b"])
    assert [one["probability"] for one in broken["classes"]] == [None, None]
    json.dumps(broken, allow_nan=False)


# Options


def test_images_that_are_not_there_are_told_without_tensorflow(models, tmp_path):
    """Of a run too, whose network needs it."""
    code = "import sys\nsys.modules['tensorflow'] = None\nfrom mobilenet_tf import cli\ncli.main()"
    for options in (["nothing*.jpg"], ["x.png", "--masks", tmp_path, "--images", tmp_path]):
        arguments = [sys.executable, "-c", code, "predict", models["segmentation"].parents[1], *options]
        done = subprocess.run(arguments, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 2 and done.stderr.startswith(("error: no image file", "error: --images and --masks"))


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("classification", ["--masks", "x"]),
        ("classification", ["--coco", "x.json"]),
        ("attributes", ["--vectors"]),
        ("detection", ["--vectors"]),
        ("segmentation", ["--min-score", "0.0"]),
        ("embedding", ["--top", "3"]),
    ],
)
def test_an_option_of_another_task_is_one_line_before_anything_is_read(predict, task, options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = predict(task, *options)
    assert (code, out) == (2, "") and err.startswith(f"error: the answers of a model for {task} take --")
    assert err.endswith(f"Received: {options[0]}\n") and {path.name for path in tmp_path.iterdir()} == {"photographs"}


def test_json_is_one_thing_or_the_other(predict):
    code, _, err = predict("classification", "--json", "--jsonl")
    assert code == 2 and "--json and --jsonl must not be given together" in err


# Lines


def test_lines_are_printed_as_images_are_done_and_stay_when_the_program_is_stopped(predict, photographs, monkeypatch):
    (photographs / "1.png").write_bytes(b"no image")
    monkeypatch.setattr(prediction, "BATCH", 1)
    calls, predict_images = [], prediction.predict_images

    def stop(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return predict_images(*args)

    monkeypatch.setattr(prediction, "predict_images", stop)
    _, out, _ = predict("classification", "--jsonl")
    lines = list(map(json.loads, out.splitlines()))
    assert [Path(line["file"]).name for line in lines] == ["0.png", "1.png", "2.png"]
    assert set(lines[1]) == {"file", "error"} and "label" in lines[2]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_lines_go_to_stdout_where_the_progress_is_drawn_in_a_terminal(models, photographs):
    """Which takes stdout for itself by default, so that a file that stdout is redirected to would stay empty."""
    terminal, other_end = os.openpty()
    code = "from mobilenet_tf import cli, prediction; prediction.BATCH = 1; cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "predict", models["classification"], photographs, "--jsonl"],
        stdout=subprocess.PIPE,
        stderr=other_end,
        env=os.environ | {"TERM": "xterm"},
    )
    os.close(other_end)
    assert len(done.stdout.splitlines()) == 4 and b"predict" in os.read(terminal, 10_000)
    os.close(terminal)


def test_no_answer_is_kept(models, photographs, monkeypatch):
    monkeypatch.setattr(prediction, "BATCH", 2)
    answers = iter(workflow.answer_files(models["detection"], [str(photographs)]))
    next(answers)
    waiting = answers.gi_frame.f_locals["waiting"]
    assert len(waiting) <= 3, "the rest of the batch, and an image that did not fit"
    list(answers)


def test_files_that_cannot_be_read_have_an_error_and_nothing_else(predict, photographs):
    for path in photographs.iterdir():
        path.write_bytes(b"no image")
    code, out, _ = predict("detection", "--jsonl", "--coco", photographs.parent / "x.json")
    assert code == 2 and [set(json.loads(line)) for line in out.splitlines()] == [{"file", "error"}] * 4
    assert json.loads((photographs.parent / "x.json").read_text()) == []


# CSV


@pytest.mark.parametrize("task", TASKS)
def test_csv_has_a_row_for_each_class_attribute_and_object(predict, photographs, task):
    (photographs / "3.png").write_bytes(b"no image")
    table = photographs.parent / "rows.csv"
    options = [option for option in OPTIONS.get(task, []) if option != "MASKS"]
    options = [] if task == "segmentation" else options
    _, out, _ = predict(task, "--json", "--csv", table, *options)
    with open(table, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    answers = json.loads(out)
    lists = [next((one[key] for key in ("classes", "objects", "attributes") if key in one), "1") for one in answers]
    files = [answer["file"] for answer, parts in zip(answers, lists, strict=True) for _ in parts]
    assert [row["file"] for row in rows] == files
    assert [bool(row["error"]) for row in rows if row["file"].endswith("3.png")] == [True]
    first, values = rows[0], answers[0]
    if task == "embedding":
        vector = [float(first[f"vector_{index}"]) for index in range(len(values["vector"]))]
        assert vector == values["vector"] and float(first["similarity"]) == values["similarity"]
    elif task == "attributes":
        label, one = next(iter(values["attributes"].items()))
        assert (first["label"], float(first["probability"]), first["present"]) == (
            label,
            one["probability"],
            str(one["present"]),
        )
    else:
        one = values["objects" if task == "detection" else "classes"][0]
        assert {key: first[key] for key in one} == {key: str(value) for key, value in one.items()}


def test_an_image_without_objects_has_a_row():
    values = {"file": "a.png", "width": 4, "height": 3, "objects": []}
    assert answer_files.table_rows(values) == [{"file": "a.png", "width": 4, "height": 3}]


# COCO


def test_coco_reads_the_results(predict, models, photographs):
    from pycocotools.coco import COCO

    (photographs / "0.png").rename(photographs / "000000000139.png")
    results = photographs.parent / "results.json"
    for _ in range(2):  # they may be written again
        code, out, _ = predict("detection", "--json", "--coco", results)
    classes = artifact.read(models["detection"]).classes
    ids = {"000000000139.png": 139} | {f"{index}.png": index for index in (1, 2, 3)}
    truth = COCO()
    truth.dataset = {
        "images": [{"id": number, "file_name": name} for name, number in ids.items()],
        "categories": [{"id": index + 1, "name": name} for index, name in enumerate(classes)],
        "annotations": [],
    }
    truth.createIndex()
    read = truth.loadRes(str(results))
    assert code == 0 and set(read.getImgIds()) == set(ids.values())
    everything = {Path(answer.values["file"]).name: answer.values["objects"]
                  for answer in answers_of(models["detection"], photographs, min_score=0.0)}  # fmt: skip
    assert sum(map(len, everything.values())) == len(read.anns) > sum(len(one["objects"]) for one in json.loads(out))
    for name, number in ids.items():
        found = read.loadAnns(read.getAnnIds(imgIds=number))
        assert [read.cats[one["category_id"]]["name"] for one in found] == [one["label"] for one in everything[name]]
        for one, wanted in zip(found, everything[name], strict=True):
            x, y, width, height = one["bbox"]
            corners = [wanted[corner] for corner in detection.CORNERS]
            assert [x, y, x + width, y + height] == pytest.approx(corners, abs=2e-3)
    predict("detection", "--coco", results, "--min-score", "0.99")
    assert json.loads(results.read_text()) == []


def test_ids_are_numbers_or_names_and_never_those_of_two_images(predict, photographs):
    paths = [Path("a/007.jpg"), Path("b/8a.jpg"), Path("b/٣.jpg")]
    assert list(answer_files.image_ids(paths).values()) == [7, "8a.jpg", "٣.jpg"]
    (photographs / "00.png").write_bytes((photographs / "0.png").read_bytes())
    results = photographs.parent / "results.json"
    code, out, err = predict("detection", "--coco", results)
    assert (code, out) == (2, "") and "must have different names" in err and err.count("\n") == 1
    assert not results.exists()


# Masks


def test_masks_are_files_of_indices_and_run_lengths(predict, models, photographs):
    from pycocotools import mask as coco_masks

    masks = photographs.parent / "masks"
    for _ in range(2):  # they may be written again
        _, out, err = predict("segmentation", "--json", "--masks", masks)
    assert err == f"masks: {masks}\n"
    model = mobilenet_tf.load(models["segmentation"])
    for answer in json.loads(out):
        expected = model.predict(answer["file"]).mask
        file = Image.open(answer["mask"])
        assert file.mode == "L" and Path(answer["mask"]).parent == masks
        np.testing.assert_array_equal(np.asarray(file), expected)
        rebuilt = np.full(expected.shape, 255)
        for one in answer["classes"]:
            rebuilt[coco_masks.decode(one["rle"]).astype(bool)] = one["value"]
        np.testing.assert_array_equal(rebuilt, expected)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 1), (37, 53), (3, 4000)])
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 1])
def test_run_lengths_are_those_of_coco(shape, share):
    from pycocotools import mask as coco_masks

    mask = np.random.default_rng(3).random(shape) < share
    ours, theirs = compressed(mask), coco_masks.encode(np.asfortranarray(mask, np.uint8))
    assert ours == theirs | {"counts": theirs["counts"].decode()}


def test_a_mask_that_cannot_be_written_is_null_and_loses_no_answer(predict, photographs, monkeypatch):
    masks = photographs.parent / "masks"
    (masks / "1.png").mkdir(parents=True)  # in the way
    monkeypatch.setattr("mobilenet_tf.viz.image_files.is_made_here", lambda path: True)
    with pytest.warns(UserWarning, match=r"1\.png must be a file"):
        _, out, _ = predict("segmentation", "--json", "--masks", masks)
    assert [answer["mask"] is None for answer in json.loads(out)] == [False, True, False, False]


# What is replaced


def test_nothing_is_replaced_that_was_not_written_here(predict, photographs):
    place = photographs.parent
    (place / "labels.csv").write_text("file,label\n0.png,dog\n")
    (place / "annotations.json").write_text('{"images": []}')
    (place / "results.json").write_text('[{"image_id": 1}]')
    (place / "theirs").mkdir()
    Image.new("L", (4, 4)).save(place / "theirs" / "2.png")
    before = {path: path.read_bytes() for path in place.rglob("*.*")}
    for task, option, name in [
        ("classification", "--csv", "labels.csv"),
        ("detection", "--coco", "annotations.json"),
        ("detection", "--coco", "results.json"),
        ("segmentation", "--masks", "theirs"),
        ("segmentation", "--masks", "photographs"),
    ]:
        code, out, err = predict(task, option, place / name)
        assert (code, out) == (2, "") and "choose another" in err and err.count("\n") == 1, name
    for options in (["--masks", place / "x", "--images", place / "x"], ["--csv", place / "y", "--images", place / "y"]):
        code, out, err = predict("segmentation", *options)
        assert (code, out) == (2, "") and "must go to" in err
    assert {path: path.read_bytes() for path in place.rglob("*.*")} == before


def test_what_was_written_here_may_be_written_again(predict, photographs):
    table = photographs.parent / "rows.csv"
    for task in ("classification", "embedding", "detection"):
        assert predict(task, "--csv", table)[0] == 0
    for path in photographs.iterdir():
        path.write_bytes(b"no image")
    for _ in range(2):
        assert predict("detection", "--csv", table)[0] == 2 and table.read_text().startswith("file,error\n")


def test_copies_of_any_names_have_different_places(tmp_path):
    names = ["x.png", "x.jpg", "x.png.png", "y.jpg", "z/x.png"]
    places = prediction.drawing_paths([tmp_path / "in" / name for name in names], tmp_path / "out")
    assert len(set(places.values())) == len(names)
    assert places[tmp_path / "in" / "y.jpg"] == tmp_path / "out" / "y.png"
    assert places[tmp_path / "in" / "z" / "x.png"] == tmp_path / "out" / "z" / "x.png"
