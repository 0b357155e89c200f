"""torchvision's DeepLabV3 and LR-ASPP converted to Keras: the same logits at every pixel."""

import sys

import numpy as np
import pytest

from mobilenet_tf.models.weights import from_torchvision
from mobilenet_tf.models.weights.torchvision_converter import MEAN, STD
from mobilenet_tf.utils.errors import UserError

# torchvision imports triton, whose LLVM crashes the process once TensorFlow has loaded its own; torch can do without
sys.modules.setdefault("triton", None)
torch = pytest.importorskip("torch")
segmentation = pytest.importorskip("torchvision").models.segmentation
pytestmark = pytest.mark.torch

NAMES = ("deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large")
CLASSES = 7


def images(size, count, seed):
    """Smooth colorful images that differ a lot, [N, size, size, 3] in 0..255."""
    coarse = torch.tensor(np.random.default_rng(seed).uniform(0, 255, (count, 3, 9, 9)).astype("float32"))
    smooth = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear", align_corners=True)
    return np.round(smooth.numpy().transpose(0, 2, 3, 1))


def torch_outputs(model, x):
    x = (x / 255 - np.array(MEAN, "float32")) / np.array(STD, "float32")
    with torch.no_grad():
        return model(torch.tensor(x.transpose(0, 3, 1, 2)))


@pytest.fixture(scope="module", params=NAMES)
def network(request):
    """A network of random weights and random BatchNorm, with statistics near the true ones."""
    torch.manual_seed(0)
    options = {"aux_loss": True} if request.param.startswith("deeplab") else {}
    model = getattr(segmentation, request.param)(weights=None, weights_backbone=None, num_classes=CLASSES, **options)
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.uniform_(norm.bias, -0.5, 0.5)
        norm.momentum = 1.0  # the statistics of one batch
    torch_outputs(model.train(), images(160, 4, seed=1))
    for norm in norms:
        norm.running_mean += 0.1 * norm.running_var.sqrt() * torch.randn_like(norm.running_mean)
        norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.7, 1.4)
    return request.param, model.eval(), from_torchvision(request.param, model.state_dict())


@pytest.mark.parametrize("size", [257, 520])
def test_logits_agree_with_torchvision(network, size):
    name, reference, converted = network
    x = images(size, 1, seed=2)
    wanted, raw = torch_outputs(reference, x), converted(x, training=False)
    outputs = {"out": raw["logits"], "aux": raw["auxiliary"]} if isinstance(raw, dict) else {"out": raw}
    assert outputs.keys() == wanted.keys()
    for key, values in outputs.items():
        want = wanted[key].numpy().transpose(0, 2, 3, 1)
        assert np.ptp(want) > 0.5 and len(np.unique(want.argmax(-1))) > 1, "the logits must depend on the image"
        np.testing.assert_allclose(values, want, atol=1e-3)
        assert (np.argmax(values, -1) == want.argmax(-1)).mean() >= 0.999


def test_a_segmenter_without_auxiliary_classifier_has_one_output(network):
    name, reference, _ = network
    state = {key: value for key, value in reference.state_dict().items() if not key.startswith("aux")}
    assert tuple(from_torchvision(name, state).output.shape) == (None, None, None, CLASSES)


def test_a_wrong_state_dict_is_one_clear_line(network):
    name, reference, _ = network
    state = dict(reference.state_dict())
    other = next(other for other in NAMES if other != name)
    with pytest.raises(UserError, match="must hold classifier"):
        from_torchvision(other, state)
    with pytest.raises(UserError, match="1 tensors more, such as features.99.weight"):
        from_torchvision(name, state | {"backbone.99.weight": np.zeros(3)})
