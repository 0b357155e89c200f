"""Pascal VOC in the folders that people have it in, and with what tools write into it."""

from functools import partial
from pathlib import Path

import detection_sets
import numpy as np
import pytest
from PIL import Image

from mobilenet_tf.data.splits import SPLITS
from mobilenet_tf.utils.errors import UserError

NAMES = list("abcdef")
BOX = (4, 6, 19, 25)  # xmin, ymin, xmax, ymax as VOC counts them


def image(path: Path, size=(32, 48)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), 90, np.uint8)).save(path)
    return path


def entry(name="helmet", box=BOX, extra="") -> str:
    corners = "".join(
        f"<{key}>{value}</{key}>" for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object><name>{name}</name>{extra}<bndbox>{corners}</bndbox></object>"


def xml(path: Path, objects: str | None = None, filename="", size="<width>48</width><height>32</height>") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    named = f"<filename>{filename}</filename>" if filename else ""
    content = f"<annotation>{named}<size>{size}</size>{entry() if objects is None else objects}</annotation>"
    path.write_text(content, encoding="utf-8")
    return path


def pairs(images: Path, annotations: Path, names=NAMES, suffix=".jpg", **keys) -> None:
    for name in names:
        image(images / f"{name}{suffix}")
        xml(annotations / f"{name}.xml", **keys)


def lists(folder: Path, **named: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in named.items():
        (folder / f"{name}.txt").write_text(lines)


examine = partial(detection_sets.examine, "voc")


def stems(root: Path, split="train", **keys) -> list[str]:
    return [path.stem for path in examine(root, split, **keys)[0].paths]


def devkit(root: Path, **keys) -> None:
    pairs(root / "VOCdevkit/VOC2007/JPEGImages", root / "VOCdevkit/VOC2007/Annotations", **keys)
    lists(root / "VOCdevkit/VOC2007/ImageSets/Main", train="a\nb\n", val="c\nd\n", test="e\nf\n")


LAYOUTS = {
    "raccoon": lambda root: pairs(root / "images", root / "annotations"),
    "annots": lambda root: pairs(root / "images", root / "annots"),
    "xmls": lambda root: pairs(root / "images", root / "xmls"),
    "pets": lambda root: pairs(root / "images", root / "annotations/xmls"),
    "labelImg": lambda root: pairs(root, root),
    "Model Maker": lambda root: pairs(root / "data", root / "Annotations"),
    "own folder names": lambda root: pairs(root / "photos of today", root / "Annotations"),
    "upper case": lambda root: pairs(root / "IMAGES", root / "ANNOTATIONS", suffix=".JPG"),
    "one level too high": lambda root: pairs(root / "unpacked/images", root / "unpacked/annotations"),
    "nested images": lambda root: [
        pairs(root / "JPEGImages" / part, root / "Annotations" / part, names)
        for part, names in (("north", "abc"), ("south", "def"))
    ],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_folders_without_splits_are_divided(tmp_path, layout):
    LAYOUTS[layout](tmp_path)
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX/._a.xml").write_text("nonsense")
    parts = {split: stems(tmp_path, split) for split in SPLITS}
    assert sorted(sum(parts.values(), [])) == NAMES and all(parts.values())


SPLIT_LAYOUTS = {
    "Roboflow": lambda root: [
        pairs(root / split, root / split, names) for split, names in (("train", "ab"), ("valid", "cd"), ("test", "ef"))
    ],
    "capitals": lambda root: [
        pairs(root / split / "images", root / split / "annotations", names)
        for split, names in (("Train", "ab"), ("Valid", "cd"), ("TEST", "ef"))
    ],
    "a folder for each split and kind": lambda root: [
        pairs(root / f"{split}_images", root / f"{split}_annotations", names)
        for split, names in (("train", "ab"), ("val", "cd"), ("test", "ef"))
    ],
    "years": lambda root: [
        pairs(root / f"{split}2017", root / "Annotations" / f"{split}2017", names)
        for split, names in (("train", "ab"), ("val", "cd"), ("test", "ef"))
    ],
    "splits inside": lambda root: [
        pairs(root / "images" / split, root / "annotations" / split, names)
        for split, names in (("train", "ab"), ("val", "cd"), ("test", "ef"))
    ],
    "splits of the images alone": lambda root: [
        pairs(root / split, root / "annotations", names)
        for split, names in (("train", "ab"), ("val", "cd"), ("test", "ef"))
    ],
    "one folder of a devkit": lambda root: devkit(root),
    "CVAT's subsets": lambda root: [
        pairs(root / "JPEGImages", root / "Annotations"),
        lists(root / "ImageSets/Main", Train="a\nb\n", Validation="c\nd\n", Test="e\nf\n"),
    ],
    "lists with columns": lambda root: [
        pairs(root / "JPEGImages", root / "Annotations"),
        lists(root / "ImageSets/Main", train="a 1\nb  -1\n", val="c 0.75\nd 0\n", test="e.jpg 1\nJPEGImages/f.jpg\n"),
    ],
    "lists in the root": lambda root: [
        pairs(root / "JPEGImages", root / "Annotations"),
        lists(root, train="JPEGImages/a.jpg Annotations/a.xml\nb\n", val="c\nd\n", test="e\nf\n", labels="helmet\n"),
    ],
    "lists beside the annotations": lambda root: [
        pairs(root / "images", root / "annotations/xmls"),
        lists(root / "annotations", trainval="a 1 1 1\nb 1 1 2\n", val="c 1 1 1\nd 1 1 1\n", test="e 1\nf 1\n",
              train="a 1 1 1\nb 1 1 1\n"),
    ],
    "lists of pairs of files": lambda root: [
        pairs(root / "JPEGImages", root / "Annotations"),
        lists(root / "ImageSets", train="JPEGImages/a.jpg Annotations/a.xml\nb.jpg b.xml\n",
              val="./JPEGImages/c.jpg ./Annotations/c.xml\nd\n", test="JPEGImages\\e.jpg Annotations\\e.xml\nf\n"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("layout", SPLIT_LAYOUTS)
def test_given_splits_are_kept(tmp_path, layout):
    SPLIT_LAYOUTS[layout](tmp_path)
    assert {split: stems(tmp_path, split) for split in SPLITS} == {
        "train": ["a", "b"], "validation": ["c", "d"], "test": ["e", "f"],
    }  # fmt: skip


def test_equal_names_in_two_splits_stay_apart(tmp_path):
    for split, value in (("train", 1), ("val", 2)):
        pairs(tmp_path / "images" / split, tmp_path / "annotations" / split, "ab", objects=entry(f"class {value}"))
    for split, folder in (("train", "train"), ("validation", "val")):
        found, _ = examine(tmp_path, split)
        assert {path.parent for path in found.paths} == {tmp_path / "images" / folder}
        assert found.classes == ["class 1", "class 2"]
    assert [path["id"] for path in found.coco["images"]] == ["annotations/val/a", "annotations/val/b"]


def test_masks_of_equal_names_are_no_images(tmp_path):
    pairs(tmp_path / "JPEGImages", tmp_path / "Annotations", "ab")
    image(tmp_path / "SegmentationClass/a.png")
    assert {path.parent.name for path in examine(tmp_path)[0].paths} == {"JPEGImages"}


def test_cvats_list_of_everything_is_divided(tmp_path):
    pairs(tmp_path / "JPEGImages", tmp_path / "Annotations")
    lists(tmp_path / "ImageSets/Main", default="".join(f"{name}\n" for name in NAMES))
    for keys in ({}, {"splits": {"train": "default"}}):
        assert sorted(sum((stems(tmp_path, split, **keys) for split in SPLITS), [])) == NAMES


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_lists_are_read_in_their_encoding(tmp_path, encoding):
    pairs(tmp_path / "JPEGImages", tmp_path / "Annotations", ["bär", "my photo 1", "x"])
    for name, lines in (("train", "bär\nmy photo 1\n"), ("val", "x\n")):
        path = tmp_path / f"ImageSets/Main/{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(lines.encode(encoding))
    keys = {"encoding": "cp1252"} if encoding == "cp1252" else {}
    assert stems(tmp_path, **keys) == ["bär", "my photo 1"]
    if encoding == "cp1252":
        with pytest.raises(UserError, match=r"train.txt, line 1 must be text in UTF-8.*data.encoding=cp1252"):
            stems(tmp_path)


def test_names_of_lists_without_an_annotation_are_told(tmp_path):
    pairs(tmp_path / "JPEGImages", tmp_path / "Annotations", "ab")
    lists(tmp_path / "ImageSets/Main", train="a\nlost\n", val="b\n")
    with pytest.warns(UserWarning, match="1 of 2 names have no XML file, the first lost; left out"):
        assert stems(tmp_path) == ["a"]
    with pytest.raises(UserError, match="must name images that have an XML file. Received: lost"):
        stems(tmp_path, on_corrupt="error")
    with pytest.raises(UserError, match="must be a folder or list of .* Received: nowhere"):
        stems(tmp_path, splits={"train": "nowhere"})


@pytest.mark.parametrize("folder", ["VOCdevkit/VOC2007", "VOC2007", "VOCdevkit"])
def test_own_classes_in_vocs_folders_are_all_kept(tmp_path, folder):
    root = tmp_path / folder
    pairs(root / "JPEGImages", root / "Annotations", "ab", objects=entry("person") + entry("helmet"))
    lists(root / "ImageSets/Main", train="a\n", val="b\n")
    with pytest.warns(UserWarning, match="helmet is none of Pascal VOC's twenty"):
        found, findings = examine(tmp_path if folder != "VOC2007" else root)
    assert found.classes == ["helmet", "person"] and len(found.coco["annotations"]) == 2 and not findings


def test_vocs_own_classes_are_all_twenty(tmp_path):
    devkit(tmp_path, objects=entry("dog") + entry("person"))
    found, _ = examine(tmp_path)
    assert len(found.classes) == 20 and found.classes[11] == "dog"


def test_a_devkit_without_its_second_year_is_read(tmp_path):
    for year in ("VOC2007", "VOC2012"):
        pairs(tmp_path / year / "JPEGImages", tmp_path / year / "Annotations", [f"{year}_{n}" for n in "ab"],
              objects=entry("dog"))  # fmt: skip
    lists(tmp_path / "VOC2007/ImageSets/Main", trainval="VOC2007_a\n", test="VOC2007_b\n")
    assert stems(tmp_path) == ["VOC2007_a"] and stems(tmp_path, "test") == ["VOC2007_b"]
    lists(tmp_path / "VOC2012/ImageSets/Main", trainval="VOC2012_a\n", train="VOC2012_b\n")
    assert stems(tmp_path) == ["VOC2007_a", "VOC2012_a"]
    assert stems(tmp_path, splits={"train": "2012/train"}) == ["VOC2012_b"]


def test_an_annotation_belongs_to_the_image_of_its_own_name(tmp_path):
    for name in ("a", "a_flipped"):
        image(tmp_path / f"images/{name}.jpg")
        xml(tmp_path / f"annotations/{name}.xml", filename="a.jpg")
    assert sorted(stems(tmp_path) + stems(tmp_path, "validation")) == ["a", "a_flipped"]


def test_an_image_that_another_annotation_has_is_not_taken(tmp_path):
    pairs(tmp_path / "images", tmp_path / "annotations", "abc")
    xml(tmp_path / "annotations/a_tile.xml", filename="a.jpg")  # its own image has been left behind
    lists(tmp_path / "ImageSets/Main", train="a\nb\na_tile\n", val="c\n")
    found, findings = examine(tmp_path)
    assert [path.name for path in found.paths] == ["a.jpg", "b.jpg"]
    assert [finding.kind for finding in findings] == ["missing image"]


@pytest.mark.parametrize("filename", ["photo.png", "C:\\pictures\\photo.png", "/home/me/photo.png", "photo"])
def test_a_file_name_is_used_where_there_is_no_image_of_the_own_name(tmp_path, filename):
    pairs(tmp_path / "images", tmp_path / "annotations", "ab")
    image(tmp_path / "images/photo.png")
    xml(tmp_path / "annotations/0001.xml", filename=filename)
    lists(tmp_path / "ImageSets/Main", train="0001\n", val="a\n")
    assert stems(tmp_path) == ["photo"]


def test_dots_and_two_suffixes_belong_to_names(tmp_path):
    pairs(tmp_path / "images", tmp_path / "annotations", ["a.jpg.rf.0f9c", "b.v2"])
    image(tmp_path / "images/c.jpg")
    xml(tmp_path / "annotations/c.jpg.xml")
    lists(tmp_path / "ImageSets/Main", train="a.jpg.rf.0f9c\nb.v2\nc.jpg\n", val="b.v2\n")
    assert stems(tmp_path) == ["a.jpg.rf.0f9c", "b.v2", "c"]


READ = {  # objects: (box x, y, width, height; crowd)
    "empty fields": (entry(extra="<difficult/><pose/><truncated></truncated>"), (3, 5, 16, 20), 0),
    "words": (entry(extra="<difficult>Unspecified</difficult>"), (3, 5, 16, 20), 0),
    "difficult": (entry(extra="<difficult> 1 </difficult>"), (3, 5, 16, 20), 1),
    "decimals": (entry(box=(" 4.5 ", "6,25", "19.5", "25")), (3.5, 5.25, 16, 19.75), 0),
    "upper case": (entry().upper().replace("HELMET", "helmet"), (3, 5, 16, 20), 0),
    "parts": (entry(extra="<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"), (3, 5, 16, 20), 0),
    "lines in a name": (entry("\n  helmet\n"), (3, 5, 16, 20), 0),
    "deleted": (entry() + entry("other", extra="<deleted>1</deleted>"), (3, 5, 16, 20), 0),
}


@pytest.mark.parametrize("case", READ)
def test_what_tools_write_is_read(tmp_path, case):
    objects, box, crowd = READ[case]
    pairs(tmp_path / "images", tmp_path / "annotations", "a", objects=objects)
    found, findings = examine(tmp_path)
    assert [(tuple(entry["bbox"]), entry["iscrowd"]) for entry in found.coco["annotations"]] == [(box, crowd)]
    assert found.classes == ["helmet"] and not findings


def test_swapped_corners_are_put_in_order_and_told(tmp_path):
    pairs(tmp_path / "images", tmp_path / "annotations", "ab", objects=entry(box=(19, 25, 4, 6)))
    with pytest.warns(UserWarning, match="2 files have boxes whose corners are swapped"):
        found, findings = examine(tmp_path)
    assert found.coco["annotations"][0]["bbox"] == [3, 5, 16, 20] and not findings


@pytest.mark.parametrize("size", ["", "<width/><height/>", "<width>0</width><height>0</height>"])
def test_a_size_that_is_missing_is_that_of_the_image(tmp_path, size):
    pairs(tmp_path / "images", tmp_path / "annotations", "ab", size=size)
    found, findings = examine(tmp_path)
    assert (found.coco["images"][0]["height"], found.coco["images"][0]["width"]) == (32, 48) and not findings


def test_a_declared_encoding_is_followed(tmp_path):
    pairs(tmp_path / "images", tmp_path / "annotations", "ab")
    for name in "ab":
        content = f'<?xml version="1.0" encoding="gbk"?><annotation>{entry("猫")}</annotation>'
        (tmp_path / f"annotations/{name}.xml").write_bytes(content.encode("gbk"))
    assert examine(tmp_path)[0].classes == ["猫"]


FAULTS = {
    "no name": (entry(""), "a.xml, object 1 must have a name"),
    "no box": ("<object><name>x</name><robndbox/></object>", "object 1 must have a bndbox with .* Received: name, rob"),
    "no corner": (entry(box=(4, 6, 19, "")), "object 1: ymax must be a number. Received: nothing"),
    "text": (entry() + entry(box=("four", 6, 19, 25)), "object 2: xmin must be a number. Received: four"),
    "no object": ("", "must have XML files with objects. Received: 1 files, no object"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_faults_are_one_line_with_file_and_object(tmp_path, case):
    objects, message = FAULTS[case]
    pairs(tmp_path, tmp_path, "a", objects=objects)
    with pytest.raises(UserError, match=message) as error:
        examine(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", ["nan", "inf", "-1e999"])
def test_numbers_without_end_are_left_out_with_a_line(tmp_path, value):
    pairs(tmp_path, tmp_path, "a", objects=entry() + entry(box=(value, 6, 19, 25)))
    found, findings = examine(tmp_path)
    assert len(found.coco["annotations"]) == 1
    assert len(findings) == 1 and "object 2" in findings[0].where


def test_other_xml_and_other_data_sets_are_named(tmp_path):
    image(tmp_path / "images/a.jpg")
    with pytest.raises(UserError, match=r"must be a folder with XML files of Pascal VOC: .* which holds images/"):
        examine(tmp_path)
    (tmp_path / "boxes.json").write_text("{}")
    with pytest.raises(UserError, match="which holds images/, 1 .json.* data.reader=coco"):
        examine(tmp_path)
    (tmp_path / "annotations.xml").write_text("<annotations><image/></annotations>")
    with pytest.raises(UserError, match="CVAT's own format: export it as Pascal VOC"):
        examine(tmp_path)
    with pytest.raises(UserError, match="which does not exist"):
        examine(tmp_path / "nowhere")


def test_classes_that_differ_in_case_alone_are_told(tmp_path):
    pairs(tmp_path, tmp_path, "ab", objects=entry("Helmet") + entry("helmet"))
    with pytest.warns(UserWarning, match="the classes Helmet, helmet differ in case or blanks alone"):
        assert examine(tmp_path)[0].classes == ["Helmet", "helmet"]


def test_images_without_an_annotation_are_counted(tmp_path):
    pairs(tmp_path / "images", tmp_path / "annotations", "ab")
    image(tmp_path / "images/unlabeled.jpg")
    with pytest.warns(UserWarning, match="1 of 3 images have no .xml file; left out"):
        examine(tmp_path)


def test_a_list_of_something_else_is_none(tmp_path):
    pairs(tmp_path, tmp_path, "abcdef")
    lists(tmp_path, train="notes on the training\n", test="to be done\n")
    assert len(stems(tmp_path)) == 4


@pytest.mark.parametrize("layout", [("", ""), ("images", "annotations"), ("train", "train")])
def test_a_copy_of_the_data_set_in_itself_is_left_out(tmp_path, layout):
    for folder in (tmp_path, tmp_path / "set"):
        pairs(folder / layout[0], folder / layout[1], "abcdef")
    with pytest.warns(
        UserWarning, match="(6 files are copies of others, .*; left out|6 of 12 images have no .xml file)"
    ):
        assert len(stems(tmp_path)) == 4


def test_linked_folders_are_read(tmp_path):
    pairs(tmp_path / "elsewhere/images", tmp_path / "elsewhere/annotations", "ab")
    (tmp_path / "set").mkdir()
    for name in ("images", "annotations"):
        (tmp_path / "set" / name).symlink_to(tmp_path / "elsewhere" / name, target_is_directory=True)
    assert sorted(stems(tmp_path / "set") + stems(tmp_path / "set", "validation")) == ["a", "b"]


@pytest.mark.real_data
@pytest.mark.parametrize("root", ["voc2007_mini", "voc2007_mini/VOCdevkit", "voc2007_mini/VOCdevkit/VOC2007"])
def test_a_real_devkit_is_read_from_every_height(real_data, root):
    parts = {split: examine(real_data / root, split)[0] for split in SPLITS}
    assert [len(parts[split].paths) for split in SPLITS] == [260, 60, 100]
    assert all(len(part.classes) == 20 for part in parts.values())
