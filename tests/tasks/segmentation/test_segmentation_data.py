"""Readers of pictures with masks: folders, VOC, Cityscapes, COCO, TFDS, scenes; and what is wrong with masks."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sections import data_section, reader_of

from mobilenet_tf import config
from mobilenet_tf.data import transforms
from mobilenet_tf.data.source import evaluation_batches, user_errors
from mobilenet_tf.data.splits import SPLITS
from mobilenet_tf.tasks.segmentation import check, data
from mobilenet_tf.tasks.segmentation.data.masks import UNKNOWN
from mobilenet_tf.tasks.segmentation.task import task
from mobilenet_tf.utils.errors import UserError

H, W = 12, 20
read = reader_of("segmentation")


def masked_images(reader, root, split, **keys) -> data.MaskedImages:
    return data.examine(data_section("segmentation", reader=reader, root=root, **keys), split)


def picture(path, value=90, size=(H, W)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path)


def mask_file(path, mask, palette=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(mask, np.uint8))
    if palette:
        image.putpalette(list(range(255, -1, -1)) * 3)
    image.save(path)


def halves(left=0, right=1):
    mask = np.full((H, W), left, np.uint8)
    mask[:, W // 2 :] = right
    mask[0] = 255
    return mask


def samples(source):
    with user_errors():
        return [{k: v.numpy() for k, v in sample.items()} for sample in source.items.map(source.load)]


@pytest.fixture
def folder(tmp_path):
    for split, count in (("train", 3), ("val", 2)):
        for i in range(count):
            picture(tmp_path / split / "images" / f"{i}.jpg")
            mask_file(tmp_path / split / "masks" / f"{i}.png", halves(), palette=i == 1)
    (tmp_path / "classes.txt").write_text("left\nright\nnothing\n")
    return tmp_path


def test_folders_give_masks_as_they_are_stored_palette_or_not(folder):
    source = read("folder", folder, "train")
    assert source.count == 3 and source.classes == ["left", "right", "nothing"]
    for sample in samples(source):
        assert sample["image"].shape == (H, W, 3) and sample["mask"].dtype == np.uint8
        np.testing.assert_array_equal(sample["mask"], halves())
    assert read("folder", folder, "validation").count == 2
    with pytest.raises(UserError, match="images for the split test"):
        read("folder", folder, "test")


def test_the_other_layout_and_drawn_splits(tmp_path):
    for i in range(20):
        picture(tmp_path / "images" / f"{i}.png")
        mask_file(tmp_path / "masks" / f"{i}_mask.png", halves())
    parts = {s: read("folder", tmp_path, s, classes=["a", "b"]) for s in SPLITS}
    ids = {split: {sample["id"] for sample in samples(source)} for split, source in parts.items()}
    assert {split: len(found) for split, found in ids.items()} == {"train": 16, "validation": 2, "test": 2}
    assert len(set.union(*ids.values())) == 20


def test_without_a_validation_split_it_is_drawn_from_train(tmp_path):
    for i in range(10):
        picture(tmp_path / "images" / "train" / f"{i}.png")
        mask_file(tmp_path / "masks" / "train" / f"{i}.png", halves())
    parts = [read("folder", tmp_path, s, classes=["a", "b"]) for s in SPLITS]
    assert [part.count for part in parts] == [8, 1, 1]
    assert len({sample["id"] for part in parts for sample in samples(part)}) == 10


def test_colour_masks_go_through_the_table(tmp_path):
    colours = np.zeros((H, W, 3), np.uint8)
    colours[:, 10:] = (250, 20, 3)
    colours[:2] = (1, 1, 1)
    picture(tmp_path / "train" / "images" / "a.jpg")
    mask_file(tmp_path / "train" / "masks" / "a.png", colours)
    table = tmp_path / "colours.csv"
    table.write_text("red,green,blue,name\n250,20,3,car\n0,0,0,road\n1,1,1,ignore\n")
    pairs = masked_images("folder", tmp_path, "train", mask_colors=table, validation_fraction=0.5)
    assert pairs.classes == ["car", "road"]
    want = np.where(colours[..., 0] == 250, 0, np.where(colours[..., 0] == 1, 255, 1))
    np.testing.assert_array_equal(pairs.read_mask(pairs.masks[0]), want)
    table.write_text("red,green,blue,name\n250,20,3,car\n0,0,0,road\n")
    pairs = masked_images("folder", tmp_path, "train", mask_colors=table, validation_fraction=0.5)
    with pytest.raises(UserError, match="a.png must hold the colors .* Received: #010101"):
        pairs.read_mask(pairs.masks[0])


@pytest.mark.parametrize(
    "broken, message",
    [
        (
            lambda f: mask_file(f / "train/masks/1.png", halves(right=7)),
            "1.png must hold the values 0..2, 255 only.* 7",
        ),
        (lambda f: mask_file(f / "train/masks/1.png", np.zeros((5, 6))), "of its size, 20x12. Received: 6x5"),
        (
            lambda f: mask_file(f / "train/masks/1.png", np.full((H, W, 3), (1, 2, 3))),
            r"a mask of one channel.*Received: RGB with #010203 \(240 pixels\)",
        ),
        (lambda f: (f / "train/masks/1.png").write_bytes(b"no"), "1.png must be a mask that can be read"),
    ],
)
def test_a_wrong_mask_is_one_clear_line(folder, broken, message):
    broken(folder)
    with pytest.raises(UserError, match=message):
        samples(read("folder", folder, "train"))
    cfg = config.override(CFG | {"data": {"reader": "folder", "root": str(folder)}}, [], "test")
    report = check.check(cfg, folder / "out")
    [finding] = report["splits"]["train"]["findings"]
    assert "1.png" in finding or "1.jpg" in finding
    assert finding in "\n".join(check.lines(report))


def test_a_missing_mask_and_an_unreadable_picture(folder):
    (folder / "train/images/2.jpg").write_bytes(b"no picture")
    source = read("folder", folder, "train")
    batches = list(evaluation_batches(source, transforms.letterbox((8, 8)), batch_size=4))
    assert [len(batch["id"]) for batch in batches] == [2] and len(source.corrupt) == 1
    (folder / "train/masks/0.png").unlink()
    with pytest.raises(UserError, match="0.jpg must have a mask .*0.png"):
        read("folder", folder, "train")


CFG = {
    "task": "segmentation",
    "model": {"backbone": "mobilenet_v2", "alpha": 0.35, "input_size": [64, 64], "weights": None},
    "train": {"batch_size": 4, "stages": [{"duration": 1, "learning_rate": 0.01}]},
}


def test_check_counts_the_pixels_of_each_class(folder):
    cfg = config.override(CFG | {"data": {"reader": "folder", "root": str(folder)}}, [], "test")
    report = check.check(cfg, folder / "out")
    half = 3 * (H - 1) * W // 2
    assert report["splits"]["train"]["pixels"] == {"left": half, "right": half, "nothing": 0}
    assert report["splits"]["train"]["ignored"] == pytest.approx(1 / H)
    assert set(report["splits"]) == {"train", "validation"}
    assert any("no pixel of: nothing" in line for line in check.lines(report))
    assert all(Image.open(path).size > (0, 0) for path in report["files"])


def test_check_of_scenes(tmp_path):
    counts = {"train": 3, "validation": 2}
    report = check.check(config.override(CFG | {"data": {"reader": "scenes", "counts": counts}}, [], "test"), tmp_path)
    assert {split: sum(part["pixels"].values()) for split, part in report["splits"].items()} == {
        "train": 3 * 64 * 64,
        "validation": 2 * 64 * 64,
    }


# VOC


@pytest.fixture
def voc(tmp_path):
    root = tmp_path / "VOCdevkit" / "VOC2012"
    for name in "abc":
        picture(root / "JPEGImages" / f"{name}.jpg")
    for name in "ab":
        mask_file(root / "SegmentationClass" / f"{name}.png", halves(0, 15), palette=True)
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\n")
    (lists / "val.txt").write_text("b\n")
    return root


def test_voc_lists_and_palettes(voc):
    [sample] = samples(read("voc", voc.parents[1], "train"))
    np.testing.assert_array_equal(sample["mask"], halves(0, 15))
    assert read("voc", voc, "test").classes[15] == "person"
    assert samples(read("voc", voc, "test"))[0]["id"].endswith(b"b.jpg")


def test_vocs_augmented_list_where_its_folder_is_there(voc):
    for name in "abc":
        mask_file(voc / "SegmentationClassAug" / f"{name}.png", halves(0, 1))
    assert [path.stem for path in masked_images("voc", voc, "train").images] == ["a", "c"]
    (voc / "ImageSets/Segmentation/trainaug.txt").write_text("c\n")
    assert [path.stem for path in masked_images("voc", voc, "train").images] == ["c"]
    assert "SegmentationClassAug" not in masked_images("voc", voc, "validation").masks[0]
    (voc / "ImageSets/Segmentation/val.txt").unlink()
    with pytest.raises(UserError, match="val.txt must exist"):
        masked_images("voc", voc, "validation")


# Cityscapes


def test_cityscapes_label_ids_become_train_ids(tmp_path):
    for split in ("train", "val"):
        stem = f"bonn/{split}_000000_000001"
        picture(tmp_path / "leftImg8bit" / split / f"{stem}_leftImg8bit.png")
        mask_file(tmp_path / "gtFine" / split / f"{stem}_gtFine_labelIds.png", halves(7, 33))
    source = read("cityscapes", tmp_path, "validation")
    assert len(source.classes) == 19
    [sample] = samples(source)
    np.testing.assert_array_equal(sample["mask"], halves(0, 18))
    table = masked_images("cityscapes", tmp_path, "train").read_mask.table
    assert sorted(set(table[:34].tolist())) == [*range(19), 255] and (table[34:255] == UNKNOWN).all()


# COCO


def coco(root, kind, entries):
    picture(root / "train2017" / "a.jpg")
    content = {
        "images": [{"id": 7, "file_name": "a.jpg", "height": H, "width": W}],
        "categories": [{"id": 3, "name": "cat"}, {"id": 9, "name": "dog"}, {"id": 5, "name": "sky"}],
        "annotations": entries,
    }
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / f"{kind}_train2017.json").write_text(json.dumps(content))


def test_coco_instances_paint_categories_and_ignore_where_two_overlap(tmp_path):
    square = [2, 2, 10, 2, 10, 10, 2, 10]
    rle = {"size": [H, W], "counts": [8 * H, 4 * H, (W - 12) * H]}  # columns 8 to 11
    coco(
        tmp_path,
        "instances",
        [
            {"id": 1, "image_id": 7, "category_id": 9, "segmentation": [square]},
            {"id": 2, "image_id": 7, "category_id": 3, "segmentation": rle, "iscrowd": 1},
        ],
    )
    source = read("coco", tmp_path, "train")
    assert source.classes == ["background", "cat", "sky", "dog"]  # by category id
    mask = samples(source)[0]["mask"]
    assert mask[5, 5] == 3 and mask[1, 9] == 1 and mask[5, 9] == 255 and mask[11, 0] == 0
    only = samples(read("coco", tmp_path, "train", classes=["dog"]))[0]["mask"]
    assert only[5, 9] == 1 and only[1, 9] == 0
    with pytest.raises(UserError, match="must name categories .* Received: horse"):
        read("coco", tmp_path, "train", classes=["dog", "horse"])


def test_coco_panoptic_reads_segment_ids_from_colours(tmp_path):
    ids = np.zeros((H, W, 3), np.uint8)
    ids[:, :5], ids[:, 5:9] = (4, 1, 0), (1, 0, 2)  # 260 and 131073
    segments = [{"id": 260, "category_id": 5}, {"id": 131073, "category_id": 3}]
    coco(tmp_path, "panoptic", [{"image_id": 7, "file_name": "a.png", "segments_info": segments}])
    mask_file(tmp_path / "annotations" / "panoptic_train2017" / "a.png", ids)
    source = read("coco", tmp_path, "train", annotations="panoptic")
    assert source.classes == ["cat", "sky", "dog"]
    np.testing.assert_array_equal(samples(source)[0]["mask"][0], [1] * 5 + [0] * 4 + [255] * (W - 9))


@pytest.mark.real_data
def test_coco_mini_masks(real_data):
    pairs = masked_images("coco", real_data / "coco_mini", "validation", classes=["person"])
    shares = [(pairs.read_mask(key) == 1).mean() for key in pairs.masks]
    assert len(shares) == 100 and 0.05 < np.mean(shares) < 0.2


@pytest.mark.real_data
def test_camvid_mini(real_data):
    source = read("folder", real_data / "camvid_mini", "validation")
    counts = data.pixel_counts(source)
    assert (
        source.count == 60 and len(source.classes) == 11 and counts[3] / counts.sum() == pytest.approx(0.293, abs=0.01)
    )


# TFDS


@pytest.mark.parametrize("highest", [3, 4])
def test_tfds_pets_count_from_one(tmp_path, highest):
    tfds = pytest.importorskip("tensorflow_datasets")
    stored = np.where(halves() == 255, highest, halves(1, 2))[..., None].astype(np.uint8)
    jpeg = tf.io.encode_jpeg(np.full((H, W, 3), 90, np.uint8))

    def as_dataset(self, split, **_):
        ids = tf.data.Dataset.from_tensor_slices([f"{split}/{i}" for i in range(2)])
        return ids.map(lambda name: {"tfds_id": name, "image": jpeg, "segmentation_mask": stored})

    with tfds.testing.mock_data(as_dataset_fn=as_dataset):
        source = read("tfds", tmp_path, "validation", name="oxford_iiit_pet")
    assert source.count == 2 and source.classes == ["pet", "background", "border"]
    if highest > 3:
        with pytest.raises(UserError, match="of oxford_iiit_pet must hold the values 1..3, 255 only. Received: 4"):
            samples(source)
        return
    for sample in samples(source):
        assert sample["id"].startswith(b"train[")
        np.testing.assert_array_equal(sample["mask"], np.where(halves() == 255, 2, halves()))


def test_tfds_sets_without_masks_are_refused(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    with tfds.testing.mock_data(num_examples=2), pytest.raises(UserError, match="segmentation_mask"):
        read("tfds", tmp_path, "train", name="mnist")


# Scenes, counting, transforms


def test_scenes_have_masks_with_background():
    source = read("scenes", None, "train", counts={"train": 4}, size=64)
    assert source.classes[0] == "background" and len(source.classes) == 11
    for sample in samples(source):
        assert set(sample) == {"id", "image", "mask"} and 0 < (sample["mask"] > 0).mean() < 0.9


def test_scenes_of_animals_of_any_breed():
    source = read("scenes", None, "train", counts={"train": 6}, size=64, classes=["background", "animal"])
    assert source.classes == ["background", "animal"]
    assert {value for sample in samples(source) for value in np.unique(sample["mask"])} == {0, 1}


def test_median_weights_make_rare_classes_count_more(folder):
    mask_file(folder / "train/masks/0.png", np.zeros((H, W)))
    counts = data.pixel_counts(source := read("folder", folder, "train"))
    assert counts[255] == 2 * W
    weights = data.median_weights(source)
    np.testing.assert_allclose(weights[:2] * counts[:2], np.median(counts[:2]))
    assert weights[2] == 0 and weights[1] > weights[0]


def checkerboard(height=40, width=60, step=10):
    rows, columns = np.indices((height, width)) // step
    return ((rows + columns) % 2 * 7).astype(np.uint8)


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "pad"])
def test_masks_are_picked_never_mixed_and_stay_over_their_image(resize):
    mask = checkerboard()
    image = np.repeat(mask[..., None] * 30, 3, -1).astype(np.uint8)
    op = transforms.random_scale_crop((48, 48), (0.5, 2.0), resize, (48, 64))
    grey, seen = 0, 0
    for i in range(30):
        out = op({"image": image, "mask": mask, "seed": tf.constant([0, i])})
        assert out["image"].shape == (48, 48, 3) and out["mask"].shape == (48, 48)
        values, shown = out["mask"].numpy(), out["image"].numpy()[..., 0]
        assert set(np.unique(values)) <= {0, 7, 255}
        grey += (values == 255).any()
        assert (shown[values == 255] == 127.5).all()
        sure = (values != 255) & ((shown < 1) | (shown > 209))
        assert sure.mean() > 0.1
        np.testing.assert_array_equal(values[sure] == 7, shown[sure] > 105)
        seen += 1
    assert 0 < grey < seen


@pytest.mark.parametrize("resize, shown", [("stretch", (48, 48)), ("letterbox", (32, 48)), ("pad", (40, 47))])
def test_evaluation_shows_the_whole_picture_and_keeps_the_truth(resize, shown):
    mask = checkerboard(40, 60 if resize != "pad" else 47)
    cfg = config.override(CFG | {"data": {"reader": "scenes", "resize": resize}}, ["model.input_size=[48, 48]"], "test")
    out = task(cfg).transform(training=False)({"image": np.zeros((*mask.shape, 3), np.uint8), "mask": mask})
    np.testing.assert_array_equal(out["truth"], mask)
    rows, columns = shown
    assert (out["mask"].numpy()[:rows, :columns] != 255).all()
    assert (out["mask"].numpy()[rows:] == 255).all() and (out["mask"].numpy()[:, columns:] == 255).all()


def test_transforms_run_in_tf_data_on_pictures_of_any_size(folder):
    picture(folder / "train/images/2.jpg", size=(31, 7))
    mask_file(folder / "train/masks/2.png", np.ones((31, 7)))
    cfg = config.override(CFG | {"data": {"reader": "folder", "root": str(folder)}}, [], "test")
    batches = evaluation_batches(task(cfg).source("train"), task(cfg).transform(training=False), batch_size=4)
    [batch] = list(batches)
    assert batch["image"].shape == (3, 64, 64, 3) and batch["truth"].shape == (3, 31, 20)
    np.testing.assert_array_equal(batch["truth"][1, :H, :W], halves())
