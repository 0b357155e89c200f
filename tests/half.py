"""Half precision, which not every TensorFlow can compute."""

import pytest
import tensorflow as tf


def need_bfloat16():
    """Skips a test where convolutions have no bfloat16: where oneDNN is held below what the processor has.

    TensorFlow asks the processor whether it may use it, oneDNN asks ONEDNN_MAX_CPU_ISA. Real ones are of one mind.
    """
    try:
        tf.nn.conv2d(tf.zeros((1, 8, 8, 3), tf.bfloat16), tf.zeros((3, 3, 3, 4), tf.bfloat16), 1, "SAME")
    except tf.errors.AbortedError as error:
        pytest.skip(f"TensorFlow cannot: {str(error).splitlines()[0]}")
