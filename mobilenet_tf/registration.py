"""The layers that a .keras file of this package may hold, made known to Keras whenever Keras is there.

Importing `mobilenet_tf` must not import Keras, and `keras.saving.load_model` knows only classes that were registered
by then; so they are registered as soon as both have been imported, in whichever order.
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
    """Has `register` called once Keras is imported, now if it already is."""
    for name in ("keras", *MODULES):
        wrapt.register_post_import_hook(_register_what_can_be, name)


def _register_what_can_be(_module) -> None:
    """Where one of `MODULES` imported Keras, it is half done itself: the hook on it then comes back for the others."""
    if "keras" in sys.modules:
        with contextlib.suppress(ImportError):
            register()
