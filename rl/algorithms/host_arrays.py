"""Tensors in host memory as NumPy's arrays: the same operators at a third of the cost when small.

An operator on 256 numbers takes torch 2 to 5 us on a CPU and NumPy less than 1. What is written with
operators that both understand runs unchanged on a device, where `as_array` returns the tensor.
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
        array: What `as_array` returned, or made of it.
    """
    return torch.from_numpy(array) if isinstance(array, np.ndarray) else array
