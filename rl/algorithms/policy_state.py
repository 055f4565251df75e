"""Flat dictionaries of tensors, to and from bytes; safetensors, so that loading runs no code."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from utils.errors import QuartermasterError

TensorDict = dict[str, Tensor]


class StateMismatchError(QuartermasterError):
    """Saved tensors do not fit the object that should take them."""


class TensorBytesError(QuartermasterError):
    """Bytes are not a whole safetensors file."""


def save_tensors(tensors: Mapping[str, Tensor]) -> bytes:
    """Serialise tensors.

    Args:
        tensors: By name; copied to the CPU first.
    """
    return bytes(
        save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    )


def load_tensors(content: bytes) -> TensorDict:
    """Restore what `save_tensors` wrote.

    Args:
        content: All of its bytes.

    Raises:
        TensorBytesError: The bytes are cut or no safetensors.
    """
    try:
        return dict(load(content))
    except (SafetensorError, ValueError, KeyError) as error:
        raise TensorBytesError(f"not a whole safetensors file: {error}") from error


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> TensorDict:
    """Rename tensors to `prefix.name`.

    Args:
        prefix: Name of their owner.
        tensors: By name.
    """
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def under_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> TensorDict:
    """Return the tensors named `prefix.name`, by name.

    Args:
        prefix: Name of their owner.
        tensors: Of several owners.
    """
    start = f"{prefix}."
    return {n.removeprefix(start): tensor for n, tensor in tensors.items() if n.startswith(start)}


def take_tensor(tensors: Mapping[str, Tensor], name: str, like: Tensor | None = None) -> Tensor:
    """Return one saved tensor, checked.

    Args:
        tensors: By name.
        name: Which.
        like: If given, shape and type must agree with it.

    Raises:
        StateMismatchError: It is absent or has another shape or type.
    """
    if name not in tensors:
        raise StateMismatchError(
            f"{name} is not in the saved state: it was saved by another configuration or version"
        )
    tensor = tensors[name]
    if like is not None and (tensor.shape != like.shape or tensor.dtype != like.dtype):
        raise StateMismatchError(
            f"{name} was saved as {tensor.dtype} {tuple(tensor.shape)}, "
            f"but here it is {like.dtype} {tuple(like.shape)}: load it with the configuration it "
            "was saved with"
        )
    return tensor


def module_state(module: nn.Module) -> TensorDict:
    """Return copies of a module's parameters and buffers.

    Args:
        module: The module.
    """
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


@torch.no_grad()
def load_module_state(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy saved tensors into a module.

    Args:
        module: The module; on an error it may hold some of the tensors.
        state: What `module_state` returned.

    Raises:
        StateMismatchError: A tensor is absent or has another shape or type.
    """
    for name, tensor in module.state_dict().items():
        tensor.copy_(take_tensor(state, name, tensor))


def optimizer_state(optimizer: torch.optim.Optimizer) -> TensorDict:
    """Return copies of an optimiser's moments, named `position.moment`.

    Args:
        optimizer: With one parameter group, all of whose state is tensors.
    """
    return {
        f"{position}.{name}": moment.clone()
        for position, parameter in enumerate(optimizer.param_groups[0]["params"])
        for name, moment in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: Mapping[str, Tensor]) -> None:
    """Give an optimiser the saved moments, or none if none were saved.

    Args:
        optimizer: Over the same parameters in the same order.
        state: What `optimizer_state` returned.
    """
    optimizer.state.clear()
    for position, parameter in enumerate(optimizer.param_groups[0]["params"]):
        moments = under_prefix(str(position), state)
        if moments:
            optimizer.state[parameter] = {
                name: moment.to(parameter.device, copy=True) for name, moment in moments.items()
            }
