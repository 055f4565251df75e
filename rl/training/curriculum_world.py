"""The stages of a curriculum with their scenarios, in one world, and what a score of 0 and 1 is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.scenario import ScenarioArrays, ScenarioBank, ScenarioSource
from rl.environments.base_environment import StepRecord
from rl.environments.lockstep import LockstepEnvironment
from rl.evaluation.contest import Contest, ScenarioSet
from rl.evaluation.players import Player, random_player
from rl.training.curriculum_stage import CurriculumStage
from utils.errors import ConfigError
from utils.seeding import make_generator

FIXED_SEED = 20_261_128
"""The fixed episodes of every stage are the same for every run; none of them is trained on."""
NUM_EPISODES = 64
Figures = Callable[[Mapping[str, float]], Mapping[str, float]]
"""From the environment's own figures, means over steps, to those that stages are judged by."""


def keep_figures(metrics: Mapping[str, float]) -> Mapping[str, float]:
    """Judge by the environment's figures as they are.

    Args:
        metrics: By name.
    """
    return metrics


@dataclass(frozen=True, kw_only=True)
class ScoreScale:
    """Mean returns of chance and of the expert on the fixed episodes of a stage."""

    random: float
    expert: float
    expert_name: str

    def __post_init__(self) -> None:
        """Refuse a scale without a length.

        Raises:
            ConfigError: The expert is no better than chance.
        """
        if not self.expert > self.random:
            raise ConfigError(
                f"{self.expert_name} has a return of {self.expert:.4g} and chance one of "
                f"{self.random:.4g}: give the stage a better expert, or there is nothing to score"
            )

    def score(self, mean_return: float) -> float:
        """Return how far a return has come on the way from chance, 0, to the expert, 1.

        Args:
            mean_return: Of episodes of the stage.
        """
        return (mean_return - self.random) / (self.expert - self.random)


@dataclass(frozen=True, kw_only=True)
class ProblemStage:
    """A stage that can be played."""

    stage: CurriculumStage
    source: ScenarioSource[ScenarioArrays]
    """What is trained on there; arrays of the same shapes in all stages."""
    episodes: ScenarioSet
    """Fixed, for judging; never trained on."""
    scale: ScoreScale
    figures: Figures = keep_figures


@dataclass(frozen=True, kw_only=True)
class CurriculumWorld:
    """One world, large enough for the largest stage, and the stages."""

    name: str
    stages: tuple[ProblemStage, ...]
    learn_in: Callable[[ScenarioBank[Any], int, int], LockstepEnvironment[Any]]
    """From a bank, a number of copies and a seed to the world that is trained in."""
    contest: Contest
    """The same world as a judge sees it; the KPI is the return that is trained for."""
    notes: tuple[str, ...] = ()
    """What a stage's parameter means here where it is not obvious; a sentence each."""


def count_return(record: StepRecord) -> Mapping[str, Any]:
    """Count what training counts: the reward of all agents together.

    Args:
        record: Of one step.
    """
    return {"kpi": record.reward.sum(-1)}


def draw_fixed(source: ScenarioSource[ScenarioArrays], name: str, about: str) -> ScenarioSet:
    """Draw the fixed episodes of a stage.

    Args:
        source: Of the stage.
        name: Of the set; also what its chance is for.
        about: What they are, for people.
    """
    return ScenarioSet(
        name=name,
        about=about,
        scenarios=source.draw(NUM_EPISODES, make_generator(FIXED_SEED, f"curriculum/{name}")),
        blocks=np.arange(NUM_EPISODES),
    )


def measure_scale(
    contest: Contest,
    episodes: ScenarioSet,
    experts: Mapping[str, Player],
    experts_contest: Contest | None = None,
) -> ScoreScale:
    """Play chance and the experts once, and let the best expert be 1.

    Args:
        contest: As a policy plays; its KPI is the return.
        episodes: Fixed ones of a stage.
        experts: By name, at least one.
        experts_contest: The same world where the experts' actions mean something else.

    Raises:
        ConfigError: No expert is better than chance.
    """
    chance = contest.play(random_player(FIXED_SEED), episodes).kpi.mean()
    judge = experts_contest or contest
    means = {name: judge.play(player, episodes).kpi.mean() for name, player in experts.items()}
    best = max(means, key=lambda name: means[name])
    return ScoreScale(random=float(chance), expert=float(means[best]), expert_name=best)


def make_stages(
    stages: tuple[CurriculumStage, ...],
    sources: Callable[[CurriculumStage], ScenarioSource[ScenarioArrays]],
    *,
    contest: Contest,
    experts: Mapping[str, Player],
    experts_contest: Contest | None = None,
    figures: Figures = keep_figures,
) -> tuple[ProblemStage, ...]:
    """Give every stage its scenarios and its scale.

    Args:
        stages: As data.
        sources: From a stage to what is played there.
        contest: As a policy plays; its KPI is the return.
        experts: By name; the best one of each stage is its 1.
        experts_contest: The same world where the experts' actions mean something else.
        figures: What the stages are judged by, beside the score.
    """
    made = []
    for stage in stages:
        source = sources(stage)
        episodes = draw_fixed(source, stage.name, f"fixed episodes of the stage {stage.name}")
        made.append(
            ProblemStage(
                stage=stage,
                source=source,
                episodes=episodes,
                scale=measure_scale(contest, episodes, experts, experts_contest),
                figures=figures,
            )
        )
    return tuple(made)
