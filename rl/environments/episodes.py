"""Which episode of a scenario bank each copy plays, and its rows on the device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from data.scenario import ScenarioBank, WorkloadScenarios
from rl.domains.resource_allocation import AllocationConfig
from utils.errors import ConfigError
from utils.seeding import derive_seed

WorkloadBank = ScenarioBank[WorkloadScenarios]


@dataclass(frozen=True, kw_only=True)
class Deal:
    """The episodes that all copies play next."""

    index: Int64[Tensor, " env"]
    """Position in the bank."""
    rows: Mapping[str, Tensor]
    """Every array of the scenarios, `[env, ...]`."""


def check_bank(bank: WorkloadBank, config: AllocationConfig) -> None:
    """Refuse a bank whose episodes do not fit the world.

    Args:
        bank: The episodes.
        config: The world.

    Raises:
        ConfigError: Steps, services, resources or look-back differ.
    """
    scenarios = bank.scenarios
    names = ("steps", "services", "resources", "look-back")
    held = (*scenarios.demand.shape[1:], scenarios.capacity.shape[-1], scenarios.history.shape[1])
    wanted = (config.max_steps, len(config.services), len(config.resources), config.lookback)
    if held != wanted:
        raise ConfigError(f"the bank holds {names} = {held}, the world has {wanted}")


class EpisodeDealer:
    """Deals the episodes of a bank to all copies at once, and draws the bank anew in time."""

    def __init__(
        self, bank: ScenarioBank[Any], *, num_envs: int, shuffle: bool, device: torch.device
    ) -> None:
        """Keep the bank; call `restart` before the first deal.

        Args:
            bank: The episodes; refreshed from here.
            num_envs: How many copies.
            shuffle: Draw at random, or in the order of the bank.
            device: Where the copies live.
        """
        self.bank = bank
        self._num_envs, self._shuffle, self._device = num_envs, shuffle, device
        self._generator = torch.Generator()
        self._rows: dict[str, Tensor]

    def restart(self, seed: int) -> None:
        """Begin the sequence of episodes anew, including the bank's.

        Args:
            seed: Of the choice of episodes.
        """
        self._generator.manual_seed(derive_seed(seed, "environment"))
        self._played = 0
        if self.bank.refresh_counter:
            self.bank.restart()
        self._load_bank()

    def deal(self) -> Deal:
        """Give every copy its next episode."""
        bank = self.bank
        if self._shuffle and self._played >= bank.config.refresh_every_episodes * (
            bank.refresh_counter + 1
        ):
            bank.refresh()
            self._load_bank()
        held = bank.scenarios.num_episodes
        if self._shuffle:
            index = torch.randint(held, (self._num_envs,), generator=self._generator)
        else:
            index = (self._played + torch.arange(self._num_envs)) % held
        self._played += self._num_envs
        return self._gather(index.to(self._device))

    def state_dict(self) -> dict[str, Tensor]:
        """Return all that decides which episodes come next."""
        counters = [self._played, self.bank.seed, self.bank.refresh_counter]
        return {
            "dealt": torch.tensor(counters, dtype=torch.int64),
            "bank_hash": torch.tensor(list(bytes.fromhex(self.bank.hash)), dtype=torch.uint8),
            "generator": self._generator.get_state().clone(),
        }

    def restore(self, state: Mapping[str, Tensor], index: Tensor) -> Deal:
        """Continue from a state that `state_dict` returned.

        Args:
            state: The tensors.
            index: The episode each copy was playing.

        Raises:
            ScenarioError: The scenario source gives other episodes than it did.
        """
        played, bank_seed, refreshes = (int(value) for value in state["dealt"])
        expected = bytes(state["bank_hash"].tolist()).hex()
        bank = self.bank
        if (bank_seed, refreshes, expected) != (bank.seed, bank.refresh_counter, bank.hash):
            bank.restore(bank_seed, refreshes, expected)
        self._load_bank()
        self._generator.set_state(state["generator"].cpu().clone())
        self._played = played
        return self._gather(index.to(self._device))

    def _load_bank(self) -> None:
        scenarios = self.bank.scenarios
        self._rows = {
            field.name: torch.as_tensor(getattr(scenarios, field.name), device=self._device)
            for field in fields(scenarios)
        }

    def _gather(self, index: Tensor) -> Deal:
        return Deal(index=index, rows={name: held[index] for name, held in self._rows.items()})
