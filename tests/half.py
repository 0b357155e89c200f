"""Half precision, which not every TensorFlow can compute."""

import pytest

from mobilenet_tf.training.devices import computes


def need(dtype: str):
    """Skips a test where convolutions do not have that type: where oneDNN is held below what the processor has.

    TensorFlow asks the processor whether it may use it, oneDNN asks ONEDNN_MAX_CPU_ISA. Real ones are of one mind.
    """
    if not computes(dtype):
        pytest.skip(f"no convolutions of {dtype} here")
