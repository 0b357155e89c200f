"""Annotations from whatever tool: what has one meaning is read, what has none is one line, nothing is a traceback."""

import copy
import json
import warnings

import numpy as np
import pytest
from detection_sets import IMAGES, coco_dict, write_coco, write_images
from PIL import Image
from sections import data_section, reader_of

from mobilenet_tf.data.coco_objects import object_mask, outline_box
from mobilenet_tf.tasks.detection import data, scoring
from mobilenet_tf.tasks.detection.data import coco as reader
from mobilenet_tf.tasks.detection.data import validation
from mobilenet_tf.tasks.detection.data.annotation_set import AnnotationSet
from mobilenet_tf.utils.errors import UserError

read = reader_of("detection")

NOTHING = object()
WRONG = [
    None, True, -1, 1.5, 1e300, float("nan"), float("-inf"), 10**400, "", "false", "\0", "a\nb", "\ud800", "1e400",
    "../x", "x" * 5000, [], [[]], [1, 2, 3, 4, 5], [None] * 4, [True] * 4, [[1, 2, 3, 4]], {}, {"size": [1e9, 1e9]},
    [1e9] * 6, [[float("nan")] * 6], NOTHING,
]  # fmt: skip


@pytest.fixture
def load(tmp_path):
    """A set from a dict in COCO's structure: (annotations, {kind of finding: its line})."""
    write_images(tmp_path / "images")
    path = tmp_path / "a.json"

    def loaded(coco):
        path.write_text(json.dumps(coco))
        annotations, findings = validation.checked(reader.load(path, tmp_path / "images"))
        return annotations, {finding.kind: str(finding) for finding in findings}

    return loaded


def boxes_of(annotations: AnnotationSet) -> list[list[float]]:
    return [entry["bbox"] for entry in annotations.coco["annotations"]]


def places(node, path=()):
    """The paths of all values in a JSON document."""
    yield path
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in children:
        yield from places(value, (*path, key))


def put(document, path, value):
    if not path:
        return None if value is NOTHING else value
    node = document
    for key in path[:-1]:
        node = node[key]
    if value is NOTHING:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return document


@pytest.mark.parametrize("boxes", ["bbox", "polygons", "run lengths"])
def test_any_value_in_any_place_is_read_or_one_line(load, boxes):
    """Over 600 documents each, scored as an evaluation does."""
    whole = coco_dict()
    whole["annotations"] = whole["annotations"][::2]  # one an image
    for entry, (_, height, width, _) in zip(whole["annotations"], IMAGES, strict=True):
        if boxes != "bbox":
            del entry["bbox"]
        if boxes == "run lengths":
            entry["segmentation"] = {"size": [height, width], "counts": [100, 50, height * width - 150]}
    count, truth, annotations = 0, {"annotations": []}, None
    for path in places(whole):
        for wrong in WRONG:
            count += 1
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                try:
                    annotations, _ = load(put(copy.deepcopy(whole), path, wrong))
                except UserError as error:
                    assert "\n" not in str(error) and len(str(error)) < 1000, (path, wrong)
                    continue
                truth = annotations.coco
                for entry in truth["annotations"]:
                    assert entry.get("iscrowd", 0) in (0, 1) and entry.get("area", 1) > 0, (path, wrong)
                    assert np.isfinite(np.array(entry["bbox"], float)).all(), (path, wrong)
        if annotations:  # the last one that could be read
            data.annotation_set.source(annotations)
        results = [entry | {"score": 1.0} for entry in truth["annotations"]]
        assert not results or scoring.coco_scores(truth, results).numbers["AP"] > 0.999, path
    assert count > 600


def test_numbers_and_flags_that_stand_as_text_are_read(load):
    coco = coco_dict()
    for entry in coco["annotations"]:
        entry["bbox"] = [str(value) for value in entry["bbox"]]
        entry |= {"image_id": str(entry["image_id"]), "category_id": float(entry["category_id"]), "iscrowd": "0"}
        entry |= {"area": None}
    for image in coco["images"]:
        image |= {"height": str(image["height"]), "width": float(image["width"])}
    annotations, findings = load(coco)
    plain = coco_dict()
    assert not findings and annotations.coco["images"] == plain["images"]
    assert annotations.coco["annotations"] == [entry | {"area": entry["area"]} for entry in plain["annotations"]]


@pytest.mark.parametrize(
    ("value", "crowd", "told"),
    [("0", 0, False), ("false", 0, False), (False, 0, False), (None, 0, False), ("1", 1, False), (True, 1, False)]
    + [("True", 1, False), (1.0, 1, False), (2, 0, True), ("maybe", 0, True), ([1], 0, True)],
)
def test_crowds_are_what_they_say(load, value, crowd, told):
    coco = coco_dict()
    coco["annotations"][1]["iscrowd"] = value
    annotations, findings = load(coco)
    assert annotations.coco["annotations"][1]["iscrowd"] == crowd
    assert ("no usable iscrowd" in findings) == told


@pytest.mark.parametrize("area", [None, NOTHING, "x", float("nan"), 0, -5, 1e12, [1]])
def test_areas_that_cannot_be_are_those_of_the_boxes(load, area):
    annotations, _ = load(put(coco_dict(), ("annotations", 0, "area"), area))
    entry = annotations.coco["annotations"][0]
    assert entry.get("area", 16 * 20) == 16 * 20
    assert scoring.coco_scores(annotations.coco, [entry | {"score": 1.0}]).numbers["AR_small"] > 0


@pytest.mark.parametrize("ids", [[0, 0, 0], [1, 2, 1], [None, None, None], [NOTHING, NOTHING, NOTHING], ["a", 1, [2]]])
def test_ids_of_annotations_do_not_matter(load, ids):
    coco = coco_dict()
    for index, value in enumerate(ids):
        put(coco, ("annotations", index, "id"), value)
    annotations, findings = load(coco)
    assert len(annotations.coco["annotations"]) == 3 and not findings
    results = [entry | {"score": 1.0} for entry in annotations.coco["annotations"]]
    assert scoring.coco_scores(annotations.coco, results).numbers["AP"] == 1.0


def test_ids_of_images_and_categories_may_be_texts_or_of_two_kinds(load):
    for ids, categories in ((("a", "b"), ("x", "y")), ((0, "b"), (1, "2")), (("000011", "11"), ("7", "x"))):
        annotations, findings = load(coco_dict(ids, categories))
        assert not findings and annotations.coco == coco_dict(ids, categories)
        results = [entry | {"score": 1.0} for entry in annotations.coco["annotations"]]
        scores = scoring.coco_scores(annotations.coco, results)
        assert scores.numbers["AP"] == pytest.approx(1) == scores.per_class()


def test_images_whose_ids_cannot_be_told_apart_are_left_out(load):
    _, findings = load(coco_dict((11, "11")))
    assert "b.png, image 11: duplicate image id" in findings["duplicate image id"]


# Outlines


def test_boxes_come_from_polygons_and_run_lengths(load):
    coco = coco_dict()
    kinds = [[[8, 4, 24, 4, 24, 24]], [40, 10, 70, 30], {"size": [60, 48], "counts": [12 * 60 + 30, 24, 36, 24]}]
    for entry, outline in zip(coco["annotations"], kinds, strict=True):
        entry |= {"bbox": None, "segmentation": outline}
    coco["annotations"][2]["segmentation"]["counts"] += [60 * 48 - sum(kinds[2]["counts"])]
    annotations, findings = load(coco)
    assert boxes_of(annotations) == [[8, 4, 16, 20], [40, 10, 30, 20], [12, 30, 2, 24]]
    assert findings["boxes from outlines"].endswith("(3 annotations have no bbox), computed")
    del coco["annotations"][0]["bbox"], coco["annotations"][0]["area"]
    assert boxes_of(load(coco)[0])[0] == [8, 4, 16, 20]


@pytest.mark.parametrize("seed", range(5))
def test_the_box_of_run_lengths_is_that_of_their_mask(seed):
    mask_api = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(seed)
    mask = np.zeros((13, 17), np.uint8, order="F")
    y, x = rng.integers(0, 10, 2)
    mask[y : y + rng.integers(1, 14), x : x + rng.integers(1, 8)] = 1
    encoded = mask_api.encode(mask)
    assert outline_box(encoded, 13, 17) == mask_api.toBbox(encoded).tolist()
    assert outline_box({**encoded, "counts": encoded["counts"].decode()}, None, None) == outline_box(encoded, 13, 17)
    np.testing.assert_array_equal(object_mask(encoded, 13, 17), mask)


@pytest.mark.parametrize(
    ("outline", "reason"),
    [
        ([[1e9, 0, 1, 1, 2, 2]], "the coordinate 1e\\+09"),
        ({"size": [9, 9], "counts": [81]}, "of the size"),
        ({"size": [40, 80], "counts": [3200]}, "no pixel"),
        ({"size": [40, 80], "counts": "0" * 99}, "run lengths"),
        ([["x", 1, 2, 3]], "'x' in place of a number"),
        ([[]], "no point"),
    ],
)
def test_outlines_that_cannot_be_are_one_line(load, outline, reason):
    coco = coco_dict()
    coco["annotations"] = [coco["annotations"][0] | {"bbox": [], "segmentation": outline}]
    with pytest.raises(
        UserError, match=f"1 boxes, all left out: 1 x no box; .*annotation 100: segmentation: .*{reason}"
    ):
        load(coco)


def test_key_points_alone_are_refused(load):
    coco = coco_dict()
    for entry in coco["annotations"]:
        del entry["bbox"], entry["segmentation"]
        entry["keypoints"] = [3, 4, 2]
    with pytest.raises(UserError, match="boxes that can be used. Received: 3 boxes, all left out: 3 x key points only"):
        load(coco)


# The reason surfaces


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "image_id",
            "x",
            "3 x unknown image; the first .*annotation 100: image 'x'; images have the ids 11, 7, categor",
        ),
        ("category_id", 5, "3 x unknown category; the first .*annotation 100: 5; images have .* categories 90, 3"),
        ("bbox", [0, 0, 0, 9], "3 x no area; the first .*annotation 100: bbox"),
    ],
)
def test_one_reason_for_all_boxes_is_named(load, key, value, message):
    coco = coco_dict()
    for entry in coco["annotations"]:
        entry[key] = value
    with pytest.raises(UserError, match=f"3 boxes, all left out: {message}"):
        load(coco)


def test_images_that_are_not_there_say_where_they_were_looked_for(tmp_path):
    write_coco(tmp_path)
    keys = {"annotations": {"validation": "annotations/instances_val2017.json"}, "images": {"validation": "pictures"}}
    with pytest.raises(UserError, match="2 x missing image; the first .*/pictures/a.png, image 11: no such folder"):
        read("coco", tmp_path, "validation", **keys)


@pytest.mark.parametrize("name", ["C:\\x\\images\\a.png", "/mnt/somewhere/a.png", "..\\images\\a.png", "x/y/a.png"])
def test_paths_of_other_machines_are_looked_up_by_their_last_parts(load, name):
    coco = coco_dict()
    coco["images"][0]["file_name"] = name
    annotations, findings = load(coco)
    assert not findings and annotations.paths[0].name == "a.png"


def test_absolute_paths_and_paths_that_leave_the_folder_are_taken_as_they_stand(load, tmp_path):
    write_images(tmp_path / "other")
    coco = coco_dict()
    coco["images"][0]["file_name"] = str(tmp_path / "other/a.png")
    coco["images"][1]["file_name"] = "../other/b.png"
    annotations, _ = load(coco)
    assert [path.resolve() for path in annotations.paths] == [tmp_path / "other/a.png", tmp_path / "other/b.png"]


def test_boxes_of_another_layout_are_told(load):
    shares, corners = coco_dict(), coco_dict()
    for entry in shares["annotations"]:
        entry["bbox"] = [0.25, 0.5, 0.25, 0.25]
    with pytest.raises(UserError, match="boxes in pixels. Received: shares of the image, the first .0.25, 0.5, 0.25"):
        load(shares)
    for entry in corners["annotations"]:
        entry["bbox"] = [30, 20, 45, 38]
    _, findings = load(corners)
    assert "3 of 3 reach over the edge; as two corners, all lie within" in findings["boxes like corners"]
    corners["annotations"][0]["bbox"] = [40, 10, 30, 20]
    assert "boxes like corners" not in load(corners)[1]


def test_categories_that_boxes_count_from_another_number_are_told(load):
    coco = coco_dict(categories=(1, 2))
    assert "shifted categories" not in load(coco)[1]
    for entry in coco["annotations"]:
        entry["category_id"] -= 1
    _, findings = load(coco)
    assert "boxes have the ids 0 to 1, categories 1 to 2" in findings["shifted categories"]


def test_boxes_of_zeros_are_those_of_their_outlines(load):
    coco = coco_dict()
    coco["annotations"][0] |= {"bbox": [0, 0, 0, 0], "segmentation": [[8, 4, 24, 4, 24, 24]]}
    assert boxes_of(load(coco)[0])[0] == [8, 4, 16, 20]


def test_images_without_a_name_end_a_strict_run(load, tmp_path):
    coco = coco_dict()
    coco["images"][0]["file_name"] = None
    assert "no file name" in load(coco)[1]
    with pytest.raises(UserError, match="image 11 must be an image that can be used. Received: no file name"):
        validation.checked(reader.load(tmp_path / "a.json", tmp_path / "images"), on_corrupt="error")


# Categories


def test_the_root_of_exported_categories_is_no_class(load):
    coco = coco_dict()
    coco["categories"] = [{"id": 0, "name": "pets", "supercategory": "none"}] + [
        category | {"supercategory": "pets"} for category in coco["categories"]
    ]
    annotations, findings = load(coco)
    assert annotations.classes == ["cat", "dog"]
    assert "category 0: root category (pets, which no box has), left out" in findings["root category"]
    coco["annotations"][0]["category_id"] = 0  # a root that is used is a class
    assert load(coco)[0].classes == ["pets", "cat", "dog"]


def test_a_class_without_boxes_stays(load):
    coco = coco_dict()
    coco["categories"] += [{"id": 1, "name": "bird", "supercategory": "none"}]
    assert load(coco)[0].classes == ["bird", "cat", "dog"]


def test_a_root_that_another_split_uses_is_a_class_in_every_split(tmp_path):
    coco = coco_dict()
    for category in coco["categories"]:
        category["supercategory"] = "pets"
    coco["categories"] += [{"id": 0, "name": "pets", "supercategory": "none"}]
    other = copy.deepcopy(coco)
    other["annotations"][0]["category_id"] = 0
    for name, document in (("train", coco), ("valid", other)):
        write_images(tmp_path / name)
        (tmp_path / name / "_annotations.coco.json").write_text(json.dumps(document))
    sections = data_section("detection", reader="coco", root=tmp_path)
    for split in ("train", "validation"):
        assert data.examine(sections, split)[0].classes == ["pets", "cat", "dog"]


def test_of_two_categories_of_one_name_the_one_with_boxes_stays(load):
    coco = coco_dict()
    coco["categories"] = [{"id": 0, "name": "cat"}, *coco["categories"]]
    annotations, findings = load(coco)
    assert annotations.classes == ["cat", "dog"] and [c["id"] for c in annotations.coco["categories"]] == [90, 3]
    assert "category 0: category twice" in findings["category twice"]
    coco["annotations"][1]["category_id"] = 0
    with pytest.raises(UserError, match="each category name once. Received: cat more than once"):
        load(coco)


@pytest.mark.parametrize("change", [{"id": None}, {"id": [1]}, {"name": None}, {"name": " "}, {"name": "a\nb"}])
def test_categories_must_have_an_id_and_a_name(load, change):
    coco = coco_dict()
    coco["categories"][1] |= change
    with pytest.raises(UserError, match=r"a.json: categories\[1\] must have an id and a name"):
        load(coco)


# Phone images that are stored sideways


def stored(tmp_path, orientation, annotated, size=(60, 30), second=None):
    """A set of one or two images of `size` (width, height) with a box around a white patch of the stored image."""
    folder = tmp_path / "images"
    folder.mkdir(exist_ok=True)
    images, entries = [], []
    for number, (side, turn, given) in enumerate([(size, orientation, annotated), *([second] if second else [])]):
        picture = Image.new("RGB", side)
        picture.paste((255, 255, 255), (8, 4, 24, 14))
        exif = picture.getexif()
        exif[0x0112] = turn
        picture.save(folder / f"{number}.jpg", quality=95, exif=exif)
        images.append({"id": number, "file_name": f"{number}.jpg", "width": given[0], "height": given[1]})
        entries.append({"id": number, "image_id": number, "category_id": 1, "bbox": [8, 4, 16, 10]})
    path = tmp_path / "a.json"
    coco = {"images": images, "annotations": entries, "categories": [{"id": 1, "name": "patch"}]}
    path.write_text(json.dumps(coco))
    return reader.load(path, folder)


def patch_is_in_its_box(annotations: AnnotationSet, place=0) -> bool:
    source = data.annotation_set.source(annotations)
    samples = [source.load(item) for item in source.items]
    image, boxes = samples[place]["image"].numpy()[..., 0] > 128, samples[place]["boxes"].numpy()
    rows, columns = np.nonzero(image)
    found = np.array([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]) / np.tile(image.shape, 2)
    return bool(np.abs(found - boxes[0]).max() < 0.02)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_of_stored_images_are_turned_with_them(tmp_path, orientation):
    annotations, findings = validation.checked(stored(tmp_path, orientation, (60, 30)))
    assert [finding.kind for finding in findings] == ["stored sideways"]
    assert (annotations.coco["images"][0]["width"], annotations.coco["images"][0]["height"]) == (30, 60)
    assert patch_is_in_its_box(annotations)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_where_one_image_is_annotated_as_stored_so_are_those_that_do_not_tell(tmp_path, orientation):
    """Flipped images and squares have one size, stored or shown."""
    for size in ((60, 30), (60, 60)):
        tells = ((60, 30), 6, (60, 30))
        annotations, findings = validation.checked(stored(tmp_path, orientation, size, size, tells))
        assert {finding.kind for finding in findings} == {"stored sideways"}
        assert patch_is_in_its_box(annotations, 0) and patch_is_in_its_box(annotations, 1)


def test_boxes_of_shown_images_stay_and_what_does_not_tell_is_said(tmp_path):
    annotations, findings = validation.checked(stored(tmp_path, 6, (30, 60)))
    assert not findings and boxes_of(annotations) == [[8, 4, 16, 10]]
    annotations, findings = validation.checked(stored(tmp_path, 3, (60, 30)))
    assert [finding.kind for finding in findings] == ["unclear orientation"]
    assert boxes_of(annotations) == [[8, 4, 16, 10]]


def test_boxes_of_smaller_stored_images_are_turned_and_scaled(tmp_path):
    loaded = stored(tmp_path, 6, (120, 60))
    loaded.coco["annotations"][0]["bbox"] = [16, 8, 32, 20]
    annotations, findings = validation.checked(loaded)
    assert {finding.kind for finding in findings} == {"stored sideways", "other image size"}
    assert patch_is_in_its_box(annotations)


# Layouts


@pytest.mark.parametrize("layout", ["roboflow", "cvat", "label studio", "file beside"])
def test_archives_of_labeling_tools_are_found(tmp_path, layout):
    coco, keys = coco_dict(), {}
    if layout == "roboflow":
        path = tmp_path / "train/_annotations.coco.json"
        write_images(tmp_path / "train")
    elif layout == "cvat":
        path = tmp_path / "annotations/instances_default.json"
        write_images(tmp_path / "images")
    elif layout == "label studio":
        path = tmp_path / "result.json"
        write_images(tmp_path / "images")
        for image in coco["images"]:
            image["file_name"] = f"images\\{image['file_name']}"
    else:
        path = tmp_path / "labels/all.json"
        write_images(tmp_path / "labels/images")
        keys = {"annotations": {"train": "labels/all.json"}}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(coco))
    assert read("coco", tmp_path, "train", **keys).count >= 1
