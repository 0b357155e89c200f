"""timm's networks converted to Keras: the same logits, from every kind of file; and the errors."""

import sys

import numpy as np
import pytest

from mobilenet_tf.models.weights import from_timm
from mobilenet_tf.models.weights.timm import _normalization
from mobilenet_tf.utils.errors import UserError

# torchvision imports triton, whose LLVM crashes the process once TensorFlow has loaded its own; torch can do without
sys.modules.setdefault("triton", None)
torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
pytestmark = pytest.mark.torch

CLASSES = 11
NAMES = (
    "mobilenetv4_conv_small",
    "mobilenetv4_conv_medium",
    "mobilenetv4_conv_large",
    "mobilenetv4_hybrid_medium",
    "mobilenetv4_hybrid_large",
    "mobilenetv4_conv_small_050.e3000_r224_in1k",
    "mnasnet_100",
    "mnasnet_small",
    "semnasnet_100",
    "mobilenet_edgetpu_100",
    "mobilenet_edgetpu_v2_xs",
    "mobilenetv1_100",
    "mobilenetv2_100",
    "mobilenetv2_140",
    "mobilenetv3_large_100",
    "mobilenetv3_small_100",
    "tf_mobilenetv3_small_100",
)


def images(size, count=2, seed=0):
    """Smooth colorful images that differ a lot, [N, size, size, 3] in 0..255."""
    coarse = torch.tensor(np.random.default_rng(seed).uniform(0, 255, (count, 3, 9, 9)).astype("float32"))
    smooth = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear", align_corners=True)
    return np.round(smooth.numpy().transpose(0, 2, 3, 1))


def logits(name, model, x):
    mean, std = (np.array(values, "float32") for values in _normalization(name))
    with torch.no_grad():
        return model(torch.tensor(((x / 255 - mean) / std).astype("float32").transpose(0, 3, 1, 2))).numpy()


def random_network(name):
    """A timm network whose logits depend on the image: random BatchNorm, with statistics near the true ones."""
    torch.manual_seed(0)
    model = timm.create_model(name.split(".")[0], num_classes=CLASSES)
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.uniform_(norm.bias, -0.5, 0.5)
        norm.momentum = 1.0  # the statistics of one batch
    for key, parameter in model.named_parameters():
        if key.endswith("layer_scale.gamma"):
            torch.nn.init.uniform_(parameter, 0.1, 0.5)
    torch.nn.init.normal_(model.classifier.weight, 0, 0.06)
    logits(name, model.train(), images(160, count=8, seed=1))
    for norm in norms:
        norm.running_mean += 0.1 * norm.running_var.sqrt() * torch.randn_like(norm.running_mean)
        norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.8, 1.6)
    return model.eval()


@pytest.fixture(scope="module")
def small():
    return random_network("mnasnet_small")


@pytest.mark.parametrize("name", NAMES)
def test_logits_agree_with_timm(name):
    reference = random_network(name)
    model = from_timm(name, reference.state_dict())
    for size in (224, 193):
        x = images(size)
        expected, got = logits(name, reference, x), np.asarray(model(x, training=False))
        assert expected.std(axis=0).mean() > 20 * 1e-4, "the logits must depend on the image, or this shows nothing"
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "mean"),
    [
        ("mobilenetv4_conv_small.e2400_r224_in1k", 0.485),
        ("mobilenetv4_conv_small.e3600_r256_in1k", 0.5),
        ("mobilenetv4_conv_small_050.e3000_r224_in1k", 0.5),
        ("mobilenetv1_100.ra4_e3600_r224_in1k", 0.5),
        ("mobilenetv3_large_100.ra_in1k", 0.485),
        ("mobilenetv3_large_100.miil_in21k_ft_in1k", 0.0),
        ("mobilenet_edgetpu_v2_m.ra4_e3600_r224_in1k", 0.5),
        ("mobilenetv4_hybrid_medium.ix_e550_r256_in1k", 0.485),
    ],
)
def test_means_and_deviations_are_those_of_timm(name, mean):
    cfg = timm.models.get_pretrained_cfg(name)
    assert _normalization(name) == (cfg.mean, cfg.std) and cfg.mean[0] == mean


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".npz"])
def test_every_kind_of_file_gives_the_same_model(small, tmp_path, suffix):
    state, path = {k: v.contiguous() for k, v in small.state_dict().items()}, tmp_path / f"state{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    elif suffix == ".safetensors":
        pytest.importorskip("safetensors.torch").save_file(state, path)
    else:
        np.savez(path, **{k: v.numpy() for k, v in state.items()})
    x = images(96)
    got = np.asarray(from_timm("timm/mnasnet_small.lamb_in1k", path)(x, training=False))
    np.testing.assert_allclose(got, logits("mnasnet_small", small, x), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("resnet50", {}, "The timm network must be one of mobilenetv1, .* Received: resnet50"),
        ("mobilenetv4_conv_aa_large", {}, "must be one of .* Received: mobilenetv4_conv_aa_large"),
        ("mnasnet_small", {"more.weight": np.zeros(3)}, "must be that of timm's .*1 tensors more, such as more.weight"),
        ("mnasnet_small", {"bn1.bias": None}, "of timm's mnasnet_small must hold bn1.bias"),
        ("mnasnet_small", {"bn1.bias": np.zeros(9)}, r"shapes must be those of mnasnet_small, .*for bn1"),
        ("mnasnet_100", {}, "of timm's mnasnet_100 must hold 17 blocks. Received: 15"),
    ],
)
def test_mistakes_are_one_line(small, name, change, message):
    state = {**small.state_dict(), **change}
    with pytest.raises(UserError, match=message):
        from_timm(name, {key: value for key, value in state.items() if value is not None})
