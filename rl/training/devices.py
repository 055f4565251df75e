"""Devices that a configuration names: whether they are here, and whether a world plays on them."""

from __future__ import annotations

import torch

from rl.environments.base_environment import BatchedEnvironment
from utils.errors import ConfigError


def check_device(device: str, setting: str, *, where: str = "on this machine") -> None:
    """Refuse a device that cannot be used.

    Args:
        device: Such as `cuda:1`.
        setting: Which named it.
        where: Said in the error.

    Raises:
        ConfigError: There is none.
    """
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise ConfigError(
            f"{setting}: {where} there is no {device} ({str(error).splitlines()[0]}); name "
            "another device, or run it elsewhere"
        ) from error


def check_world(world: BatchedEnvironment, device: str, setting: str) -> None:
    """Refuse a world that does not play where it was told to.

    Args:
        world: Built for the device.
        device: Such as `cuda:1`.
        setting: Which named it.

    Raises:
        ConfigError: It plays elsewhere.
    """
    if world.device.type != torch.device(device).type:
        raise ConfigError(
            f"{setting}: this world is played on {world.device} only, not on {device}; leave "
            f"{setting} out"
        )
