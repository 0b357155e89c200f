"""torchvision's networks converted to Keras: the same logits, from every kind of file; and the errors."""

import sys

import numpy as np
import pytest

from mobilenet_tf.models.weights import from_torchvision
from mobilenet_tf.models.weights.torchvision_converter import MEAN, STD
from mobilenet_tf.utils.errors import UserError

# torchvision imports triton, whose LLVM crashes the process once TensorFlow has loaded its own; torch can do without
sys.modules.setdefault("triton", None)
torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")
pytestmark = pytest.mark.torch

NETS = ("mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small")
CLASSES = 11


def images(size, count=3, seed=0):
    """Smooth colorful images that differ a lot, [N, size, size, 3] in 0..255."""
    generator = np.random.default_rng(seed)
    coarse = torch.tensor(generator.uniform(0, 255, (count, 3, 9, 9)).astype("float32"))
    smooth = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear", align_corners=True)
    return np.round(smooth.numpy().transpose(0, 2, 3, 1))


def torch_logits(model, x):
    x = (x / 255 - np.array(MEAN, "float32")) / np.array(STD, "float32")
    with torch.no_grad():
        return model(torch.tensor(x.transpose(0, 3, 1, 2))).numpy()


def random_network(name, width):
    """A torchvision network whose logits depend on the image: random BatchNorm, with statistics near the true ones."""
    torch.manual_seed(0)
    model = getattr(torchvision.models, name)(weights=None, width_mult=width, num_classes=CLASSES)
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.uniform_(norm.bias, -0.5, 0.5)
        norm.momentum = 1.0  # the statistics of one batch
    for linear in (m for m in model.modules() if isinstance(m, torch.nn.Linear)):
        torch.nn.init.normal_(linear.weight, 0, 0.06)
        torch.nn.init.normal_(linear.bias, 0, 0.1)
    with torch.no_grad():
        torch_logits(model.train(), images(160, count=16, seed=1))
    for norm in norms:
        norm.running_mean += 0.1 * norm.running_var.sqrt() * torch.randn_like(norm.running_mean)
        norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.7, 1.4)
    return model.eval()


@pytest.fixture(scope="module")
def small():
    return random_network("mobilenet_v3_small", 1.0)


@pytest.mark.parametrize("width", [1.0, 0.6])
@pytest.mark.parametrize("name", NETS)
def test_logits_agree_with_torchvision(name, width):
    reference = random_network(name, width)
    model = from_torchvision(name, reference.state_dict())
    for size in (224, 193):
        x = images(size)
        expected, got = torch_logits(reference, x), np.asarray(model(x, training=False))
        assert expected.std(axis=0).mean() > 100 * 1e-4, "the logits must depend on the image, or this shows nothing"
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4)


def test_reduced_tail_converts_too():
    reference = torchvision.models.mobilenet_v3_large(weights=None, num_classes=CLASSES, reduced_tail=True).eval()
    model = from_torchvision("mobilenet_v3_large", reference.state_dict())
    assert model.count_params() == sum(
        v.numel() for k, v in reference.state_dict().items() if not k.endswith("num_batches_tracked")
    )


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".npz", "arrays"])
def test_every_source_gives_the_same_model(small, tmp_path, suffix):
    state = {k: v.contiguous() for k, v in small.state_dict().items()}
    arrays = {k: v.numpy() for k, v in state.items()}
    path = tmp_path / f"state{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    elif suffix == ".safetensors":
        pytest.importorskip("safetensors.torch").save_file(state, path)
    elif suffix == ".npz":
        np.savez(path, **arrays)
    x = images(96)
    model = from_torchvision("mobilenet_v3_small", arrays if suffix == "arrays" else path)
    np.testing.assert_allclose(np.asarray(model(x, training=False)), torch_logits(small, x), atol=1e-4)


def test_a_half_precision_state_dict_is_read(small):
    state = {k: v.half() if v.is_floating_point() else v for k, v in small.state_dict().items()}
    x = images(96)
    got = np.asarray(from_torchvision("mobilenet_v3_small", state)(x, training=False))
    assert np.abs(got - torch_logits(small, x)).max() < 0.1


def without(state, key):
    return {k: v for k, v in state.items() if k != key}


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("resnet18", dict, "Received: resnet18"),
        ("mobilenet_v2", dict, "must hold features."),
        ("mobilenet_v3_large", dict, "must hold features."),
        ("mobilenet_v3_small", lambda s: {}, "0 tensors"),
        (
            "mobilenet_v3_small",
            lambda s: without(s, "features.3.block.1.1.running_var"),
            "features.3.block.1.1.running_var",
        ),
        ("mobilenet_v3_small", lambda s: without(s, "classifier.3.bias"), "classifier.3.bias"),
        ("mobilenet_v3_small", lambda s: s | {"fc.weight": np.zeros((2, 2))}, "1 tensors more, such as fc.weight"),
        ("mobilenet_v3_small", lambda s: s | {"classifier.3.bias": np.zeros(CLASSES + 1)}, "for logits"),
        ("mobilenet_v3_small", lambda s: s | {"features.0.0.weight": np.zeros(3)}, "must hold features.0.0.weight"),
    ],
)
def test_a_wrong_state_dict_is_one_clear_line(small, name, change, message):
    state = {k: v.numpy() for k, v in small.state_dict().items()}
    with pytest.raises(UserError) as error:
        from_torchvision(name, change(state))
    text = str(error.value)
    assert message in text and "Received: " in text and "\n" not in text


@pytest.mark.parametrize("file", ["missing.pth", "state.txt", "broken.pth", "broken.safetensors", "broken.npz"])
def test_a_wrong_file_is_one_clear_line(tmp_path, file):
    if file != "missing.pth":
        (tmp_path / file).write_bytes(b"no tensors here")
    with pytest.raises(UserError) as error:
        from_torchvision("mobilenet_v2", tmp_path / file)
    assert str(tmp_path / file) in str(error.value) and "\n" not in str(error.value)


class Payload:
    def __reduce__(self):
        return print, ("this code must not run",)


def test_code_in_a_file_is_not_run(tmp_path, capsys):
    torch.save({"features.0.0.weight": Payload()}, tmp_path / "evil.pth")
    np.savez(tmp_path / "evil.npz", a=np.array([Payload()], dtype=object))
    capsys.readouterr()
    for file in ("evil.pth", "evil.npz"):
        with pytest.raises(UserError, match="plain tensors"):
            from_torchvision("mobilenet_v2", tmp_path / file)
    assert "must not run" not in capsys.readouterr().out


@pytest.mark.parametrize(("file", "module"), [("a.pth", "torch"), ("a.safetensors", "safetensors.numpy")])
def test_a_missing_reader_names_the_extra(tmp_path, monkeypatch, file, module):
    (tmp_path / file).write_bytes(b"")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=r"mobilenet-tf\[torch\]"):
        from_torchvision("mobilenet_v2", tmp_path / file)
