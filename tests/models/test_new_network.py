"""A network that is one more table in `specs.NETS` works everywhere: no other file needs to know of it."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import mobilenet_tf
from mobilenet_tf import config
from mobilenet_tf.analysis import cost
from mobilenet_tf.models import block_layers, builder, specs, weights
from mobilenet_tf.models.blocks import Block, SqueezeExcite
from mobilenet_tf.models.heads import classifier
from mobilenet_tf.models.specs import Names, Net
from mobilenet_tf.prune import prune
from mobilenet_tf.tasks.detection.anchors import anchors_for, map_sizes
from mobilenet_tf.tasks.detection.model import detector
from mobilenet_tf.tasks.segmentation.model import segmenter
from mobilenet_tf.utils.errors import UserError

NAME = "tinynet"
TINY = Net(
    name=NAME,
    title="TinyNet",
    blocks=(
        Block(out=16, stride=1),
        Block(out=24, stride=2, expand=4),
        Block(out=24, stride=1, expand=4),
        Block(out=40, stride=2, kernel=5, expand=4, se=SqueezeExcite()),
        Block(out=72, stride=2, expand=4, act="hard_swish"),
        Block(out=104, stride=2, kernel=5, expand=4, act="hard_swish"),
    ),
    names=Names(stem="stem", first="block_0_{part}", block="block_{i}_{part}", last="last"),
    stem=16,
    act="hard_swish",
    width=lambda filters, alpha: specs.make_divisible(filters * alpha),
    stem_width=lambda filters, alpha: filters,
    alphas=(1.0,),
    sizes=(224,),
    last=lambda channels, alpha: 4 * channels,
)


@pytest.fixture(autouse=SqueezeExcite())
def tiny(monkeypatch):
    monkeypatch.setitem(specs.NETS, NAME, TINY)


def test_it_is_built_and_its_maps_have_their_strides():
    maps = mobilenet_tf.backbone(NAME, alpha=0.5, input_shape=(96, 64, 3)).output
    assert {key: tuple(x.shape[1:]) for key, x in maps.items()} == {
        "s2": (48, 32, 8),
        "s4": (24, 16, 16),
        "s8": (12, 8, 24),
        "s16": (6, 4, 40),
        "s16_expand": (6, 4, 160),
        "s32": (3, 2, 224),
    }
    assert TINY.map_sizes((96, 64)) == {stride: maps[f"s{stride}"].shape[1:3] for stride in (2, 4, 8, 16, 32)}
    model = builder.network(TINY, input_shape=(64, 64, 3), weights=None, classes=7)
    assert model(np.zeros((2, 64, 64, 3), np.float32)).shape == (2, 7)


@pytest.mark.parametrize("name", [*(name for name, net in specs.NETS.items() if net.sizes), NAME])
def test_rows_answer_the_kernels_that_are_built(name):
    net = specs.find(name)
    for alpha in (0.75, 1.0):
        shapes = [tuple(w.shape) for w in mobilenet_tf.backbone(name, alpha).weights if len(w.shape) == 4]
        assert list(net.kernels(alpha)) == shapes
    if net.reducible:
        shapes = [tuple(w.shape) for w in mobilenet_tf.backbone(name, reduced_tail=True).weights if len(w.shape) == 4]
        assert list(net.reduced().kernels(1.0)) == shapes


def test_its_cost_is_counted():
    found = cost.net_cost(NAME, size=64)
    assert found.parameters == builder.network(TINY, input_shape=(64, 64, 3), weights=None).count_params()
    assert found.mult_adds > 1e6
    assert len(cost.grid(NAME)) == len(cost.GRID_SIZES)


def test_it_is_pruned():
    model = classifier(NAME, 4, input_size=(64, 64))
    pruned = prune(model, NAME, 0.2)
    assert pruned.after.mult_adds <= 0.8 * pruned.before.mult_adds
    assert set(pruned.widths) == {f"block_{i}_expand" for i in range(1, 6)}


@pytest.mark.parametrize("head", ["ssdlite", "fpnlite"])
def test_it_detects(head):
    model = detector(NAME, 3, input_size=(96, 96), head=head)
    raw = model(np.zeros((1, 96, 96, 3), np.float32))
    assert raw["box_regressions"].shape[1] == len(anchors_for(NAME, input_size=(96, 96), head=head))
    assert map_sizes(NAME, (96, 96))[:2] == [(6, 6), (3, 3)]


@pytest.mark.parametrize("options", [{"head": "lraspp"}, {"output_stride": 8, "reduced_tail": True}])
def test_it_segments(options):
    model = segmenter(NAME, 3, filters=8, **options)
    assert model(np.zeros((1, 64, 48, 3), np.float32)).shape == (1, 64, 48, 3)


def test_configs_name_it():
    cfg = config.load("ssdlite_scenes", [f"model.backbone={NAME}", "model.weights=null"])
    assert cfg.model.backbone == NAME
    assert config.override(cfg.to_dict(), [], "stored") == cfg
    with pytest.raises(UserError, match=rf"model.backbone must be one of .*nearest: {NAME}\). Received: 'tinynets'"):
        config.load("demo", ["model.backbone=tinynets"])


def test_its_weights_are_known_and_load(tmp_path, capsys):
    first, second = mobilenet_tf.backbone(NAME, 0.5), classifier(NAME, 4, alpha=0.5, input_size=(32, 32))
    assert weights.identify(w.shape for w in first.weights) == weights.Identity(NAME, 0.5)
    first.save_weights(tmp_path / "tiny.weights.h5")
    report = weights.load(second, tmp_path / "tiny.weights.h5")
    assert report.network == "TinyNet alpha=0.5" and report.loaded == len(first.weights)
    with pytest.raises(UserError, match="weights must be those of MobileNetV2 alpha=0.5; .* holds TinyNet alpha=0.5"):
        weights.load(mobilenet_tf.backbone("mobilenet_v2", 0.5), tmp_path / "tiny.weights.h5")
    with pytest.raises(UserError, match="weights must be a path or None: none are published for TinyNet"):
        mobilenet_tf.backbone(NAME, weights="imagenet")


def test_a_model_of_an_unusual_width_knows_what_it_is():
    """No kernels are listed for such a width: the name can only come from the builder."""
    model = classifier(NAME, 4, alpha=2.1, input_size=(32, 32))
    assert weights.identify(w.shape for w in model.weights) is None
    with pytest.raises(UserError, match="published for TinyNet"):
        weights.load(model, "imagenet")


@dataclasses.dataclass(frozen=True)
class Plain:
    """A kind of block that the package has never heard of: one full convolution."""

    out: int
    stride: int
    expand: float | None = None

    def kernels(self, channels, out):
        yield (3, 3, channels, out)


def test_a_new_kind_of_block_is_a_row_and_a_function(monkeypatch):
    def build(block, x, context):
        name = context.net.names.layer(context.number, "conv")
        options = {"strides": context.stride, "dilation_rate": context.rate, "padding": "same", "use_bias": False}
        return keras.layers.Conv2D(context.out, 3, name=name, **options)(x), None

    monkeypatch.setitem(block_layers.BUILDERS, Plain, build)
    net = dataclasses.replace(TINY, name="plain", blocks=(Plain(16, 1), Plain(24, 2), *TINY.blocks[3:]))
    monkeypatch.setitem(specs.NETS, net.name, net)
    model = mobilenet_tf.backbone(net.name, input_shape=(64, 64, 3))
    assert weights.identify(w.shape for w in model.weights) == weights.Identity(net.name, 1.0)
    assert tf.reduce_all(tf.math.is_finite(model(np.zeros((1, 64, 64, 3), np.float32))["s32"]))
    assert prune(classifier(net.name, 2, input_size=(32, 32)), net.name, 0.1).widths.keys() == {
        f"block_{i}_expand" for i in range(2, 5)
    }
