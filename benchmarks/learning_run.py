"""One training run of ours: evaluated now and then, its clocks stopped meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from benchmarks.stored_runs import Row
from rl.algorithms.base_algorithm import Policy
from rl.environments.base_environment import BatchedEnvironment
from rl.training.recorder import EvaluationRecord, NullRecorder, StopReason
from rl.training.trainer import Trainer, TrainerConfig
from utils.seeding import derive_seed

MakeEnvironment = Callable[[int, int], BatchedEnvironment]
"""Of so many copies, with a seed."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one of our agents is trained."""

    copies: int
    steps_per_update: int
    """Of each copy: the block of an agent that learns from blocks, else its train_frequency."""
    make_agent: Callable[[BatchedEnvironment, int], Policy]
    """For an environment, from a seed."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """How much is trained, and how a policy is scored."""

    env_steps: int
    every: int
    """Transitions between two evaluations."""
    episodes: int
    """Of each evaluation."""
    final_episodes: int = 0
    """Of the last and of the best policy, other than those that chose the best; 0 for none."""
    until: float | None = None
    """Training ends once an evaluation reaches this mean."""


def play_episodes(make: MakeEnvironment, agent: Policy, *, episodes: int, seed: int) -> list[float]:
    """Return the return of the first episode of each of so many fresh copies.

    The reward of a step is the mean over agents, and is not discounted.

    Args:
        make: Makes the environment.
        agent: Acts deterministically.
        episodes: How many.
        seed: Of the episodes.
    """
    environment = make(episodes, seed)
    record = environment.reset(seed)
    total = torch.zeros(episodes, dtype=torch.float64)
    running = torch.ones(episodes, dtype=torch.bool)
    while running.any():
        action = agent.act(record.observation, record.action_mask, deterministic=True).action
        record = environment.step(action)
        total += record.reward.mean(-1) * running
        running &= ~(record.terminated | record.truncated)
    getattr(environment, "close", lambda: None)()
    returns: list[float] = total.tolist()
    return returns


@dataclass
class _Scores(NullRecorder):
    """Scores policies, keeps the curve, and says when the wanted score is reached."""

    make: MakeEnvironment
    measure: Measure
    seed: int
    curve: list[tuple[int, float, float]] = field(default_factory=list)
    score: float = float("-inf")
    paused_wall: float = 0.0
    paused_cpu: float = 0.0

    def __post_init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def seconds(self) -> tuple[float, float]:
        """Return wall and CPU seconds of training so far, without the evaluations."""
        return (
            time.perf_counter() - self.wall - self.paused_wall,
            time.process_time() - self.cpu - self.paused_cpu,
        )

    def evaluate(self, agent: Policy) -> Mapping[str, float]:
        """Play some episodes that no other evaluation plays.

        Args:
            agent: As it is now.
        """
        wall, cpu = self.seconds()
        seed = derive_seed(self.seed, "evaluation", len(self.curve))
        returns = play_episodes(self.make, agent, episodes=self.measure.episodes, seed=seed)
        self.score = sum(returns) / len(returns)
        now_wall, now_cpu = self.seconds()
        self.paused_wall += now_wall - wall
        self.paused_cpu += now_cpu - cpu
        return {"return": self.score}

    def evaluated(self, evaluation: EvaluationRecord) -> None:
        """Keep the score.

        Args:
            evaluation: What was measured.
        """
        self.curve.append((evaluation.env_steps, self.score, round(self.seconds()[1], 3)))

    def should_stop(self) -> StopReason | None:
        """Ask to stop once the wanted score is reached."""
        until = self.measure.until
        return StopReason.CANCEL if until is not None and self.score >= until else None


def train_and_score(make: MakeEnvironment, recipe: Recipe, measure: Measure, *, seed: int) -> Row:
    """Train one agent; score its last policy and the one that its evaluations found best.

    Args:
        make: Makes the environment.
        recipe: How it is trained.
        measure: How much, and how it is scored.
        seed: Of everything.
    """
    environment = make(recipe.copies, seed)
    agent = recipe.make_agent(environment, seed)
    scores = _Scores(make=make, measure=measure, seed=seed)
    config = TrainerConfig(
        total_env_steps=measure.env_steps,
        rollout_steps=recipe.steps_per_update,
        evaluate_every_updates=max(
            1, round(measure.every / recipe.copies / recipe.steps_per_update)
        ),
        score="return",
        seed=seed,
    )
    outcome = Trainer(config, environment, agent, scores, evaluate=scores.evaluate).train()
    wall, cpu = scores.seconds()
    found: Row = {
        "version": f"torch {torch.__version__}",
        "env_steps": outcome.env_steps,
        "wall_seconds": round(wall, 2),
        "cpu_seconds": round(cpu, 2),
        "threads": torch.get_num_threads(),
        "curve": scores.curve,
    }
    if measure.final_episodes and outcome.best_policy is not None:
        final = derive_seed(seed, "final evaluation")
        count = measure.final_episodes
        found["final_returns"] = play_episodes(make, agent, episodes=count, seed=final)
        agent.load_policy_state(outcome.best_policy)
        found["best_returns"] = play_episodes(make, agent, episodes=count, seed=final)
    return found
