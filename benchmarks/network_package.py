"""Planners of orders in gym-invmgmt 0.2.1 itself: its scenarios, its episodes, our peer.

gym-invmgmt is a development requirement. The rolling program is ours: in every step it plans what
is left as if demand were mean + z sqrt(mean), and orders the first step of the plan.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from gym_invmgmt import CoreEnv
from numpy.typing import NDArray

from rl.domains.network_planner import PlannerView
from rl.domains.planner_experts import as_supply_view
from rl.domains.supply_presets import multi_echelon, serial
from rl.evaluation.supply_bounds import RollingPlanner

STEPS = 30
TOPOLOGIES = ("base", "serial")
NETWORKS = {"base": multi_echelon, "serial": serial}
PACKAGE_NAMES = {"base": "network", "serial": "serial"}
HORIZONS = {"base": 22, "serial": 13}
FRESH_SEEDS = tuple(range(81_001, 81_021))
SAFETY = 0.75
Decide = Callable[[PlannerView], NDArray[np.floating]]
"""Maps a view with a batch axis of one to requests, `[1, link]`."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One row of the published table."""

    topology: str
    demand: str
    goodwill: bool
    backlog: bool

    @property
    def key(self) -> str:
        """As the published table spells it."""
        block = "B_PaperReplication" if self.demand == "stationary" else "A_Core"
        flags = f"GW:{self.goodwill}|BL:{self.backlog}|MARL:False"
        return f"{block}|{self.topology}|{self.demand}|{flags}"


@dataclass(frozen=True, kw_only=True)
class Episode:
    """What came of one episode."""

    scenario: str
    seed: int
    profit: float
    fill_rate: float
    """Units sold over units asked for; late deliveries count."""
    bullwhip: float
    """Variance of all requests over that of demand, over time."""
    most_stock: float
    """Units on any shelf."""
    most_shipped: float
    """Units set out at once on any link."""
    most_unmet: float
    milliseconds: float
    """CPU time of all decisions: features and policy, or programs; not of the package's steps."""


def list_scenarios(topology: str) -> list[Scenario]:
    """Return the ten scenarios of a topology that need no other data.

    Args:
        topology: base or serial.
    """
    flags = list(itertools.product((False, True), (False, True)))
    moving = [
        Scenario(topology=topology, demand=demand, goodwill=goodwill, backlog=backlog)
        for demand in ("trend+seasonal+shock", "trend+seasonal")
        for goodwill, backlog in flags
    ]
    still = [
        Scenario(topology=topology, demand="stationary", goodwill=False, backlog=backlog)
        for backlog in (False, True)
    ]
    return moving + still


def make_package_world(scenario: Scenario) -> CoreEnv:
    """Return the package's world.

    Args:
        scenario: Of the table.
    """
    demand = {"type": scenario.demand, "base_mu": 20, "use_goodwill": scenario.goodwill}
    name = PACKAGE_NAMES[scenario.topology]
    return CoreEnv(name, demand, num_periods=STEPS, backlog=scenario.backlog)


def expected_demand(env: CoreEnv) -> NDArray[np.float32]:
    """Return the mean of demand at neutral goodwill, `[time]`.

    Args:
        env: The package's world.
    """
    engine = env.demand_engine
    kept, engine.use_goodwill = engine.use_goodwill, False
    mean = np.array([engine.get_current_mu(step) for step in range(STEPS)], np.float32)
    engine.use_goodwill = kept
    return mean


def look(env: CoreEnv, scenario: Scenario, mean: NDArray[np.float32], horizon: int) -> PlannerView:
    """See the package's world as a planner does.

    Args:
        env: The world, before a step.
        scenario: What is played.
        mean: Of demand at neutral goodwill; not looked at without a horizon.
        horizon: Steps for which it is known.
    """
    t, shelves = env.period, len(env.network.main_nodes)
    known = np.zeros(horizon, np.float32)
    known[: max(min(horizon, STEPS - t), 0)] = mean[t : t + horizon]
    history = np.zeros(STEPS, np.float32)
    history[STEPS - t :] = env.D[:t, 0]
    state = np.asarray(env.state, np.float32)

    def one(value: float) -> NDArray[np.float32]:
        return np.array([value], np.float32)

    return PlannerView(
        stock=state[None, 2 : 2 + shelves],
        in_transit=state[None, 2 + shelves : -2],
        unmet=one(state[1]),
        sentiment=one(env.demand_engine.sentiment),
        waits=one(scenario.backlog),
        remembers=one(scenario.goodwill),
        steps_taken=one(t),
        known_mean=known[None],
        history=history[None],
    )


def play(decide: Decide, scenario: Scenario, seed: int, horizon: int) -> Episode:
    """Play one episode of the package.

    Args:
        decide: Who orders.
        scenario: What is played.
        seed: Of the package's generator.
        horizon: Steps for which the mean of demand is known.
    """
    env = make_package_world(scenario)
    env.reset(seed=seed)
    mean, profit, spent = expected_demand(env), 0.0, 0.0
    for _ in range(STEPS):
        begun = time.thread_time()
        orders = decide(look(env, scenario, mean, horizon))[0]
        spent += time.thread_time() - begun
        profit += env.step(np.asarray(orders, np.float64))[1]
    demand, requests = env.D[:, 0], env.action_log.sum(-1)
    delivered = demand.sum() - (env.U[-1, 0] if scenario.backlog else env.U[:, 0].sum())
    return Episode(
        scenario=scenario.key,
        seed=seed,
        profit=profit,
        fill_rate=float(delivered / max(demand.sum(), 1e-9)),
        bullwhip=float(requests.var() / max(demand.var(), 1e-9)),
        most_stock=float(env.X.max()),
        most_shipped=float(env.R.max()),
        most_unmet=float(env.U.max()),
        milliseconds=1e3 * spent,
    )


def play_all(
    decide: Callable[[Scenario], Decide],
    scenarios: Sequence[Scenario],
    seeds: Sequence[int],
    horizon: int,
) -> list[dict[str, object]]:
    """Play every scenario on every seed.

    Args:
        decide: Makes who orders in a scenario.
        scenarios: What is played.
        seeds: Of the package's generator.
        horizon: Steps for which the mean of demand is known.
    """
    players = [(one, decide(one)) for one in scenarios]
    return [
        asdict(play(player, scenario, seed, horizon))
        for scenario, player in players
        for seed in seeds
    ]


def rolling_program(scenario: Scenario) -> Decide:
    """Return the peer: a linear program over all that is left of the episode.

    Args:
        scenario: What is played.
    """
    preset = NETWORKS[scenario.topology](
        scenario.demand, goodwill=scenario.goodwill, backlog=scenario.backlog
    )
    config = replace(preset.config, known_horizon=STEPS)
    planner = RollingPlanner(config, safety=SAFETY)
    return lambda view: planner(as_supply_view(view, config))
