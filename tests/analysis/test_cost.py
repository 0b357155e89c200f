"""Costs against the papers' tables, hand-counted layers, and the errors."""

import io
import json

import keras
import numpy as np
import pytest
from keras import layers
from rich.console import Console

from mobilenet_tf.analysis import cost as costs
from mobilenet_tf.utils.errors import UserError


@pytest.fixture(scope="module")
def v1():
    return costs._classifier("mobilenet_v1", 1.0)


@pytest.mark.parametrize(
    ("net", "alpha", "millions", "digits"),
    [
        ("mobilenet_v1", 0.75, 325.40, 2),
        ("mobilenet_v1", 0.5, 149.50, 2),
        ("mobilenet_v1", 0.25, 41.03, 2),
        ("mobilenet_v2", 1.4, 582.2, 1),
        ("mobilenet_v3_large_minimalistic", 1.0, 209, 0),
    ],
)
def test_mult_adds_of_the_papers(net, alpha, millions, digits):
    assert round(costs.net_cost(net, alpha).mult_adds / 1e6, digits) == millions


@pytest.mark.parametrize(
    ("net", "millions", "trainable"),
    [
        ("mobilenet_v2", 300.77, 3.505),
        ("mobilenet_v3_large", 216.6, 5.483),
        ("mobilenet_v3_small", 56.5, 2.543),
    ],
)
def test_mult_adds_and_parameters_of_the_papers(net, millions, trainable):
    total = costs.net_cost(net)
    assert total.mult_adds / 1e6 == pytest.approx(millions, abs=0.05)
    assert round(total.trainable / 1e6, 3) == trainable


def test_v1_by_type_is_the_papers_table_2(v1):
    total = costs.cost(v1, 224)
    types = total.by_type()
    assert list(types) == ["1x1 conv", "depthwise", "3x3 conv", "dense", "other"]
    shares = [round(100 * t.mult_add_share, 2) for t in types.values()]
    assert shares == [94.86, 3.06, 1.91, 0.18, 0.0]
    assert round(total.mult_adds / 1e6, 2) == 568.74
    assert round(total.trainable / 1e6, 2) == 4.23
    # The paper's parameter shares leave BatchNormalization out
    weights = total.parameters - types["other"].parameters
    shares = [
        round(100 * types[name].parameters / weights, 2) for name in ("1x1 conv", "depthwise", "3x3 conv", "dense")
    ]
    assert shares == pytest.approx([74.59, 1.06, 0.02, 24.33], abs=0.03)


@pytest.mark.parametrize(("size", "millions"), [(192, 418.12), (160, 290.68), (128, 186.40)])
def test_v1_at_the_papers_sizes(v1, size, millions):
    assert round(costs.cost(v1, size).mult_adds / 1e6, 2) == millions


def test_v1_with_full_convolutions_is_the_papers_table_4():
    total = costs.net_cost("mobilenet_v1", full_convolutions=True)
    assert total.by_type()["3x3 conv"].mult_adds / 1e6 == pytest.approx(4866, abs=0.5)
    assert round(total.trainable / 1e6, 1) == 29.3


def test_parameters_are_those_of_keras(v1):
    total = costs.cost(v1, 96)
    assert total.parameters == v1.count_params()
    assert total.trainable == sum(int(np.prod(v.shape)) for v in v1.trainable_variables)


def test_every_kind_of_layer_is_counted_by_hand():
    inputs = x = keras.Input((8, 6, 4))
    x = layers.Conv2D(8, (3, 1), padding="same", groups=2, name="grouped")(x)  # 3*1*2*8 kernel at 48 pixels
    x = layers.Conv2DTranspose(2, 3, strides=2, padding="same", name="transposed")(x)  # 3*3*2*8 at 48 input pixels
    x = layers.SeparableConv2D(5, 3, name="separable")(x)  # (9*2 + 2*5) at 14x10 pixels
    x = layers.DepthwiseConv2D(3, dilation_rate=2, name="depthwise")(x)  # 9*5 at 10x6 pixels
    x = layers.Dense(7, name="per_pixel")(x)  # 5*7 at 60 pixels
    x = layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = layers.Conv2D(3, 1, name="pooled")(x)
    rows = {row.name: row for row in costs.cost(keras.Model(inputs, x)).rows}
    assert {name: row.mult_adds for name, row in rows.items()} == {
        "grouped": 48 * 48,
        "transposed": 144 * 48,
        "separable": 28 * 140,
        "depthwise": 45 * 60,
        "per_pixel": 35 * 60,
        "pooled": 21,
    }
    types = {name: row.type for name, row in rows.items()}
    assert types == {
        "grouped": "3x1 conv",
        "transposed": "3x3 conv",
        "separable": "separable",
        "depthwise": "depthwise",
        "per_pixel": "dense",
        "pooled": "dense",
    }
    assert rows["separable"].output_shape == (14, 10, 5)


def test_a_layer_called_twice_costs_twice_and_holds_its_parameters_once():
    inputs = keras.Input((8, 8, 3))
    shared = layers.Conv2D(3, 3, padding="same", use_bias=False)
    total = costs.cost(keras.Model(inputs, shared(shared(inputs))))
    assert (total.mult_adds, total.parameters) == (2 * 81 * 64, 81)


def test_nested_models_cost_what_their_parts_cost():
    backbone = keras.applications.MobileNetV2(input_shape=(None, None, 3), weights=None, include_top=False, alpha=0.35)
    inputs = keras.Input((None, None, 3))
    x = layers.GlobalAveragePooling2D()(backbone(inputs))
    nested = keras.Model(inputs, layers.Dense(19)(x))
    alone = costs.cost(backbone, (96, 128))
    total = costs.cost(nested, (96, 128))
    assert total.mult_adds == alone.mult_adds + 1280 * 19
    assert total.parameters == nested.count_params()
    assert total.input_shape == (96, 128, 3)
    x = np.zeros((1, 96, 96, 3), "float32")
    assert nested(x).shape == (1, 19)  # the model is as it was


def test_a_model_of_several_inputs_and_no_image():
    a, b = keras.Input((5,)), keras.Input((7,))
    total = costs.cost(keras.Model([a, b], layers.Dense(2)(layers.Concatenate()([a, b]))))
    assert (total.mult_adds, total.parameters) == (24, 26)


def test_a_sequential_model():
    model = keras.Sequential([keras.Input((16, 16, 3)), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(2)])
    assert costs.cost(model).mult_adds == 14 * 14 * 108 + 14 * 14 * 4 * 2


def test_to_dict_is_json_and_adds_up(v1):
    record = json.loads(json.dumps(costs.cost(v1, 64).to_dict()))
    assert record["mult_adds"] == sum(row["mult_adds"] for row in record["layers"])
    assert record["mult_adds"] == sum(t["mult_adds"] for t in record["types"].values())
    assert record["input_shape"] == [64, 64, 3]


@pytest.mark.parametrize("by_layer", [False, True])
def test_table_shows_total_and_lines(v1, by_layer):
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(costs.table(costs.cost(v1, 224), by_layer))
    text = console.export_text()
    assert "568.74" in text and "4,231,976" in text
    assert ("conv_pw_13" if by_layer else "94.86") in text


def test_layer_formulas_agree_with_keras_layers():
    k, m, n, size, groups = 3, 16, 32, 10, 4
    standard, grouped, depthwise, separable = costs.layer_formulas(k, m, n, size, groups, stride=2)
    built = {
        standard: [layers.Conv2D(n, k, 2, "same", use_bias=False)],
        grouped: [layers.Conv2D(n, k, 2, "same", use_bias=False, groups=groups)],
        depthwise: [layers.DepthwiseConv2D(k, 2, "same", use_bias=False)],
        separable: [layers.DepthwiseConv2D(k, 2, "same", use_bias=False), layers.Conv2D(n, 1, use_bias=False)],
    }
    for formula, chain in built.items():
        inputs = x = keras.Input((20, 20, m))
        elements = 0
        for layer in chain:
            before, x = x, layer(x)
            elements += int(np.prod(before.shape[1:]) + np.prod(x.shape[1:]))
        total = costs.cost(keras.Model(inputs, x))
        assert (formula.parameters, formula.mult_adds) == (total.parameters, total.mult_adds)
        assert formula.memory_access == elements + total.parameters
    # arXiv:1704.04861, section 3.1
    assert separable.mult_adds / standard.mult_adds == pytest.approx(1 / n + 1 / k**2)
    assert costs.formula_table([standard, separable]).row_count == 2


@pytest.mark.slow
def test_grid_has_the_papers_16_models_and_a_plot(tmp_path, monkeypatch):
    records = costs.grid()
    assert len(records) == 16
    by_key = {(r["alpha"], r["size"]): r for r in records}
    assert round(by_key[0.5, 160]["mult_adds"] / 1e6) == 77  # TF-slim, mobilenet_v1.md
    assert by_key[0.25, 128]["parameters"] == by_key[0.25, 224]["parameters"]
    monkeypatch.setattr(costs, "grid", lambda net: records)
    path = costs.plot_grid(tmp_path / "grid.png")
    assert path.read_bytes().startswith(b"\x89PNG") and [p.name for p in tmp_path.iterdir()] == ["grid.png"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: costs.net_cost("mobilenet_v9"), "mobilenet_v9"),
        (lambda: costs.net_cost("mobilenet_v2", full_convolutions=True), "Received: mobilenet_v2"),
        (lambda: costs.net_cost("mobilenet_v1", size=0), "Received: (0, 0)"),
        (lambda: costs.cost(keras.Sequential([layers.Dense(2)])), "must be built"),
        (lambda: costs.cost(_identity((None, None, 3))), "input_size must be given"),
        (lambda: costs.cost(_identity((32, 32, 3)), 64), "input_size must be (32, 32)"),
        (lambda: costs.cost(_identity((None, 3)), 64), "must take images"),
        (lambda: costs.layer_formulas(3, 6, 8, 10, groups=4), "groups=4"),
        (lambda: costs.layer_formulas(0, 8, 8, 10), "at least 1"),
        (lambda: costs.plot_grid("grid.txt"), "Received: grid.txt"),
        (lambda: costs.plot_grid("/no/such/folder/grid.png"), "Received: /no/such/folder/grid.png"),
    ],
)
def test_errors_are_one_clear_line(call, message, monkeypatch):
    monkeypatch.setattr(
        costs,
        "grid",
        lambda net: [{"alpha": 1.0, "size": s, "mult_adds": 1, "parameters": 1} for s in costs.GRID_SIZES],
    )
    with pytest.raises(UserError) as error:
        call()
    assert message in str(error.value) and "\n" not in str(error.value) and "Received" in str(error.value)


def _identity(shape):
    inputs = keras.Input(shape)
    return keras.Model(inputs, layers.Dense(2)(inputs))
