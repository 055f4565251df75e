"""A world of your own (`water_tank.py`), checked, made a problem and trained in.

The examiner plays it at random and names any rule that it breaks; the pipeline then trains an agent
in it, and one sees that the agent rations water better than the rule that gives what is asked.
"""

from __future__ import annotations

from tempfile import TemporaryDirectory

import anyio
import numpy as np
import torch
from torch import Tensor

from data.demand import PoissonDemand
from data.scenario import BankConfig, FixedSource, ScenarioArrays, ScenarioBank
from examples.water_tank import DAYS, NEED, WaterTank
from rl.environments.base_environment import BatchedEnvironment, StepRecord
from rl.environments.conformance import check_environment
from rl.evaluation.contest import Contest, ScenarioSet
from rl.training.problem import ExpertRule, Problem
from rl.training.training_config import TrainingConfig
from rl.training.training_pipeline import RLTrainingPipeline
from utils.seeding import make_generator

VILLAGE = PoissonDemand(mean=NEED, max_steps=DAYS)


def judge_in(given: ScenarioArrays) -> WaterTank:
    """Build one copy for each of the given episodes."""
    size = BankConfig(num_episodes=given.num_episodes)
    world = WaterTank(ScenarioBank(VILLAGE, size, 0), given.num_episodes, 0)
    world.use_bank(ScenarioBank(FixedSource(given), size, 0), seed=0, in_order=True)
    return world


def episodes(name: str) -> ScenarioSet:
    """Draw 200 episodes, the same ones in every run."""
    drawn = VILLAGE.draw(200, make_generator(1, name))
    return ScenarioSet(name=name, about=f"{name} days", scenarios=drawn, blocks=np.arange(200))


def give_all(_: BatchedEnvironment, record: StepRecord) -> Tensor:
    """Give what is asked: the rule to beat."""
    return torch.ones_like(record.action_mask, dtype=torch.float32)


PROBLEM = Problem(
    name="water_tank",
    title="A tank: who rations best?",
    agent="tank_keeper",
    training=VILLAGE,
    training_data="Poisson demand",
    learn_in=WaterTank,
    contest=Contest(make_environment=judge_in, num_steps=DAYS),
    validation=episodes("validation"),
    held_out=episodes("held_out"),
    settings={},
    experts={"give_all": ExpertRule(tune=tuple, player=lambda _: give_all)},
)


def main() -> None:
    """Check, train, compare."""
    check_environment(lambda: WaterTank(ScenarioBank(VILLAGE, BankConfig(), 0), 4, 0))
    print("the examiner finds nothing")
    config = TrainingConfig(environment="custom", algorithm="apg", total_episodes=1_600)
    with TemporaryDirectory() as folder:
        results = anyio.run(RLTrainingPipeline(config, PROBLEM, output_dir=folder).train)
    for row in results["evaluation"]:
        kpi = row["kpi"]
        print(f"{row['name']:9} {kpi['mean']:7.2f}   [{kpi['low']:.2f}, {kpi['high']:.2f}]")


if __name__ == "__main__":
    main()
