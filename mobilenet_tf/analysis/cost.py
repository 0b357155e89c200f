"""What a network costs: parameters and multiply-adds per layer, per layer type and in total, for any Keras model."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import tensorflow as tf
from keras import layers

from mobilenet_tf import qat, viz
from mobilenet_tf.models import builder, graph, specs
from mobilenet_tf.models.weights.catalog import PUBLISHED
from mobilenet_tf.utils.console import plain
from mobilenet_tf.utils.errors import UserError

GRID_SIZES = (128, 160, 192, 224)  # the resolutions of arXiv:1704.04861, Table 7


@dataclass(frozen=True)
class LayerCost:
    """What one layer costs. mult_adds: for one image; output_shape: [H, W, C] or [C] of its last call."""

    name: str
    type: str
    parameters: int
    trainable: int
    mult_adds: int
    output_shape: tuple


@dataclass(frozen=True)
class Sum:
    """The sum over some layers of a model; the shares are those of the whole model."""

    parameters: int
    trainable: int
    mult_adds: int
    parameter_share: float
    mult_add_share: float


@dataclass(frozen=True)
class Cost:
    """The cost of a model for one image of `input_shape` [H, W, C]."""

    name: str
    input_shape: tuple
    rows: tuple[LayerCost, ...]

    @property
    def parameters(self) -> int:
        """The number of parameters of all layers."""
        return sum(row.parameters for row in self.rows)

    @property
    def trainable(self) -> int:
        """How many of the parameters are trained."""
        return sum(row.trainable for row in self.rows)

    @property
    def mult_adds(self) -> int:
        """The multiply-adds of all layers for one image."""
        return sum(row.mult_adds for row in self.rows)

    def by_type(self) -> dict[str, Sum]:
        """The sums per layer type, the most multiply-adds first."""
        groups = {}
        for row in self.rows:
            groups.setdefault(row.type, []).append(row)
        sums = {type_: self._sum(rows) for type_, rows in groups.items()}
        return dict(sorted(sums.items(), key=lambda item: -item[1].mult_adds))

    def to_dict(self) -> dict:
        """Returns the cost as plain types for JSON."""
        return {
            "name": self.name,
            "input_shape": list(self.input_shape),
            "parameters": self.parameters,
            "trainable": self.trainable,
            "mult_adds": self.mult_adds,
            "types": {type_: asdict(total) for type_, total in self.by_type().items()},
            "layers": [asdict(row) for row in self.rows],
        }

    def _sum(self, rows) -> Sum:
        parameters, mult_adds = sum(r.parameters for r in rows), sum(r.mult_adds for r in rows)
        return Sum(
            parameters=parameters,
            trainable=sum(r.trainable for r in rows),
            mult_adds=mult_adds,
            parameter_share=parameters / max(1, self.parameters),
            mult_add_share=mult_adds / max(1, self.mult_adds),
        )


# Counting ----------------------------------------------------------------------------------------


def cost(model: keras.Model, input_size: int | tuple[int, int] | None = None) -> Cost:
    """Counts the parameters and multiply-adds of any Keras model, nested ones too, for one image.

    Only the multiply-adds of convolutions, dense layers and attention count. A layer that is called twice has its
    multiply-adds counted twice and its parameters once. A 1x1 convolution of a 1x1 map counts as a dense layer. A
    network prepared for quantization-aware training counts as the float network in it.

    Args:
        input_size: height and width in pixels, or one number for both; needed where the model takes any size.

    Raises:
        UserError: the model is not built, or the input size is missing or does not fit it.
    """
    if qat.is_prepared(model):
        model = qat.strip(model)
    shapes = _input_shapes(model, input_size)
    leaves = _leaves(model)
    calls = _trace(model, shapes, [layer for layer, variables in leaves if variables or _multiplies(layer)])
    rows = [_row(layer, variables, calls.get(id(layer), [])) for layer, variables in leaves]
    return Cost(model.name, shapes[0][1:], tuple(row for row in rows if row.parameters or row.mult_adds))


def net_cost(name: str, alpha: float = 1.0, size: int | tuple[int, int] = 224, full_convolutions: bool = False) -> Cost:
    """Returns the cost of a network of `specs.NETS` with a classifier of 1000 classes, for images [size, size, 3].

    With `full_convolutions`, V1 has a full convolution in place of each depthwise-separable one.
    Raises UserError for an unknown name, or full convolutions of another network than V1.
    Source: arXiv:1704.04861, Table 4.
    """
    net = specs.find(name)
    if full_convolutions and net is not specs.V1:
        raise UserError(f"full_convolutions must be false for all nets but {specs.V1.name}. Received: {name}")
    model = full_convolution_v1(alpha, (None, None, 3)) if full_convolutions else _classifier(name, alpha)
    return cost(model, size)


def full_convolution_v1(alpha: float = 1.0, input_shape=(224, 224, 3), classes: int = 1000) -> keras.Model:
    """MobileNet V1 with full convolutions instead of depthwise-separable ones. Source: arXiv:1704.04861, Table 4."""
    net = specs.V1
    convolutions = [(net.stem, 3, 2), *((block.out, block.kernel, block.stride) for block in net.blocks)]
    inputs = x = keras.Input(input_shape, name="image")
    x = layers.Rescaling(1 / 127.5, -1.0, name="rescaling")(x)
    for i, (filters, kernel, stride) in enumerate(convolutions):
        filters = net.width(filters, alpha)
        x = layers.Conv2D(filters, kernel, strides=stride, padding="same", use_bias=False, name=f"conv_{i}")(x)
        x = layers.ReLU(6.0, name=f"conv_{i}_relu")(layers.BatchNormalization(name=f"conv_{i}_bn")(x))
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    x = layers.Dense(classes, activation="softmax", name="predictions")(x)
    return keras.Model(inputs, x, name=f"{net.name}_full_convolutions_{alpha:0.2f}")


def _classifier(name: str, alpha: float) -> keras.Model:
    shape, label = (None, None, 3), f"{name}_{alpha:0.2f}"
    return builder.network(specs.find(name), input_shape=shape, alpha=alpha, weights=None, name=label)


def _input_shapes(model, input_size) -> list[tuple]:
    """Returns the model's input shapes [1, H, W, C], with `input_size` where the model leaves the size open."""
    if not getattr(model, "inputs", None):
        raise UserError(f"model must be built, with inputs of known rank. Received: {model.name}")
    if input_size is not None:
        input_size = (input_size, input_size) if isinstance(input_size, int) else tuple(input_size)
        if len(input_size) != 2 or min(input_size) < 1:
            raise UserError(f"input_size must be a positive integer or (height, width). Received: {input_size}")
    return [(1, *_filled(model, tuple(tensor.shape[1:]), input_size)) for tensor in model.inputs]


def _filled(model, shape, input_size) -> tuple:
    sides = shape[:2] if len(shape) == 3 else ()
    if None not in shape and (input_size is None or not sides or sides == input_size):
        return shape
    if not sides or shape[2] is None:
        raise UserError(f"model must take images [N, H, W, C] where its input shape is open. Received: {shape}")
    if input_size is None:
        raise UserError(f"input_size must be given: {model.name} takes any size. Received: None")
    if any(side not in (None, wanted) for side, wanted in zip(sides, input_size, strict=True)):
        raise UserError(f"input_size must be {sides}, the fixed size of {model.name}. Received: {input_size}")
    return (*input_size, shape[2])


def _leaves(model) -> list[tuple]:
    """Returns (layer, the variables of the layer itself, without its sub-layers') of all layers, nested ones too."""
    pairs, seen = [], set()
    for layer in graph.all_layers(model):
        inner = {id(v) for sub in graph.all_layers(layer) if sub is not layer for v in sub.weights}
        variables = [v for v in layer.weights if id(v) not in inner and id(v) not in seen]
        seen.update(id(v) for v in variables)
        pairs.append((layer, variables))
    return pairs


def _trace(model, shapes, traced) -> dict[int, list]:
    """Runs the model symbolically and records each layer's calls: id(layer) -> [(input shape, output shape)].

    The input shape of a layer that takes a list is that of the list's first tensor.
    """
    calls = {}

    def recorder(layer, call):
        def record(*args, **kwargs):
            outputs = call(*args, **kwargs)
            first = args[0][0] if args and isinstance(args[0], list) else next(iter(args), None)
            if first is not None and hasattr(first, "shape") and hasattr(outputs, "shape"):
                calls.setdefault(id(layer), []).append((tuple(first.shape), tuple(outputs.shape)))
            return outputs

        return record

    for layer in traced:
        layer.call = recorder(layer, layer.call)  # shadows the method of the class until the `del` below
    try:
        inputs = [tf.TensorSpec(shape, tensor.dtype) for shape, tensor in zip(shapes, model.inputs, strict=True)]
        tf.function(
            lambda *args: model(args[0] if len(args) == 1 else list(args), training=False)
        ).get_concrete_function(*inputs)
    finally:
        for layer in traced:
            del layer.call
    return calls


def _row(layer, variables, calls) -> LayerCost:
    trainable = {id(v) for v in layer.trainable_variables}
    return LayerCost(
        name=layer.name,
        type=_type(layer, calls),
        parameters=sum(math.prod(v.shape) for v in variables),
        trainable=sum(math.prod(v.shape) for v in variables if id(v) in trainable),
        mult_adds=sum(_mult_adds(layer, *call) for call in calls),
        output_shape=calls[-1][1][1:] if calls else (),
    )


def _multiplies(layer) -> bool:
    return hasattr(layer, "mult_adds") or bool(_kernels(layer))


def _mult_adds(layer, input_shape, output_shape) -> int:
    """Returns the multiply-adds of one call; layers that have no kernels answer by themselves."""
    if hasattr(layer, "mult_adds"):
        return layer.mult_adds(input_shape, output_shape)
    return sum(math.prod(kernel.shape) * _positions(layer, input_shape, output_shape) for kernel in _kernels(layer))


def _kernels(layer) -> list:
    """Returns the kernels of a convolution or dense layer; of other layers, none."""
    if isinstance(layer, (layers.SeparableConv1D, layers.SeparableConv2D)):
        return [layer.depthwise_kernel, layer.pointwise_kernel]
    return [layer.kernel] if _is_convolution(layer) or isinstance(layer, layers.Dense) else []


def _is_convolution(layer) -> bool:
    return hasattr(layer, "kernel_size") and hasattr(layer, "kernel") and hasattr(layer, "strides")


def _is_transposed(layer) -> bool:
    return isinstance(layer, (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose))


def _positions(layer, input_shape, output_shape) -> int:
    """Returns how often a kernel is applied: per output pixel, in a transposed convolution per input pixel."""
    shape = input_shape if _is_transposed(layer) else output_shape
    first = getattr(layer, "data_format", None) == "channels_first"
    return math.prod(shape[2:] if first else shape[1:-1])


def _type(layer, calls) -> str:
    if isinstance(layer, layers.Dense):
        return "dense"
    if isinstance(layer, (layers.SeparableConv1D, layers.SeparableConv2D)):
        return "separable"
    if hasattr(layer, "mult_adds"):
        return "attention"
    if not _is_convolution(layer):
        return "other"
    channels = layer.kernel.shape[-2]
    if isinstance(layer, (layers.DepthwiseConv1D, layers.DepthwiseConv2D)) or (
        channels == 1 < getattr(layer, "groups", 1)
    ):
        return "depthwise"
    if math.prod(layer.kernel_size) == 1 and calls and all(_positions(layer, *call) == 1 for call in calls):
        return "dense"
    return "x".join(map(str, layer.kernel_size)) + " conv"


# Formulas ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ConvolutionCost:
    """What one kind of convolution costs."""

    kind: str
    parameters: int
    mult_adds: int
    memory_access: int  # how many elements of feature maps and kernels are read and written, each counted once


def layer_formulas(
    kernel: int, in_channels: int, out_channels: int, size: int, groups: int = 4, stride: int = 1
) -> list[ConvolutionCost]:
    """Returns the costs of a standard, a grouped, a depthwise and a depthwise-separable convolution without biases.

    The output map is [size, size, out_channels] and the input map [size * stride, size * stride, in_channels]; the
    outputs of the depthwise convolution have `in_channels`. Raises UserError for numbers below 1, or groups that do not
    divide the channels.
    Source: arXiv:1704.04861, section 3.1; memory access: arXiv:1807.11164, section 2.
    """
    values = (kernel, in_channels, out_channels, size, groups, stride)
    if min(values) < 1:
        raise UserError(f"kernel, channels, size, groups and stride must be at least 1. Received: {values}")
    if in_channels % groups or out_channels % groups:
        raise UserError(
            f"groups must divide both channel numbers, {in_channels} and {out_channels}. Received: groups={groups}"
        )
    before, after = (size * stride) ** 2 * in_channels, size**2 * out_channels
    between = size**2 * in_channels  # the depthwise convolution's output
    full, depthwise, pointwise = (
        kernel**2 * in_channels * out_channels,
        kernel**2 * in_channels,
        in_channels * out_channels,
    )
    rows = [
        ("standard", full, before + after),
        (f"grouped ({groups})", full // groups, before + after),
        ("depthwise", depthwise, before + between),
        ("depthwise separable", depthwise + pointwise, before + 2 * between + after),
    ]
    return [ConvolutionCost(kind, weights, weights * size**2, maps + weights) for kind, weights, maps in rows]


# Showing -----------------------------------------------------------------------------------------


def table(cost: Cost, by_layer: bool = False):
    """Returns a `rich.table.Table` of the cost per layer type, or per layer, with the total."""
    from rich.table import Table

    columns = ["layer", "type", "output"] if by_layer else ["type"]
    title = plain(f"{cost.name}, input {'x'.join(map(str, cost.input_shape))}")
    out = Table(
        title=title, caption="mult-adds of convolutions, dense layers and attention, for one image", show_footer=True
    )
    for i, column in enumerate(columns):
        out.add_column(column, footer="" if i else "total")
    for column, total in (
        ("mult-adds (M)", f"{cost.mult_adds / 1e6:,.2f}"),
        ("%", "100.00"),
        ("parameters", f"{cost.parameters:,}"),
        ("trainable", f"{cost.trainable:,}"),
    ):
        out.add_column(column, footer=total, justify="right")
    lines = (
        [((row.name, row.type, "x".join(map(str, row.output_shape))), row) for row in cost.rows]
        if by_layer
        else [((type_,), total) for type_, total in cost.by_type().items()]
    )
    for labels, line in lines:
        share = 100 * line.mult_adds / max(1, cost.mult_adds)
        numbers = (f"{line.mult_adds / 1e6:,.2f}", f"{share:.2f}", f"{line.parameters:,}", f"{line.trainable:,}")
        out.add_row(*map(plain, labels), *numbers)
    return out


def formula_table(rows: list[ConvolutionCost]):
    """Returns a `rich.table.Table` of `layer_formulas`, with each cost relative to the first row's."""
    from rich.table import Table

    out = Table("convolution", title="One layer, built four ways")
    fields = ("parameters", "mult_adds", "memory_access")
    for name in fields:
        out.add_column(name.replace("_", "-" if name == "mult_adds" else " "), justify="right")
    for row in rows:
        cells = (f"{getattr(row, f):,} ({getattr(row, f) / getattr(rows[0], f):.1%})" for f in fields)
        out.add_row(row.kind, *cells)
    return out


def grid(net: str = specs.V1.name) -> list[dict]:
    """Returns the cost of every published width at the four resolutions of the V1 paper, as records.

    Source: arXiv:1704.04861, Tables 6 and 7 (16 models).
    """
    records = []
    for alpha in specs.find(net).alphas:
        model = _classifier(net, alpha)
        for size in GRID_SIZES:
            total = cost(model, size)
            records.append({"alpha": alpha, "size": size, "mult_adds": total.mult_adds, "parameters": total.trainable})
    return records


def plot_grid(path: str | Path, net: str = specs.V1.name) -> Path:
    """Draws accuracy over multiply-adds, and those over width and resolution, to an image file; returns its path.

    The accuracies are those of the published ImageNet weights; a network without any has the second panel alone.
    """
    path = Path(path)
    suffix = path.suffix.lstrip(".").lower()
    if suffix not in ("png", "svg", "pdf", "jpg", "jpeg", "webp"):
        raise UserError(f"The image's name must end in .png, .svg, .pdf, .jpg or .webp. Received: {path}")
    if not path.parent.is_dir():
        raise UserError(f"The image's folder must exist. Received: {path}")
    records = grid(net)
    by_model = {(r["alpha"], r["size"]): r["mult_adds"] / 1e6 for r in records}
    points = [
        (by_model[p.alpha, p.size], p.top1, f"{p.alpha:g}, {p.size} px")
        for p in PUBLISHED
        if p.net == net and p.top and (p.alpha, p.size) in by_model
    ]
    lines: dict[str, list[tuple[int, float]]] = {}
    for (alpha, size), millions in by_model.items():
        lines.setdefault(f"{alpha:g}", []).append((size, millions))
    return viz.costs(points, lines, path, f"{specs.find(net).title}: {len(records)} models")
