"""What this machine has: versions, devices, optional packages, threads."""

from __future__ import annotations

import glob
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

CORE = (
    "mobilenet_tf",
    "tensorflow",
    "ai-edge-litert",
    "keras",
    "numpy",
    "tensorflow-datasets",
    "pycocotools",
    "pillow",
)
EXTRAS = {
    "tf2onnx": "onnx",
    "onnxruntime": "onnx",
    "mediapipe": "mediapipe",
    "torch": "torch",
    "torchvision": "torch",
    "pillow-heif": "heif",
}
GPU_FILES = ("/dev/nvidia*", "/dev/kfd", "/dev/dxg")  # of NVIDIA's and AMD's drivers, and of Windows' Linux


def examine() -> dict[str, object]:
    """Returns {name: value} of versions and devices; for a missing package, the command that installs it."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: _version(name) or f"missing: pip install {name}" for name in CORE},
        **{name: _version(name) or f'missing: pip install "mobilenet-tf[{extra}]"' for name, extra in EXTRAS.items()},
        "keras backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
        "cores": os.cpu_count(),
        **_devices(),
    }


def versions() -> str:
    """Returns the versions of this package and of what it stands on, on one line."""
    told = {"mobilenet-tf": "mobilenet_tf", "TensorFlow": "tensorflow", "Keras": "keras", "LiteRT": "ai-edge-litert"}
    named = (f"{title} {_version(package) or 'missing'}" for title, package in told.items())
    return " · ".join([*named, f"Python {platform.python_version()}"])


def _devices() -> dict[str, object]:
    """Returns the threads and GPUs of TensorFlow; none where it is not installed.

    It is imported, for seconds, only where the system has something that may be a GPU for it.
    """
    if find_spec("tensorflow") is None:
        return {}
    threads = {"intra_op": os.cpu_count(), "inter_op": os.cpu_count()}  # TensorFlow's defaults
    if sys.platform != "darwin" and not any(glob.glob(pattern) for pattern in GPU_FILES):
        return {"threads": threads, "gpus": "none"}
    import tensorflow as tf

    details = tf.config.experimental.get_device_details
    gpus = [details(gpu).get("device_name", "GPU") for gpu in tf.config.list_physical_devices("GPU")]
    return {"threads": threads, "gpus": gpus or "none"}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
