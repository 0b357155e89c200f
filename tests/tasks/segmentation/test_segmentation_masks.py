"""Masks as people have them: how files store them, what their values and colors stand for, where they lie."""

import io
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from sections import data_section

from mobilenet_tf import config
from mobilenet_tf.data.source import user_errors
from mobilenet_tf.tasks.segmentation import check, data
from mobilenet_tf.utils.errors import UserError

H, W = 12, 20
LEFT = np.arange(W) < W // 2
HALVES = np.broadcast_to(np.where(LEFT, 0, 1), (H, W)).astype(np.uint8)
NAMES = ["background", "object"]
BINARY = {0: "background", 255: "object"}


def picture(path, size=(H, W), orientation=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.full((*size, 3), 90, np.uint8))
    image.save(path, **({"exif": exif(orientation)} if orientation else {}))


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def store(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(path, **options)


def training_set(root, image, name="m.png", count=3, **options):
    """root/train/images and root/train/masks, each mask the same image, and some for validation."""
    for split in ("train", "val"):
        for i in range(count):
            picture(root / split / "images" / f"{i}.jpg")
            store(root / split / "masks" / f"{i}{name[1:]}", image, **options)
    return root


def section(root, reader="folder", **keys):
    return data_section("segmentation", reader=reader, root=root, **keys)


def first_mask(root, split="train", reader="folder", **keys):
    masked = data.examine(section(root, reader, **({"classes": NAMES} if not keys.get("values") else {}) | keys), split)
    return masked.read_mask(masked.masks[0])


# Nothing to learn


@pytest.mark.parametrize("value", [0, 1])
def test_black_and_white_masks_are_refused_before_training_on_nothing(tmp_path, value):
    training_set(tmp_path, np.where(HALVES, 255, value).astype(np.uint8))
    with pytest.raises(UserError, match="hold two classes or more. Received: 255, which is ignored, and .* in all 3"):
        data.read(section(tmp_path, classes=NAMES), "train")
    source = data.read(section(tmp_path, values={value: "background", 255: "object"}), "train")
    [mask] = source.items.map(source.load).take(1)
    np.testing.assert_array_equal(mask["mask"], HALVES)
    assert source.classes == NAMES


def test_the_line_can_be_copied_as_it_is(tmp_path):
    training_set(tmp_path, HALVES * 255)
    with pytest.raises(UserError) as error:
        data.read(section(tmp_path, classes=NAMES), "train")
    setting = str(error.value).rpartition("set ")[2]
    assert setting == "data.values={0: background, 255: object}"
    cfg = {"task": "segmentation", "data": {"reader": "folder", "root": str(tmp_path)},
           "train": {"stages": [{"learning_rate": 0.1}]}}  # fmt: skip
    changed = config.override(cfg, [setting], "test")
    assert changed.data.values == BINARY
    assert config.override(json.loads(json.dumps(changed.to_dict())), [], "stored").data.values == BINARY


def test_one_mask_with_another_class_among_many_is_enough(tmp_path):
    training_set(tmp_path, np.full((H, W), 255, np.uint8), count=40)
    store(tmp_path / "train/masks/17.png", HALVES)
    with pytest.warns(UserWarning, match=r"9\d% of the pixels of \d\d masks are 255, which is ignored; where 255 is a"):
        data.read(section(tmp_path, classes=NAMES), "train")
    store(tmp_path / "train/masks/17.png", np.full((H, W), 255, np.uint8))
    with pytest.raises(UserError, match="255, which is ignored, alone, in all 40 masks"):
        data.read(section(tmp_path, classes=NAMES), "train")


def test_masks_of_one_class_are_told(tmp_path):
    training_set(tmp_path, np.zeros((H, W), np.uint8))
    with pytest.warns(UserWarning, match="all pixels of the 3 masks of train are background"):
        data.read(section(tmp_path, classes=NAMES), "train")


def test_a_class_that_255_outnumbers_is_told(tmp_path):
    mask = HALVES * 255
    mask[0, 0] = 1
    training_set(tmp_path, mask)
    with pytest.warns(UserWarning, match="50% of the pixels of 3 masks are 255, which is ignored; where 255"):
        data.read(section(tmp_path, classes=NAMES), "train")


def test_masks_of_two_kinds_in_one_set_are_told(tmp_path):
    training_set(tmp_path, HALVES)
    stored = np.zeros((H, W), np.uint8)
    stored[:3, :3] = 255
    store(tmp_path / "train/masks/1.png", stored)
    with pytest.warns(UserWarning, match="masks/1.png holds one class and 255, .* masks of several classes have no"):
        data.read(section(tmp_path, classes=NAMES), "train")


def test_masks_of_another_split_with_nothing_to_score_are_told(tmp_path):
    training_set(tmp_path, HALVES)
    for i in range(3):
        store(tmp_path / f"val/masks/{i}.png", HALVES * 255)
    with pytest.warns(UserWarning, match="the masks of validation must hold two classes or more. Received: 255"):
        data.read(section(tmp_path, classes=NAMES), "validation")


def test_between_class_ids_there_is_no_nearest(tmp_path):
    training_set(tmp_path, soft())
    with pytest.raises(UserError, match="data.unknown_values must be error where neither data.values nor a table"):
        first_mask(tmp_path, unknown_values="nearest")
    with pytest.raises(UserError, match="90 .*such as data.values={0: background, 255: object}, and data.unknown_val"):
        first_mask(tmp_path)


def test_check_data_lists_what_training_refuses(tmp_path):
    training_set(tmp_path, HALVES * 255)
    cfg = config.override(
        {"task": "segmentation", "data": {"reader": "folder", "root": str(tmp_path), "classes": NAMES},
         "train": {"stages": [{"learning_rate": 0.1}]}}, [], "test",
    )  # fmt: skip
    report = check.check(cfg, tmp_path / "out")
    assert "data.values={0: background, 255: object}" in report["splits"]["train"]["findings"][0]
    assert "validation must hold two classes or more" in report["splits"]["validation"]["findings"][0]
    assert report["missing"].keys() == {"test"} and any(line.startswith("no test: ") for line in check.lines(report))


# How files store masks


def palette_image(indices, colors):
    image = Image.fromarray(indices)
    image.putpalette([part for color in colors for part in color])
    return image


def gray_of_two_bits(indices):
    """A PNG of two bits a pixel: Pillow writes none of gray, so the header of a palette file is changed."""
    import struct
    import zlib

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(
        b"\0" + bytes(row[i] << 6 | row[i + 1] << 4 | row[i + 2] << 2 | row[i + 3] for i in range(0, len(row), 4))
        for row in indices.tolist()
    )
    header = struct.pack(">IIBBBBB", indices.shape[1], indices.shape[0], 2, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


GRAY_RGB = np.repeat(HALVES[..., None], 3, 2)
CLEAR = np.dstack([np.full((H, W, 3), 77, np.uint8), HALVES])
STORED = {
    "8 bits": (HALVES, "m.png"),
    "1 bit": (Image.fromarray(HALVES.astype(bool)), "m.png"),
    "1 bit TIFF": (Image.fromarray(HALVES.astype(bool)), "m.tif"),
    "palette": (palette_image(HALVES, [(9, 9, 9), (3, 3, 3)]), "m.png"),
    "16 bits": (HALVES.astype(np.uint16), "m.png"),
    "32 bits": (HALVES.astype(np.int32), "m.tif"),
    "floats": (HALVES.astype(np.float32), "m.tif"),
    "gray saved as RGB": (GRAY_RGB, "m.png"),
    "gray saved as opaque RGBA": (np.dstack([GRAY_RGB, np.full((H, W), 255, np.uint8)]), "m.png"),
    "gray with alpha": (Image.merge("LA", [Image.fromarray(HALVES), Image.new("L", (W, H), 255)]), "m.png"),
    "alpha alone": (CLEAR, "m.png"),
    "BMP": (HALVES, "m.bmp"),
    "GIF": (palette_image(HALVES, [(0, 0, 0), (255, 255, 255)]), "m.gif"),
    "upper case": (HALVES, "m.PNG"),
}


@pytest.mark.parametrize("kind", STORED)
def test_however_class_ids_are_stored_they_are_read(tmp_path, kind):
    image, name = STORED[kind]
    mask = first_mask(training_set(tmp_path, image, name))
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, HALVES)


@pytest.mark.parametrize("kind", ["1 bit", "1 bit TIFF"])
def test_white_of_one_bit_is_255_where_only_that_has_a_class(tmp_path, kind):
    image, name = STORED[kind]
    np.testing.assert_array_equal(first_mask(training_set(tmp_path, image, name), values=BINARY), HALVES)


def test_gray_of_two_bits_holds_ids_not_shades(tmp_path):
    indices = np.broadcast_to(np.arange(W) % 4, (H, W))
    training_set(tmp_path, HALVES)
    (tmp_path / "train/masks/0.png").write_bytes(gray_of_two_bits(indices))
    np.testing.assert_array_equal(first_mask(tmp_path, classes=list("abcd")), indices)
    shades = {0: "a", 85: "b", 170: "c", 255: "d"}
    np.testing.assert_array_equal(first_mask(tmp_path, values=shades), indices)


def test_values_of_16_bits_are_mapped_or_refused(tmp_path):
    training_set(tmp_path, np.where(HALVES, 40000, 1000).astype(np.uint16))
    np.testing.assert_array_equal(first_mask(tmp_path, values={1000: "a", 40000: "b"}), HALVES)
    np.testing.assert_array_equal(first_mask(tmp_path, values={1000: "a", 40000: "ignore", 3: "b"}), HALVES * 255)
    with pytest.raises(UserError, match=r"values 0..1, 255 only. Received: 1000 \(120 pixels\), 40000 .*data.values"):
        first_mask(tmp_path)


@pytest.mark.parametrize("wrong", [0.5, np.nan, np.inf])
def test_fractions_are_no_class_ids(tmp_path, wrong):
    training_set(tmp_path, np.where(HALVES, 1, wrong).astype(np.float32), "m.tif")
    with pytest.raises(UserError, match=f"hold whole numbers. Received: {wrong:g}"):
        first_mask(tmp_path)


def test_negative_values_are_no_class_ids(tmp_path):
    training_set(tmp_path, (HALVES.astype(np.int32) - 1), "m.tif")
    with pytest.raises(UserError, match=r"values 0..1, 255 only. Received: -1 \(120 pixels\)"):
        first_mask(tmp_path)


def test_masks_that_count_from_one_say_what_to_set(tmp_path):
    training_set(tmp_path, HALVES + 1)
    with pytest.raises(UserError, match=r"Received: 2 \(120 pixels\); 50.00% of its pixels.*; data.values says which"):
        first_mask(tmp_path)
    np.testing.assert_array_equal(first_mask(tmp_path, values={1: "a", 2: "b"}), HALVES)


# Soft edges and JPEG


def soft():
    mask = (HALVES * 255).astype(np.uint8)
    mask[:, W // 2 - 1], mask[:, W // 2] = 90, 180
    return mask


def test_soft_edges_are_told_with_counts_and_read_by_option(tmp_path):
    training_set(tmp_path, soft())
    with pytest.raises(UserError, match=r"90 \(12 pixels\), 180 \(12 pixels\); 10.00% of its pixels") as error:
        first_mask(tmp_path, values=BINARY)
    assert "data.values" in str(error.value)
    mask = first_mask(tmp_path, values=BINARY, unknown_values="nearest")
    np.testing.assert_array_equal(mask, HALVES)
    mask = first_mask(tmp_path, values=BINARY, unknown_values="ignore")
    np.testing.assert_array_equal(mask == 255, np.isin(soft(), [90, 180]))


def test_jpeg_masks_are_told_and_read_by_the_nearest_value(tmp_path):
    noisy = np.kron(np.arange(5 * 3).reshape(3, 5) % 2, np.ones((4, 4))).astype(np.uint8) * 255
    training_set(tmp_path, noisy, "m.jpg", quality=30)
    masked = data.examine(section(tmp_path, values=BINARY, unknown_values="nearest"), "train")
    assert "3 masks are JPEG files" in masked.findings[0]
    np.testing.assert_array_equal(masked.read_mask(masked.masks[0]), noisy // 255)
    with pytest.raises(UserError, match="data.unknown_values=nearest reads soft edges and JPEG"):
        first_mask(tmp_path, values=BINARY)


COLORS = {"#000000": "background", "#fa3253": "object"}


def test_colors_of_the_config_and_the_nearest_of_them(tmp_path):
    colors = np.where(HALVES[..., None], (250, 50, 83), 0).astype(np.uint8)
    training_set(tmp_path, colors)
    np.testing.assert_array_equal(first_mask(tmp_path, values=COLORS), HALVES)
    colors[:, W // 2] = (240, 60, 80)
    training_set(tmp_path, colors)
    with pytest.raises(UserError, match=r"colors of the table.* Received: #f03c50 \(12 pixels\); 5.00%.*nearest"):
        first_mask(tmp_path, values=COLORS)
    np.testing.assert_array_equal(first_mask(tmp_path, values=COLORS, unknown_values="nearest"), HALVES)
    assert (first_mask(tmp_path, values=COLORS, unknown_values="ignore")[:, W // 2] == 255).all()


def test_what_is_clear_is_black_whatever_color_is_hidden(tmp_path):
    hidden = np.full((H, W, 4), (250, 50, 83, 255), np.uint8)
    hidden[:, :3] = (1, 2, 3, 255)
    hidden[:, LEFT, 3] = 0
    np.testing.assert_array_equal(first_mask(training_set(tmp_path, hidden), values=COLORS), HALVES)


def test_a_palette_is_read_by_its_colors_where_those_are_the_classes(tmp_path):
    training_set(tmp_path, palette_image(1 - HALVES, [(250, 50, 83), (0, 0, 0)]))
    np.testing.assert_array_equal(first_mask(tmp_path, values=COLORS), HALVES)
    np.testing.assert_array_equal(first_mask(tmp_path), 1 - HALVES)


def test_palettes_that_differ_are_told(tmp_path):
    training_set(tmp_path, palette_image(HALVES, [(0, 0, 0), (250, 50, 83)]))
    store(tmp_path / "train/masks/1.png", palette_image(1 - HALVES, [(250, 50, 83), (0, 0, 0)]))
    with pytest.warns(UserWarning, match="palettes of the masks differ: 0 is #.*data.mask_colors"):
        data.read(section(tmp_path, classes=NAMES), "train")


# Tables


TABLES = {
    "labelmap.txt": "# label:color_rgb:parts:actions\nbackground:0,0,0::\nobject:250,50,83::\n",
    "class_dict.csv": "name,r,g,b\nbackground,0,0,0\nobject,250,50,83\n",
    "label_colors.txt": "0 0 0\tbackground\n250 50 83 object\n",
    "colours.csv": "red;green;blue;name\n0;0;0;background\n250;50;83;object\n",
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
@pytest.mark.parametrize("name", TABLES)
def test_tables_of_colors_of_many_tools(tmp_path, name, encoding):
    training_set(tmp_path, np.where(HALVES[..., None], (250, 50, 83), 0).astype(np.uint8))
    (tmp_path / name).write_text(TABLES[name], encoding=encoding)
    keys = {"mask_colors": tmp_path / name} if name == "colours.csv" else {}
    masked = data.examine(section(tmp_path, **keys), "train")
    assert masked.classes == NAMES
    np.testing.assert_array_equal(masked.read_mask(masked.masks[0]), HALVES)


def test_a_table_of_values_and_the_layout_of_roboflow(tmp_path):
    for split in ("train", "valid", "test"):
        picture(tmp_path / split / "a_jpg.rf.1f.jpg")
        store(tmp_path / split / "a_jpg.rf.1f_mask.png", HALVES * 3)
        (tmp_path / split / "_classes.csv").write_text("Pixel Value, Class\n0, background\n3, caf\xe9\n", "latin-1")
    with pytest.raises(UserError, match="_classes.csv, line 3 must be text in UTF-8"):
        data.examine(section(tmp_path), "train")
    for split in ("train", "validation", "test"):
        masked = data.examine(section(tmp_path, encoding="latin-1"), split)
        assert masked.classes == ["background", "caf\xe9"] and len(masked.images) == 1
        np.testing.assert_array_equal(masked.read_mask(masked.masks[0]), HALVES)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "must have the columns red, green, blue"),
        ("a,b\n1,2\n", "must have the columns red, green, blue .* Received: a, b"),
        ("red,green,blue,name\n0,0,256,a\n", "line 2 must have whole numbers from 0 to 255. Received: 256"),
        ("red,green,blue,name\n0,0,x,a\n", "line 2 must have whole numbers"),
        (
            "red,green,blue,name\n0,0,0,a\n0,0,0,b\n",
            "line 3 must have one class for the color #000000. Received: a and b",
        ),
        ("value,name\n1,a\n1,b\n", "line 3 must have one class for the value 1"),
        ("value,name\n1,\n", "line 2 must name a class in one line. Received: no name"),
        ('value,name\n1,"a\nb"\n', "line 3 must name a class in one line"),
        ("a:300,0,0::\nb:1,1,1::\n", "line 1 must have whole numbers from 0 to 255. Received: 300"),
        ("value,name\n1,a\n", "must have at least two classes"),
    ],
)
def test_a_broken_table_is_one_line(tmp_path, text, message):
    training_set(tmp_path, HALVES)
    table = tmp_path / "table.csv"
    table.write_text(text)
    with pytest.raises(UserError, match=message):
        data.examine(section(tmp_path, mask_colors=table), "train")


def test_names_of_classes_and_table_must_agree(tmp_path):
    training_set(tmp_path, HALVES)
    read = data.examine(section(tmp_path, values={0: "a", 1: "b"}, classes=["b", "a"]), "train")
    assert read.classes == ["b", "a"] and read.read_mask(read.masks[0])[0, 0] == 1
    with pytest.raises(UserError, match="data.classes must be null or name the classes of data.values.* b, c"):
        data.examine(section(tmp_path, values={0: "a", 1: "b"}, classes=["a", "c"]), "train")
    with pytest.raises(UserError, match="data.mask_colors must be null where data.values is set"):
        section(tmp_path, values={0: "a", 1: "b"}, mask_colors="x.csv")
    with pytest.raises(UserError, match="data.values goes with folder and voc"):
        section(tmp_path, "coco", values={0: "a", 1: "b"})
    for key in ("x", "#12345", True, None, 1.5, -1, 70000):
        with pytest.raises(UserError, match="data.values"):
            section(tmp_path, values={key: "a", 1: "b"})


def test_without_names_the_line_says_where_they_may_stand(tmp_path):
    training_set(tmp_path, HALVES)
    with pytest.raises(UserError, match="data.classes must name the classes, or one of classes.txt, labelmap.txt"):
        data.examine(section(tmp_path), "train")
    (tmp_path / "Classes.txt").write_bytes("\ufeffback\r\nobj\u00e9\r\n".encode("utf-16-le"))
    assert data.examine(section(tmp_path), "train").classes == ["back", "obj\u00e9"]


# Where masks lie


def layout(root, *pairs):
    for image, mask in pairs:
        picture(root / image)
        store(root / mask, HALVES)


LAYOUTS = {
    "images and masks in splits": [("{s}/images/{i}.jpg", "{s}/masks/{i}.png")],
    "splits in images and masks": [("Images/{s}/{i}.jpg", "Masks/{s}/{i}.png")],
    "labels": [("{s}/images/{i}.jpg", "{s}/labels/{i}_label.png")],
    "folders of masks beside": [("{s}/{i}.jpg", "{s}_masks/{i}_mask.gif")],
    "CamVid of SegNet": [("{s}/{i}.png", "{s}annot/{i}.png")],
    "side by side": [("{s}/{i}_sat.jpg", "{s}/{i}_mask.png")],
    "side by side by suffix": [("{s}/{i}.jpg", "{s}/{i}.png")],
    "one folder in another": [("set/inner/{s}/images/{i}.jpg", "set/inner/{s}/masks/{i}.png")],
    "folders below": [("{s}/images/sub/{i}.jpg", "{s}/masks/sub/{i}.png")],
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_with_splits(tmp_path, name):
    for split, count in (("train", 3), ("val", 2)):
        for i in range(count):
            layout(tmp_path, *[[part.format(s=split, i=i) for part in pair] for pair in LAYOUTS[name]])
    (tmp_path / "__MACOSX").mkdir()
    for split, count in (("train", 3), ("validation", 2)):
        masked = data.examine(section(tmp_path, classes=NAMES), split)
        assert len(masked.images) == count and len({*masked.masks}) == count
        for image, mask in zip(masked.images, masked.masks, strict=True):
            assert image.stem[0] == mask.rpartition("/")[2][0]
            np.testing.assert_array_equal(masked.read_mask(mask), HALVES)


@pytest.mark.parametrize("pair", [("images/{i}.jpg", "masks/{i}.png"), ("{i}.jpg", "{i}_mask.png")])
def test_layouts_without_splits_are_drawn_from(tmp_path, pair):
    for i in range(10):
        layout(tmp_path, [part.format(i=i) for part in pair])
    found = {split: data.examine(section(tmp_path, classes=NAMES), split) for split in ("train", "validation", "test")}
    assert [len(masked.images) for masked in found.values()] == [8, 1, 1]


@pytest.mark.parametrize(
    "files, message",
    [
        ([], "must have images and masks: SPLIT/images and SPLIT/masks, .* Received: an empty folder"),
        (["a/x.jpg", "b/y.jpg"], "beside x_mask.png. Received: a, b"),
        (
            ["images/a.jpg", "masks/b.png"],
            "a.jpg must have a mask .*masks/a.png, or with _mask.* 1 masks are there",
        ),
        (["images/a.txt", "masks/b.png"], "images must have images"),
    ],
)
def test_a_folder_that_is_not_understood_says_where_was_looked(tmp_path, files, message):
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(UserError, match=message):
        data.examine(section(tmp_path, classes=NAMES), "train")


def test_masks_without_image_are_told(tmp_path):
    training_set(tmp_path, HALVES)
    store(tmp_path / "train/masks/more.png", HALVES)
    store(tmp_path / "train/masks/._0.png", HALVES)
    [finding] = data.examine(section(tmp_path, classes=NAMES), "train").findings
    assert finding.startswith("1 masks have no image and are left out, such as ")


def test_names_with_line_breaks_and_brackets_stay_one_line_in_training(tmp_path):
    training_set(tmp_path, HALVES)
    picture(tmp_path / "train/images/a]\n[b.jpg")
    store(tmp_path / "train/masks/a]\n[b.png", HALVES * 7)
    source = data.read(section(tmp_path, classes=NAMES), "train")
    with pytest.raises(UserError, match=r"a\]\\+n\[b.png must hold the values 0..1, 255 only"), user_errors():
        list(source.items.map(source.load))


# Turned images


STORED_MASK = (np.arange(H * W).reshape(H, W) % 7 < 2).astype(np.uint8)
STORED_MASK[0] = 1  # no two ways to turn it are alike


def shown(mask, orientation):
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG", exif=exif(orientation))
    return np.asarray(ImageOps.exif_transpose(Image.open(file)))


def masks_read(root):
    """{name: mask} of a training set, in training and as check-data has them."""
    keys = {"classes": NAMES}
    picture(root / "val/images/0.jpg")
    store(root / "val/masks/0.png", STORED_MASK)
    source = data.read(section(root, **keys), "train")
    found = {
        Path(sample["id"].numpy().decode()).stem: sample["mask"].numpy() for sample in source.items.map(source.load)
    }
    examined = data.examine(section(root, **keys), "train")
    for image, key in zip(examined.images, examined.masks, strict=True):
        again = check._fitted(examined.read_mask(key), image, examined.as_stored)
        np.testing.assert_array_equal(again, found[image.stem])
    return found


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_mask_is_turned_with_its_image(tmp_path, orientation):
    wanted = shown(STORED_MASK, orientation)
    for name, mask in (("0", STORED_MASK), ("1", wanted)):
        picture(tmp_path / f"train/images/{name}.jpg", orientation=orientation)
        store(tmp_path / f"train/masks/{name}.png", mask)
    for found in masks_read(tmp_path).values():
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_mask_with_an_orientation_of_its_own_is_turned_by_that(tmp_path, orientation):
    for name in "01":
        picture(tmp_path / f"train/images/{name}.jpg", orientation=orientation)
        store(tmp_path / f"train/masks/{name}.png", STORED_MASK, exif=exif(orientation))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for found in masks_read(tmp_path).values():
            np.testing.assert_array_equal(found, shown(STORED_MASK, orientation))


@pytest.mark.parametrize("orientation", [2, 3, 4])
@pytest.mark.parametrize("as_stored", [True, False])
def test_masks_of_mirrored_images_are_taken_like_those_that_tell(tmp_path, orientation, as_stored):
    """A phone that lay on its side shows what the tool did; one that was upside down does not."""
    for name, turn in (("sideways", 6), ("mirrored", orientation), ("upright", 1)):
        picture(tmp_path / f"train/images/{name}.jpg", orientation=turn)
        store(tmp_path / f"train/masks/{name}.png", STORED_MASK if as_stored else shown(STORED_MASK, turn))
    square = STORED_MASK[:, :H]
    picture(tmp_path / "train/images/square.jpg", (H, H), orientation=6)
    store(tmp_path / "train/masks/square.png", square if as_stored else shown(square, 6))
    found = masks_read(tmp_path)
    for name, turn in (("sideways", 6), ("mirrored", orientation), ("upright", 1)):
        np.testing.assert_array_equal(found[name], shown(STORED_MASK, turn))
    np.testing.assert_array_equal(found["square"], shown(square, 6))


def test_masks_that_do_not_tell_are_taken_as_shown_and_that_is_said(tmp_path):
    for name in "01":
        picture(tmp_path / f"train/images/{name}.jpg", orientation=3)
        store(tmp_path / f"train/masks/{name}.png", STORED_MASK)
    with pytest.warns(UserWarning, match="the masks of 2 images do not tell whether they are turned .*, and are taken"):
        found = masks_read(tmp_path)
    np.testing.assert_array_equal(found["0"], STORED_MASK)


# CVAT


def cvat(root, count=6):
    for i in range(count):
        picture(root / "JPEGImages" / f"my frame {i}.png")
        store(root / "SegmentationClass" / f"my frame {i}.png",
              np.where(HALVES[..., None], (250, 50, 83), 0).astype(np.uint8))  # fmt: skip
    (root / "labelmap.txt").write_text(TABLES["labelmap.txt"])
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "default.txt").write_text("\n".join(f"my frame {i}" for i in range(count)))


def test_cvats_segmentation_mask(tmp_path):
    cvat(tmp_path)
    found = {split: data.examine(section(tmp_path, "voc"), split) for split in ("train", "validation", "test")}
    assert [len(masked.images) for masked in found.values()] == [4, 1, 1]
    for masked in found.values():
        assert masked.classes == NAMES
        np.testing.assert_array_equal(masked.read_mask(masked.masks[0]), HALVES)
    named = data.examine(section(tmp_path, "voc", splits={"train": "default"}), "train")
    assert {path.suffix for path in named.images} == {".png"}


def test_cvats_lists_of_other_subsets(tmp_path):
    cvat(tmp_path)
    lists = tmp_path / "ImageSets" / "Segmentation"
    (lists / "default.txt").rename(lists / "Other.txt")
    assert len(data.examine(section(tmp_path, "voc"), "train").images) == 4
    (lists / "second.txt").write_text("x")
    with pytest.raises(UserError, match="one list such as default.txt. Received: other.txt, second.txt"):
        data.examine(section(tmp_path, "voc"), "train")


def test_vocs_masks_in_color(tmp_path):
    picture(tmp_path / "JPEGImages/a.jpg")
    colors = np.where(HALVES[..., None], (192, 128, 128), 0).astype(np.uint8)
    colors[0] = (224, 224, 192)
    store(tmp_path / "SegmentationClass/a.png", colors)
    for name in ("train", "val"):
        path = tmp_path / "ImageSets/Segmentation" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a\n")
    masked = data.examine(section(tmp_path, "voc"), "train")
    want = HALVES * 15
    want[0] = 255
    np.testing.assert_array_equal(masked.read_mask(masked.masks[0]), want)
