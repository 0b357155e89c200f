"""torchvision's SSDLite converted to Keras: the same raw outputs, anchors and detections; and the errors."""

import sys

import numpy as np
import pytest
import tensorflow as tf

from mobilenet_tf.data import images
from mobilenet_tf.models.weights import from_torchvision
from mobilenet_tf.tasks.detection import boxes as box_ops
from mobilenet_tf.tasks.detection.anchors import anchors_for
from mobilenet_tf.utils.errors import UserError

# torchvision imports triton, whose LLVM crashes the process once TensorFlow has loaded its own; torch can do without
sys.modules.setdefault("triton", None)
torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")
pytestmark = pytest.mark.torch

NAME, SIZE, CLASSES = "ssdlite320_mobilenet_v3_large", 320, 91
YXYX = [1, 0, 3, 2]  # of torchvision's boxes and regressions


def picture(size, seed=0):
    """A smooth colorful image, float32 [1, H, W, 3] in 0..255."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (1, 9, 9, 3))
    return np.round(tf.image.resize(coarse, size, "bicubic").numpy().clip(0, 255))


def torch_images(images):
    return list(torch.tensor(np.asarray(images, np.float32).transpose(0, 3, 1, 2) / 255))


@pytest.fixture(scope="module", params=[False, True], ids=["whole tail", "reduced tail"])
def reference(request):
    """torchvision's detector with random weights, statistics near those of a batch, and scores that stand apart."""
    torch.manual_seed(0)
    if request.param:  # what torchvision builds without weights of the backbone
        model = torchvision.models.detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
    else:
        model = _whole_tail()
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.uniform_(norm.bias, -0.5, 0.5)
        norm.momentum = 1.0  # the statistics of one batch
    for conv in model.modules():
        if isinstance(conv, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(conv.weight)
    for key, module in model.head.named_modules():
        if isinstance(module, torch.nn.Conv2d) and module.bias is not None:
            torch.nn.init.normal_(module.weight, 0, 0.15 if "classification" in key else 0.03)
            torch.nn.init.normal_(module.bias, 0, 0.3)
    with torch.no_grad():
        batch = np.concatenate([picture((SIZE, SIZE), seed) for seed in range(8)])
        raw_of(model.train(), batch)
    for norm in norms:
        norm.running_mean += 0.1 * norm.running_var.sqrt() * torch.randn_like(norm.running_mean)
        norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.9, 1.6)
    return model.eval()


def _whole_tail():
    """The detector on a backbone with its whole tail, as torchvision builds it around ImageNet weights."""
    from functools import partial

    from torchvision.models.detection import _utils, ssd, ssdlite
    from torchvision.models.detection.anchor_utils import DefaultBoxGenerator

    norm = partial(torch.nn.BatchNorm2d, eps=0.001, momentum=0.03)
    trunk = torchvision.models.mobilenet_v3_large(weights=None, norm_layer=norm)
    trunk = ssdlite._mobilenet_extractor(trunk, 6, norm)
    boxes = DefaultBoxGenerator([[2, 3]] * 6, min_ratio=0.2, max_ratio=0.95)
    channels = _utils.retrieve_out_channels(trunk, (SIZE, SIZE))
    head = ssdlite.SSDLiteHead(channels, boxes.num_anchors_per_location(), CLASSES, norm)
    options = {"score_thresh": 0.001, "nms_thresh": 0.55, "detections_per_img": 300, "topk_candidates": 300}
    half = [0.5] * 3
    return ssd.SSD(trunk, boxes, (SIZE, SIZE), CLASSES, head=head, image_mean=half, image_std=half, **options)


def raw_of(model, images):
    """(class logits, box regressions, anchors in pixels) of torchvision's model before its decoding."""
    batch, _ = model.transform(torch_images(images))
    features = list(model.backbone(batch.tensors).values())
    raw = model.head(features)
    return raw["cls_logits"].numpy(), raw["bbox_regression"].numpy(), model.anchor_generator(batch, features)[0].numpy()


@pytest.fixture(scope="module")
def converted(reference):
    return from_torchvision(NAME, reference.state_dict())


def our_anchors():
    return anchors_for("mobilenet_v3_large", input_size=(SIZE, SIZE), anchors={"layout": "ssd", "max_side": 1.0})


def test_raw_outputs_and_anchors_agree_with_torchvision(reference, converted):
    pictures = np.concatenate([picture((SIZE, SIZE), seed) for seed in (98, 99)])
    with torch.no_grad():
        logits, regressions, anchors = raw_of(reference, pictures)
    ours = {name: np.asarray(value) for name, value in converted(pictures, training=False).items()}
    assert np.abs(np.diff(logits, axis=0)).mean() > 0.01, "outputs must depend on the picture, or this shows nothing"
    assert np.abs(np.diff(regressions, axis=0)).mean() > 0.01
    np.testing.assert_allclose(ours["class_logits"], logits, rtol=0, atol=1e-4)
    np.testing.assert_allclose(ours["box_regressions"], regressions[..., YXYX], rtol=0, atol=1e-4)
    np.testing.assert_allclose(our_anchors() * SIZE, anchors[:, YXYX], rtol=0, atol=1e-3)


@pytest.mark.real_data
def test_detections_on_a_photograph_agree_with_torchvision(reference, converted, real_data):
    path = sorted((real_data / "coco_mini" / "val2017").glob("*.jpg"))[0]
    photo = images.read(path)
    with torch.no_grad():
        expected = {key: value.numpy() for key, value in reference(torch_images(photo[None]))[0].items()}
    resized = tf.image.resize(photo[None].astype("float32"), (SIZE, SIZE))  # as torchvision does, without antialiasing
    raw = {name: np.asarray(value) for name, value in converted(resized, training=False).items()}
    options = {"score_threshold": 0.001, "iou_threshold": 0.55, "max_candidates": 300, "max_detections": 300}
    found = box_ops.detections(raw, our_anchors(), **options)[0]
    assert len(expected["scores"]) == 300 and np.ptp(expected["scores"]) > 0.01 and len(set(expected["labels"])) > 5
    np.testing.assert_array_equal(found["labels"] + 1, expected["labels"])
    np.testing.assert_allclose(found["scores"], expected["scores"], rtol=0, atol=1e-4)
    pixels = found["boxes"] * np.tile(photo.shape[:2], 2)
    np.testing.assert_allclose(pixels, expected["boxes"][:, YXYX], rtol=0, atol=0.1)


def test_a_file_and_other_classes_convert(tmp_path):
    build = torchvision.models.detection.ssdlite320_mobilenet_v3_large
    state = build(weights=None, weights_backbone=None, num_classes=4).state_dict()
    torch.save(state, tmp_path / "detector.pth")
    model = from_torchvision(NAME, tmp_path / "detector.pth")
    assert model.output["class_logits"].shape == (None, 3234, 4)
    assert model.count_params() == sum(v.numel() for k, v in state.items() if not k.endswith("num_batches_tracked"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {k: v for k, v in s.items() if "extra.2" not in k}, "must hold backbone.extra.2.0.0.weight"),
        (lambda s: {k: v for k, v in s.items() if "features.1" not in k}, "must hold features.13."),
        (lambda s: s | {"head.more": torch.zeros(2)}, "such as head.more"),
        (lambda s: {}, "must hold features.0.0.weight"),
    ],
)
def test_errors_are_one_clear_line(reference, change, message):
    with pytest.raises(UserError) as error:
        from_torchvision(NAME, change(reference.state_dict()))
    assert message in str(error.value) and "\n" not in str(error.value)
