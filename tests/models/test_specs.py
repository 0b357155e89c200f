import subprocess
import sys
from math import prod

import pytest

from mobilenet_tf.models import specs
from mobilenet_tf.utils.errors import UserError

NAMES = list(specs.NETS)


def test_the_tables_import_no_tensorflow():
    code = (
        "import sys, mobilenet_tf, mobilenet_tf.models.specs as s; print(mobilenet_tf.__version__, len(s.NETS));"
        "sys.exit(bool({'tensorflow', 'keras', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[1]) == len(specs.NETS)


def test_public_names_are_lazy_and_listed():
    import mobilenet_tf

    assert {"MobileNetV1", "MobileNetV2", "MobileNetV3Large", "MobileNetV3Small", "backbone"} <= set(dir(mobilenet_tf))
    with pytest.raises(AttributeError, match="MobileNetV9"):
        _ = mobilenet_tf.MobileNetV9


@pytest.mark.parametrize("name", NAMES)
def test_every_network_goes_down_to_stride_32(name):
    net = specs.find(name)
    assert net.name == name
    assert 2 * prod(block.stride for block in net.blocks) == 32
    assert 1.0 in net.alphas


@pytest.mark.parametrize(
    "name, count, last",
    [
        ("mobilenet_v1", 13, 1024),
        ("mobilenet_v2", 17, 320),
        ("mobilenet_v3_large", 15, 160),
        ("mobilenet_v3_small", 11, 96),
        ("mobilenet_v3_large_minimalistic", 15, 160),
        ("mobilenet_v3_small_minimalistic", 11, 96),
    ],
)
def test_block_counts_are_those_of_the_papers(name, count, last):
    blocks = specs.find(name).blocks
    assert (len(blocks), blocks[-1].out) == (count, last)


@pytest.mark.parametrize(
    "name, exp_sizes",
    [
        ("mobilenet_v3_large", [64, 72, 72, 120, 120, 240, 200, 184, 184, 480, 672, 672, 960, 960]),
        ("mobilenet_v3_small", [72, 88, 96, 240, 240, 120, 144, 288, 576, 576]),
    ],
)
def test_v3_expansions_are_the_papers_exp_sizes(name, exp_sizes):
    blocks = specs.find(name).blocks
    pairs = zip(blocks, blocks[1:], strict=False)
    assert [specs.make_divisible(before.out * block.expand) for before, block in pairs] == exp_sizes


def test_minimalistic_has_no_large_kernel_squeeze_excite_or_hard_swish():
    for name in ("mobilenet_v3_large", "mobilenet_v3_small"):
        full, small = specs.find(name), specs.find(f"{name}_minimalistic")
        assert [(b.out, b.stride, b.expand) for b in full.blocks] == [(b.out, b.stride, b.expand) for b in small.blocks]
        assert {(b.kernel, b.se, b.act) for b in small.blocks} == {(3, None, "relu")}
        assert small.act == "relu"


@pytest.mark.parametrize(
    "value, expected",
    [(0.1, 8), (8.4, 8), (11.2, 16), (12, 16), (33.6, 32), (35.2, 32), (36, 40), (44.8, 48), (90, 88), (100, 104)],
)
def test_make_divisible_stays_within_ten_percent_below(value, expected):
    assert specs.make_divisible(value) == expected
    assert expected % 8 == 0 and expected >= 0.9 * value


@pytest.mark.parametrize(
    "name, filters, alpha, expected",
    [
        ("mobilenet_v1", 64, 0.33, 21),  # truncated, not rounded to 8
        ("mobilenet_v2", 24, 0.35, 8),
        ("mobilenet_v2", 32, 0.35, 16),  # 11.2 -> 8 would be more than 10 % down
        ("mobilenet_v3_large", 112, 0.75, 88),
    ],
)
def test_width_rules(name, filters, alpha, expected):
    assert specs.find(name).width(filters, alpha) == expected


def test_last_layers_grow_but_never_shrink():
    assert [specs.V2.last(320, alpha) for alpha in (0.35, 1.0, 1.4)] == [1280, 1280, 1792]
    assert [specs.min_width(specs.V3_SMALL.head, alpha) for alpha in (0.75, 1.0, 1.5)] == [1024, 1024, 1536]
    assert specs.V3_LARGE.last(160, 1.0) == 960


def test_unknown_network_is_a_user_error():
    with pytest.raises(UserError, match="mobilenet_v2.*Received: resnet50"):
        specs.find("resnet50")
