"""Planners of gym-invmgmt's networks, trained on our own copy of them; never on its seeds.

What a run makes is an artifact. Candidates are the averaged weights at some moments of one run; the
one that earns the most on the development seeds is kept.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from benchmarks.measuring import describe_machine
from benchmarks.network_package import (
    DEVELOPMENT_SEEDS,
    HORIZONS,
    NETWORKS,
    STEPS,
    list_scenarios,
    play_all,
)
from data.network_demand import NetworkDemandSource
from data.scenario import BankConfig, ScenarioBank
from rl.algorithms.apg_agent import APGAgent
from rl.algorithms.apg_config import APGConfig
from rl.algorithms.ppo_agent import PPOAgent, PPOConfig
from rl.artifacts import Baseline, Evaluation, PolicyArtifact, PolicyCard
from rl.deployment.planner_exporter import PlannerPolicy, export_network_planner
from rl.domains.network_planner import PlannerConfig
from rl.environments.lockstep import LockstepOptions
from rl.environments.network_planner_environment import BatchedNetworkPlanner
from rl.training.learners import make_learner
from utils.seeding import derive_seed

APG = APGConfig(
    hidden_dims=(128, 128),
    activation="silu",
    learning_rate=3e-3,
    warmup_updates=30,
    max_grad_norm=1.0,
    averaging=0.99,
    normalizer_updates=0,
    observation_clip=1e4,
    initial_action_mean=-0.5,
    range_penalty=0.0,
)
PPO = PPOConfig(
    hidden_dims=(128, 128),
    learning_rate=1e-3,
    decay_learning_rate=True,
    gamma=1.0,
    gae_lambda=0.97,
    num_minibatches=4,
    initial_log_std=-0.5,
    initial_action_mean=-0.5,
)
CANDIDATES = (0.8, 0.9, 1.0)
"""Shares of a run after which its weights are a candidate."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one planner is trained."""

    topology: str
    informed: bool
    updates: int
    num_envs: int = 512
    wide_share: float = 0.5
    seed: int = 0
    algorithm: str = "apg"

    @property
    def name(self) -> str:
        """Of its artifact."""
        sight = "informed" if self.informed else "blind"
        learner = "" if self.algorithm == "apg" else f"_{self.algorithm}"
        return f"network_{self.topology}_{sight}{learner}"


def make_world(recipe: Recipe) -> BatchedNetworkPlanner:
    """Build the copies that are trained in; their demand never repeats.

    Args:
        recipe: What is trained.
    """
    config = planner_config(recipe.topology, informed=recipe.informed)
    source = NetworkDemandSource(num_steps=STEPS, wide_share=recipe.wide_share)
    held = 8 * recipe.num_envs
    sizes = BankConfig(num_episodes=held, refresh_every_episodes=held)
    bank = ScenarioBank(source, sizes, derive_seed(recipe.seed, "training demand"))
    options = LockstepOptions(num_envs=recipe.num_envs)
    return BatchedNetworkPlanner(config, bank, options, recipe.seed)


def planner_config(topology: str, *, informed: bool) -> PlannerConfig:
    """Return a network of the package and what its planner knows.

    Args:
        topology: base or serial.
        informed: Whether the mean of coming demand is known.
    """
    network = NETWORKS[topology]().config.network
    return PlannerConfig(network=network, horizon=HORIZONS[topology] if informed else 0)


def train(recipe: Recipe) -> tuple[list[PolicyArtifact], dict[str, Any]]:
    """Train one planner.

    Args:
        recipe: How.

    Returns:
        The candidates, and the CPU seconds and profits along the way.
    """
    env = make_world(recipe)
    sizes = (env.observation_size, env.action_size)
    agent: APGAgent | PPOAgent
    if recipe.algorithm == "apg":
        agent = APGAgent("planner", *sizes, APG, seed=recipe.seed)
    else:
        agent = PPOAgent("planner", *sizes, PPO, discrete=False, seed=recipe.seed)
    learner = make_learner(env, agent, rollout_steps=STEPS, seed=recipe.seed)
    moments = {round(share * recipe.updates) for share in CANDIDATES}
    total, profits, found = recipe.updates * STEPS * recipe.num_envs, [], []
    begun = time.process_time()
    for update in range(1, recipe.updates + 1):
        summary, _ = learner.learn(total)
        profits.append(summary.metrics["profit"] * STEPS)
        if update in moments:
            found.append(export_network_planner(agent, draft_card(recipe), env.config))
    seconds = time.process_time() - begun
    return found, {
        "recipe": asdict(recipe),
        "cpu_seconds": round(seconds, 1),
        "env_steps": total,
        "profit_in_training": [
            round(float(np.mean(part)), 1) for part in np.array_split(profits, 10)
        ],
    }


def draft_card(recipe: Recipe) -> PolicyCard:
    """Return a card that says where a planner comes from, and not yet how good it is.

    Args:
        recipe: How it was trained.
    """
    nothing = Evaluation(scenarios="none yet", num_episodes=0, kpi=0.0, kpi_low=0.0, kpi_high=0.0)
    return PolicyCard(
        agent=recipe.name,
        run_id=f"{recipe.name}-{recipe.seed}",
        checkpoint_sha256="",
        commit=str(describe_machine()["commit"]),
        data=(
            f"{recipe.updates * recipe.num_envs:,} drawn episodes of 30 periods; a share of "
            f"{1 - recipe.wide_share:.0%} with gym-invmgmt's own demand law, the others with laws "
            "drawn wide; half wait, half remember"
        ),
        evaluation=nothing,
        baseline=Baseline(expert="rolling_program", parameters=(), kpi=0.0),
        validated_for=(),
        limits=(),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def score_candidates(
    recipe: Recipe, found: list[PolicyArtifact], seeds: tuple[int, ...] = DEVELOPMENT_SEEDS
) -> list[float]:
    """Return the mean profit of every candidate on development seeds, in the package.

    Args:
        recipe: How they were trained.
        found: The candidates.
        seeds: Of the package's generator.
    """
    scores = []
    for artifact in found:
        policy = PlannerPolicy(artifact)
        rows = play_all(
            lambda _: policy,  # noqa: B023 - called before the next round
            list_scenarios(recipe.topology),
            seeds,
            policy.config.horizon,
        )
        scores.append(float(np.mean([row["profit"] for row in rows])))
    return scores


def choose(recipe: Recipe) -> tuple[PolicyArtifact, dict[str, Any]]:
    """Train, score the candidates on development seeds, keep the best.

    Args:
        recipe: How.

    Returns:
        The artifact, and what was written down of the choice.
    """
    found, effort = train(recipe)
    scores = score_candidates(recipe, found)
    best = int(np.argmax(scores))
    return found[best], {
        **effort,
        "candidates": list(CANDIDATES),
        "development_profit": [round(score, 2) for score in scores],
        "chosen": CANDIDATES[best],
    }
