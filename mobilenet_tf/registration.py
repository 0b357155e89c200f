"""Registers with Keras the layers that a .keras file of this package may hold.

Importing `mobilenet_tf` must not import Keras, and `keras.saving.load_model` knows only classes that are registered
already; so they are registered as soon as both packages have been imported, in whichever order.
"""

from __future__ import annotations

import contextlib
import sys
from importlib import import_module

import wrapt

MODULES = (
    "mobilenet_tf.models.layers",
    "mobilenet_tf.qat.layers",
    "mobilenet_tf.training.optim",
    "mobilenet_tf.tasks.detection.export",
    "mobilenet_tf.tasks.segmentation.export",
)


def register() -> None:
    """Imports the modules whose classes register themselves."""
    for name in MODULES:
        import_module(name)


def register_with_keras() -> None:
    """Arranges that `register` is called once Keras is imported, or now if it already is."""
    for name in ("keras", *MODULES):
        wrapt.register_post_import_hook(_try_to_register, name)


def _try_to_register(_module) -> None:
    """Registers the layers if possible.

    It is not where one of `MODULES` imported Keras and is itself only half imported; the hook on that module then
    registers them.
    """
    if "keras" in sys.modules:
        with contextlib.suppress(ImportError):
            register()
