"""State dicts of PyTorch: reading them without running what is in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mobilenet_tf.utils.errors import UserError, missing_extra


def read(state: Mapping | str | Path) -> dict[str, np.ndarray]:
    """The float32 tensors of a state dict, or of the file of one: `.pth`, `.pt`, `.safetensors` or `.npz`.

    Counters of batches are left out. Raises UserError.
    """
    state = state if isinstance(state, Mapping) else _read_file(Path(state))
    return {key: _array(value) for key, value in state.items() if not key.endswith("num_batches_tracked")}


def _array(value) -> np.ndarray:
    if hasattr(value, "detach"):  # a torch tensor, of any float type and device
        value = value.detach().cpu().float().numpy()
    return np.asarray(value, np.float32)


def _read_file(path: Path) -> Mapping:
    """The state dict in a file."""
    readers = {".pth": _read_torch, ".pt": _read_torch, ".safetensors": _read_safetensors, ".npz": _read_npz}
    if path.suffix not in readers or not path.is_file():
        raise UserError(f"The state dict must be a .pth, .safetensors or .npz file that exists. Received: {path}")
    try:
        state = readers[path.suffix](path)
    except UserError:
        raise
    except Exception as error:  # each reader has its own exceptions for damaged files
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"The state dict must be readable as plain tensors ({reason}). Received: {path}") from error
    if not isinstance(state, Mapping):
        raise UserError(f"The state dict must be a mapping of names to tensors. Received: {type(state)} in {path}")
    return state


def _read_torch(path):
    try:
        import torch  # pyright: ignore[reportMissingImports] - an optional extra
    except ImportError as error:
        raise missing_extra("torch", "torch") from error
    return torch.load(path, map_location="cpu", weights_only=True)


def _read_safetensors(path):
    try:
        from safetensors.numpy import load_file
    except ImportError as error:
        raise missing_extra("safetensors", "torch") from error
    return load_file(path)


def _read_npz(path):
    with np.load(path, allow_pickle=False) as file:
        return dict(file)
