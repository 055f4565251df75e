"""Tensors in host memory as NumPy's arrays: the same operators at a third of the cost when small.

An operator on 256 numbers takes torch 2 to 5 us on a CPU and NumPy about 1. What is written in
operators that both know runs unchanged on a device, where `as_array` returns the tensor itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


def as_array(tensor: Tensor) -> Any:
    """Return an array in the same memory if that is the host's, else the tensor itself.

    Args:
        tensor: Needs no gradient.
    """
    return tensor.numpy() if tensor.device.type == "cpu" else tensor


def as_tensor(array: np.ndarray | Tensor) -> Tensor:
    """Return a tensor in the same memory.

    Args:
        array: What `as_array` returned, or one computed from it.
    """
    return torch.from_numpy(array) if isinstance(array, np.ndarray) else array


def as_float32(array: Any) -> Any:
    """Return an array in single precision.

    Args:
        array: What `as_array` returned.
    """
    return array.to(torch.float32) if isinstance(array, Tensor) else array.astype(np.float32)
