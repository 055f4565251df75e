"""Several deciders over the same episodes of one world, a few seconds at a time, and what it says.

The figures are those of rl/evaluation; nothing here decides what better means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from data.scenario import fixed_bank
from rl.domains.world_sizes import WorldSizes
from rl.environments.catalog import make_world
from rl.evaluation.episode_statistics import (
    estimate_mean,
    locate_episodes,
    mean_of_worst,
    share_of,
    share_of_wins,
)
from rl.training.session_players import PROJECTIONS, Decider, make_player
from utils.clock import SystemClock
from utils.errors import ConfigError
from utils.seeding import make_generator

MOST_EPISODES, MOST_DECIDERS = 200, 8
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BAND = (0.1, 0.9)
POINTS, PATHS = 100, 5
"""Steps of a curve that are told, and single episodes."""
TAIL = 0.05
ROUNDING = 1e-9
"""A violation up to this is none: worlds count in float32."""
Numbers = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ComparisonOrder:
    """Who plays, and how much."""

    deciders: tuple[Decider, ...]
    episodes: int

    def __post_init__(self) -> None:
        """Refuse nobody, twins and too much.

        Raises:
            ConfigError: It is one of these.
        """
        if not 1 <= len(self.deciders) <= MOST_DECIDERS:
            raise ConfigError(f"deciders: name 1 to {MOST_DECIDERS}, not {len(self.deciders)}")
        if len(set(self.deciders)) < len(self.deciders):
            raise ConfigError("deciders: somebody is named twice; name everybody once")
        if not 2 <= self.episodes <= MOST_EPISODES:
            raise ConfigError(f"episodes={self.episodes}: play 2 to {MOST_EPISODES}")

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ComparisonOrder:
        """Read what the server sent.

        Args:
            values: Of the fields.
        """
        deciders = tuple(Decider(**one) for one in values["deciders"])
        return cls(deciders=deciders, episodes=values["episodes"])


class _Play:
    """One decider in all episodes at once."""

    def __init__(
        self, environment: Any, decider: Decider, player: Any, *, is_projected: bool
    ) -> None:
        self.decider, self.is_projected = decider, is_projected
        self._environment, self._player = environment, player
        self._record = environment.reset()
        self._rewards: list[Numbers] = []
        self._costs: list[Numbers] = []
        self.num_steps = int(environment.shape.num_steps)

    @property
    def played(self) -> int:
        """Steps so far."""
        return len(self._rewards)

    def step(self) -> None:
        """Let it decide once in every episode."""
        record = self._environment.step(self._player(self._environment, self._record))
        self._record = record
        self._rewards.append(record.reward.mean(-1).double().numpy())
        self._costs.append(record.cost.sum((-1, -2)).double().numpy())

    @property
    def rewards(self) -> Numbers:
        """`[time, episode]`."""
        return np.stack(self._rewards)

    @property
    def costs(self) -> Numbers:
        """`[time, episode]`."""
        return np.stack(self._costs)


class Comparison:
    """Deciders in the same episodes of a world."""

    def __init__(self, world: str, sizes: WorldSizes, seed: int, order: ComparisonOrder) -> None:
        """Draw the episodes, and seat everybody, so that who cannot play is told at once.

        Args:
            world: Its name.
            sizes: Of the world.
            seed: Of the episodes and of chance.
            order: Who plays.

        Raises:
            ConfigError: Somebody cannot play the world.
        """
        self.order = order
        probe = make_world(world, num_envs=1, seed=seed, sizes=sizes)
        scenarios = probe.bank.source.draw(order.episodes, make_generator(seed, "comparison"))
        self._counts_costs = probe.num_costs > 0

        def seat(decider: Decider, *, is_projected: bool) -> _Play:
            environment = make_world(world, num_envs=order.episodes, seed=seed, sizes=sizes)
            player = make_player(world, decider, environment, seed)
            environment.use_bank(fixed_bank(scenarios), seed=0, in_order=True)
            shown = PROJECTIONS[world](player) if is_projected else player
            return _Play(environment, decider, shown, is_projected=is_projected)

        ways = (False, True) if world in PROJECTIONS else (False,)
        self._plays = [seat(one, is_projected=way) for one in order.deciders for way in ways]

    def advance(self, seconds: float) -> dict[str, Any]:
        """Play on.

        Args:
            seconds: After which it stops, if it is not done.

        Returns:
            Steps `played` and `total`, and the `report` once all are.
        """
        clock = SystemClock()
        until = clock.monotonic() + seconds
        with torch.no_grad():
            for play in self._plays:
                while play.played < play.num_steps and clock.monotonic() < until:
                    play.step()
        played, total = (
            sum(getattr(play, name) for play in self._plays) for name in ("played", "num_steps")
        )
        report = self._report() if played == total else None
        return {"played": played, "total": total, "report": report}

    def _report(self) -> dict[str, Any]:
        base = next((p for p in self._plays if p.decider.kind == "expert"), self._plays[0])
        return {
            "episodes": self.order.episodes,
            "steps": base.num_steps,
            "baseline": self._plays.index(base),
            "counts_costs": self._counts_costs,
            "players": [self._row(play, base) for play in self._plays],
        }

    def _row(self, play: _Play, base: _Play) -> dict[str, Any]:
        blocks = np.arange(self.order.episodes)
        scores, theirs = play.rewards.sum(0)[None], base.rewards.sum(0)[None]
        places = locate_episodes(scores, blocks)
        is_base = play is base
        return {
            "kind": play.decider.kind,
            "name": play.decider.name,
            "is_projected": play.is_projected,
            "returns": scores[0].tolist(),
            "mean": asdict(places.mean),
            "median": asdict(places.median),
            "iqm": asdict(places.iqm),
            "quantiles": np.quantile(scores[0], QUANTILES).tolist(),
            "worst": asdict(mean_of_worst(scores, TAIL)),
            "difference": None if is_base else asdict(estimate_mean(scores - theirs, blocks)),
            "wins": None if is_base else asdict(share_of_wins(scores, theirs, blocks)),
            "violation": self._violation(play, blocks),
            "curve": _curve(play.rewards),
        }

    def _violation(self, play: _Play, blocks: NDArray[np.intp]) -> dict[str, Any] | None:
        if not self._counts_costs:
            return None
        costs = np.where(play.costs > ROUNDING, play.costs, 0.0)
        free = share_of((costs.sum(0) <= 0)[None])
        return {
            "per_step": asdict(estimate_mean(costs.mean(0)[None], blocks)),
            "steps_with": float((costs > 0).mean()),
            "free": {"value": free.value, "low": free.low, "high": free.high},
        }


def _curve(rewards: Numbers) -> dict[str, Any]:
    """Return the return so far over steps: mean, band, and single episodes."""
    so_far = rewards.cumsum(0)
    steps = np.unique(np.linspace(0, len(so_far) - 1, min(POINTS, len(so_far))).round().astype(int))
    low, high = np.quantile(so_far[steps], BAND, axis=1)
    return {
        "steps": (steps + 1).tolist(),
        "mean": so_far[steps].mean(1).tolist(),
        "low": low.tolist(),
        "high": high.tolist(),
        "paths": so_far[steps, :PATHS].T.tolist(),
    }
