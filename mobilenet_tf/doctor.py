"""What this machine has: versions, devices, optional packages, threads."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

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


def _devices() -> dict[str, object]:
    """Returns the threads and GPUs of TensorFlow; none where it is not installed."""
    try:
        import tensorflow as tf
    except ImportError:
        return {}
    details = tf.config.experimental.get_device_details
    gpus = [details(gpu).get("device_name", "GPU") for gpu in tf.config.list_physical_devices("GPU")]
    threads = {
        "intra_op": tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count(),
        "inter_op": tf.config.threading.get_inter_op_parallelism_threads() or os.cpu_count(),
    }
    return {"threads": threads, "gpus": gpus or "none"}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
