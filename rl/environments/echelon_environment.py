"""A chain whose planner sets order-up-to levels per echelon in place of orders."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from rl.domains.echelon_levels import MOST_DAYS, EchelonLevels
from rl.domains.supply_chain import SupplyConfig
from rl.environments.lockstep import Outcome
from rl.environments.supply_network_environment import (
    BatchedSupplyNetwork,
    SupplyBank,
    SupplyOptions,
    SupplyState,
)
from utils.errors import ConfigError


class BatchedEchelonChain(BatchedSupplyNetwork):
    """The same chain, observed and acted in as `EchelonLevels` says: a level per stage."""

    def __init__(
        self, config: SupplyConfig, bank: SupplyBank, options: SupplyOptions, seed: int
    ) -> None:
        """Build the copies; call `reset` before the first step.

        Args:
            config: A chain; shelves and links run from the market upstream.
            bank: Its scenarios; refreshed by this environment.
            options: How it is played; one planner orders for all.
            seed: Seed of the choice of episodes.

        Raises:
            ConfigError: The network is no chain, the bank does not fit, or every node is to order
                for itself.
        """
        if options.view != "planner":
            raise ConfigError("levels per echelon are set by a planner; choose view='planner'")
        super().__init__(config, bank, options, seed)
        self._levels = levels = EchelonLevels(self.domain)
        group = replace(
            self.groups[0],
            observation_size=levels.observation_size,
            observation_high=MOST_DAYS,
        )
        self.groups, self.observation_size = (group,), levels.observation_size

    def _advance(self, action: Tensor) -> Outcome[SupplyState]:
        orders = self._levels.orders(action.to(self._dtype).flatten(1), self.view)
        return super()._advance(self.place(orders))

    def _observe(self) -> Tensor:
        super()._observe()
        seen: Tensor = self._levels.encode(self.view)
        return seen[:, None].detach()
