"""Between torch and the domains, which are written over an array namespace."""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from rl.domains.array_tools import ArrayTools

View = TypeVar("View")


def view_to_numpy(view: View) -> View:
    """Turn a view of tensors, or of views of them, into one of arrays, as experts want it.

    Args:
        view: A dataclass of tensors, on any device; what is neither tensor nor view stays.
    """

    def turn(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.detach().cpu().numpy()
        return view_to_numpy(value) if is_dataclass(value) else value

    return type(view)(**{name: turn(value) for name, value in vars(view).items()})


def make_torch_tools(device: torch.device, dtype: torch.dtype) -> ArrayTools:
    """Return the array operations of torch.

    Args:
        device: Where arrays live.
        dtype: Of floats.
    """

    def take(values: Tensor, index: Tensor) -> Tensor:
        if index.ndim == 1:
            return values.index_select(-1, index)
        picked = values.index_select(-1, index.flatten())
        return picked.reshape(*values.shape[:-1], *index.shape)

    def as_array(values: Any) -> Tensor:
        return torch.as_tensor(values, dtype=dtype, device=device)

    def as_index(values: Any) -> Tensor:
        return torch.as_tensor(values, dtype=torch.int64, device=device)

    return ArrayTools(xp=torch, as_array=as_array, as_index=as_index, take=take)
