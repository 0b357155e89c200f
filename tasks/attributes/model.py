"""The attribute model as it is exported; `mobilenet_tf.models.heads.classifier` builds it."""

from __future__ import annotations
