"""TFLite's GELU for tf2onnx, which does not know it: the sum of ONNX operations that it is."""

from __future__ import annotations

import functools
import math

import numpy as np


@functools.cache
def register() -> None:
    """Makes tf2onnx convert GELU from now on; x / 2 * (1 + erf(x / sqrt(2))), arXiv:1606.08415, section 2."""
    from tf2onnx.handler import tfl_op
    from tf2onnx.utils import make_name

    @tfl_op("TFL_GELU")
    class Gelu:
        @classmethod
        def to_tf(cls, ctx, node, **kwargs):
            """Replaces a node of a tf2onnx graph."""
            x, output = node.input[0], node.output[0]
            shapes, dtypes = [ctx.get_shape(output)], [ctx.get_dtype(output)]

            def made(kind, inputs, **options):
                return ctx.make_node(kind, inputs, shapes=shapes, dtypes=dtypes, **options).output[0]

            def number(value):
                return ctx.make_const(make_name("gelu"), np.array(value, np.float32)).output[0]

            ctx.remove_node(node.name)
            error = made("Erf", [made("Mul", [x, number(math.sqrt(0.5))])])
            share = made("Mul", [made("Add", [error, number(1.0)]), number(0.5)])
            made("Mul", [x, share], name=node.name, outputs=[output])
