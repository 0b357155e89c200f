"""Converts torchvision's DeepLabV3 and LR-ASPP on MobileNetV3-Large."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import keras
from keras import layers

from mobilenet_tf.models import specs
from mobilenet_tf.models.layers import Conv2D, ResizeLike
from mobilenet_tf.models.specs import TORCH_EPSILON
from mobilenet_tf.models.weights.torchvision_converter import Converter, normalization

SEGMENTERS = ("deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large")
FIRST_DILATED_BLOCK = specs.V3_LARGE.down_to(32)
LOW_LEVEL_BLOCK = specs.V3_LARGE.down_to(8)  # LR-ASPP's skip and the auxiliary classifier take its output
RATES = (1, 12, 24, 36)


def convert(name: str, state: Mapping) -> keras.Model:
    """One of SEGMENTERS: RGB [N, H, W, 3] in 0..255 to logits [N, H, W, classes].

    To a dict of "logits" and "auxiliary" where the state dict has an auxiliary classifier.
    Source: torchvision/models/segmentation/deeplabv3.py, lraspp.py, fcn.py.
    """
    blocks = specs.V3_LARGE.blocks
    # torchvision dilates the de-strided block itself, unlike TF-slim
    dilated = tuple(replace(block, stride=1) for block in blocks[FIRST_DILATED_BLOCK:])
    net = replace(specs.V3_LARGE, blocks=blocks[:FIRST_DILATED_BLOCK] + dilated)
    rates = dict.fromkeys(range(FIRST_DILATED_BLOCK, len(blocks)), 2)
    named = {key.replace("backbone.", "features.", 1): value for key, value in state.items()}
    return _Segmenter(name, net, named, rates).model()


class _Segmenter(Converter):
    def model(self) -> keras.Model:
        image = keras.Input((None, None, 3), name="image")
        high = self._features(normalization()(image))
        low = self.maps[self.net.names.layer(LOW_LEVEL_BLOCK, "project")]
        head = self._deeplabv3 if self.name.startswith("deeplabv3") else self._lraspp
        outputs = ResizeLike(name="logits")([head(high, low), image])
        if "aux_classifier.0.weight" in self.state:
            small = self._fcn(low, "aux_classifier", 0, "auxiliary")
            outputs = {"logits": outputs, "auxiliary": ResizeLike(name="auxiliary")([small, image])}
        return self._finished(keras.Model(image, outputs, name=f"{self.name}_torchvision"))

    def _deeplabv3(self, high, low):
        path = "classifier.0.convs"
        branches = [self._relu(high, f"{path}.{i}.0", f"aspp_{i}", rate) for i, rate in enumerate(RATES)]
        pooled = layers.GlobalAveragePooling2D(keepdims=True, name="aspp_pool")(high)
        pooled = self._relu(pooled, f"{path}.{len(RATES)}.1", "aspp_pooling")
        branches.append(ResizeLike(name="aspp_pooling_resize")([pooled, high]))
        x = layers.Concatenate(name="aspp_concat")(branches)
        x = layers.Dropout(0.5, name="aspp_dropout")(self._relu(x, "classifier.0.project.0", "aspp_project"))
        return self._fcn(x, "classifier", 1, "head")

    def _lraspp(self, high, low):
        x = self._relu(high, "classifier.cbr.0", "lraspp")
        scale = layers.GlobalAveragePooling2D(keepdims=True, name="lraspp_pool")(high)
        kernel = self._take("classifier.scale.1.weight", 4)
        gate = layers.Conv2D(len(kernel), 1, use_bias=False, activation="sigmoid", name="lraspp_scale")
        x = layers.Multiply(name="lraspp_multiply")([x, self._add(gate, scale, kernel.transpose(2, 3, 1, 0))])
        x = ResizeLike(name="lraspp_resize")([x, low])
        parts = [self._classify(x, "classifier.high_classifier", "logits_high")]
        parts.append(self._classify(low, "classifier.low_classifier", "logits_low"))
        return layers.Add(name="lraspp_add")(parts)

    def _fcn(self, x, path, first, name):
        """3x3 convolution, dropout, classifier: torchvision's FCNHead and the end of its DeepLabHead."""
        x = self._relu(x, f"{path}.{first}", f"{name}_0")
        if path != "classifier":
            x = layers.Dropout(0.1, name=f"{name}_dropout")(x)
        return self._classify(x, f"{path}.4", f"{name}_logits")

    def _relu(self, x, path, name, rate=1):
        return self._conv_bn(x, path, name, 1, "relu", rate, TORCH_EPSILON)

    def _classify(self, x, path, name):
        kernel, bias = self._take(f"{path}.weight", 4), self._take(f"{path}.bias", 1)
        return self._add(Conv2D(len(bias), 1, name=name), x, kernel.transpose(2, 3, 1, 0), bias)
