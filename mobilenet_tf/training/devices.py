"""What this machine trains with: precision and compiler, decided explicitly and printed."""

from __future__ import annotations

import os

import tensorflow as tf

from mobilenet_tf.utils.errors import UserError


def device_settings(precision: str, jit: str) -> tuple[str, bool]:
    """Resolves "auto" for this machine and prints the choice; returns (Keras's policy, whether XLA compiles).

    On a CPU: float32 (depthwise kernels have no fast path below it), no XLA, whose CPU convolutions are many times
    slower, and oneDNN's kernels, unless TensorFlow was imported before this package. On a GPU: bfloat16 from compute
    capability 8 on, float16 from 7 on, and XLA.

    Raises:
        UserError: the processor cannot compute in that precision.
    """
    gpus = tf.config.list_physical_devices("GPU")
    name = f"CPU ({os.cpu_count()} cores)"
    automatic = "float32"
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        name, capability = details.get("device_name", "GPU"), details.get("compute_capability", (0, 0))[0]
        automatic = "mixed_bfloat16" if capability >= 8 else "mixed_float16" if capability >= 7 else "float32"
    precision = automatic if precision == "auto" else precision
    if not computes(precision.removeprefix("mixed_")):
        raise UserError(f"train.precision must be auto or float32 on this processor. Received: {precision}")
    use_jit = bool(gpus) if jit == "auto" else jit == "on"
    one_dnn = {"1": "on", "0": "off"}.get(os.environ.get("TF_ENABLE_ONEDNN_OPTS", ""), "as TensorFlow has it")
    print(
        f"device {name} · precision {precision} · XLA {'on' if use_jit else 'off'} · oneDNN {one_dnn} · "
        "fused BatchNormalization"
    )
    return precision, use_jit


def computes(dtype: str) -> bool:
    """Whether convolutions of that type have a kernel here: oneDNN has none of half precision below AVX-512."""
    try:
        tf.nn.conv2d(tf.ones([1, 8, 8, 3], dtype), tf.ones([3, 3, 3, 8], dtype), 2, "SAME")
    except tf.errors.OpError:
        return False
    return True
