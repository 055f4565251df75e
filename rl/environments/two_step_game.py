"""The two-step game of the QMIX paper, and plain matrix games: worlds that test how values mix.

They are in no catalogue. In the two-step game the first agent chooses which matrix comes next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from data.scenario import Array, BankConfig, FixedSource, ScenarioArrays, ScenarioBank
from rl.environments.base_environment import ActionSpec, AgentGroup
from rl.environments.lockstep import (
    LockstepEnvironment,
    LockstepOptions,
    Outcome,
    WorldShape,
    WorldState,
)
from utils.errors import ConfigError

NUM_AGENTS = 2
OVER = -1
TWO_STEP_PAYOFF = (((7.0, 7.0), (7.0, 7.0)), ((0.0, 1.0), (1.0, 8.0)))
"""arXiv:1803.11485, section 5: a safe 7 whatever is done, or an 8 that both must reach for."""

Payoffs = tuple[tuple[tuple[float, ...], ...], ...]


@dataclass(frozen=True, kw_only=True)
class GameScenarios(ScenarioArrays):
    """What the team is paid."""

    payoff: Array
    """`[episode, matrix, first choice, second choice]`."""


@dataclass(frozen=True, kw_only=True)
class GameState(WorldState):
    """Where each copy is."""

    room: Int64[Tensor, " env"]
    """Which matrix is played next; behind the last one the choice of it; `OVER` at the end."""


class BatchedTwoStepGame(LockstepEnvironment[GameState]):
    """Two agents with a common payoff, fully observed; all copies play one step at a time.

    Observation `[matrix + 1]`, the same for both agents and the global state: one-hot of the matrix
    to be played, or of the choice between them; zeros once the game is over. With one matrix there
    is no choice, so the game has one step.
    Action: one choice each. In the choice between matrices the first agent's choice is the matrix
    and the second agent's does nothing.
    Reward: `payoff`, half of the matrix's entry to each agent, so that the return summed over
    agents is the entry (the team reward of the paper). Cost: none. Metrics: `payoff`, of the team.
    End: terminated after the matrix is played; truncated never.
    """

    def __init__(
        self,
        options: LockstepOptions,
        seed: int,
        *,
        payoff: Payoffs = TWO_STEP_PAYOFF,
    ) -> None:
        """Begin the first games.

        Args:
            options: How it is played.
            seed: Without effect on the game, which has no chance in it.
            payoff: Team payoff `[matrix, first choice, second choice]`: one matrix, or one for
                every choice of the first agent.

        Raises:
            ConfigError: The matrices are not square, or there are other than one or one per choice.
        """
        paid = np.asarray(payoff, dtype=np.float32)
        if paid.ndim != 3 or paid.shape[1] != paid.shape[2] or len(paid) not in (1, paid.shape[1]):
            raise ConfigError(
                f"payoff has shape {paid.shape}: give one square matrix, or one per choice"
            )
        self.num_matrices, choices = len(paid), paid.shape[1]
        self._has_choice = self.num_matrices > 1
        size = self.num_matrices + 1
        players = AgentGroup(
            name="players",
            members=tuple(range(NUM_AGENTS)),
            observation_size=size,
            action=ActionSpec(kind="discrete", size=choices),
            observation_low=0.0,
            observation_high=1.0,
        )
        shape = WorldShape(
            agent_ids=("first", "second"),
            groups=(players,),
            state_size=size,
            num_steps=2 if self._has_choice else 1,
            ends="terminated",
        )
        source = FixedSource(GameScenarios(payoff=paid[None]))
        bank = ScenarioBank(source, BankConfig(num_episodes=1), seed)
        super().__init__(bank, options, shape, seed)

    def _first_state(self) -> GameState:
        first = self.num_matrices if self._has_choice else 0
        room = torch.full((self.num_envs,), first, dtype=torch.int64, device=self.device)
        return GameState(room=room)

    def _advance(self, action: Int64[Tensor, "env agent"]) -> Outcome[GameState]:
        first, second = action.unbind(-1)
        if self._has_choice and self.t == 0:
            room, paid = first, self.rows["payoff"].new_zeros(self.num_envs)
        else:
            copy = torch.arange(self.num_envs, device=self.device)
            paid = self.rows["payoff"][copy, self.state.room, first, second]
            room = torch.full_like(first, OVER)
        shared = (paid / NUM_AGENTS)[:, None].expand(-1, NUM_AGENTS)
        return Outcome(
            state=GameState(room=room), reward_terms={"payoff": shared}, metrics={"payoff": paid}
        )

    def _observe(self) -> Float[Tensor, "env agent obs"]:
        return self._one_hot()[:, None].expand(-1, NUM_AGENTS, -1)

    def _global_state(self, observation: Tensor) -> Float[Tensor, "env state"]:
        del observation
        return self._one_hot()

    def _one_hot(self) -> Float[Tensor, "env obs"]:
        places = nn.functional.one_hot(self.state.room + 1, self.num_matrices + 2)
        return places[:, 1:].float()
