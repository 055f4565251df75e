"""A training loop by hand that follows a curriculum, is saved, and goes on bit for bit."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from rl.algorithms.apg_agent import APGConfig
from rl.algorithms.policy_state import load_tensors, save_tensors, under_prefix, with_prefix
from rl.algorithms.ppo_config import PPOConfig
from rl.algorithms.sac_agent import SACConfig
from rl.algorithms.td3_agent import TD3Config
from rl.training.agents import make_agent
from rl.training.curriculum import (
    AdaptiveCurriculumScheduler,
    Criterion,
    CurriculumManager,
    CurriculumStateError,
    Place,
)
from rl.training.curriculum_driver import CurriculumDriver
from rl.training.curriculum_world import ScoreScale
from rl.training.learners import make_learner
from rl.training.replay_learner import ReplayLearner
from rl.training.rollout import RolloutSummary
from tests.training.curriculum_worlds import (
    BANK,
    COPIES,
    EASY,
    IMPOSSIBLE,
    STEPS,
    make_driver,
    make_problem_stages,
    make_target_world,
)
from tests.training.test_replay_learner import Watcher
from utils.errors import ConfigError

UPDATES = 21
SMALL = {"hidden_dims": (8,), "learning_rate": 1e-2}
REPLAY = {**SMALL, "buffer_size": 200, "batch_size": 8, "learning_starts": 16}
CONFIGS = {
    "ppo": PPOConfig(**SMALL, scale_rewards=True, num_minibatches=2),
    "recurrent_ppo": PPOConfig(**SMALL, memory_size=4, num_minibatches=2),
    "sac": SACConfig(**REPLAY, train_frequency=6),
    "td3": TD3Config(**REPLAY, train_frequency=6, noise_correlation=0.5),
    "apg": APGConfig(**SMALL),
}


class Loop:
    """What a trainer does with a driver."""

    def __init__(self, name, stages, scheduler=None):
        self.driver = make_driver(stages, scheduler=scheduler)
        self.world = make_target_world()
        self.driver.begin(self.world)
        self.agent = make_agent(CONFIGS[name], self.world, seed=3)
        # Six steps of episodes of five: stages change in the middle of episodes.
        self.learner = make_learner(self.world, self.agent, rollout_steps=6, seed=4)
        self.entered = []

    def train(self, updates):
        for _ in range(updates):
            summary, _ = self.learner.learn(10_000)
            self.entered.append(
                self.driver.after_update(self.world, summary, self.learner.env_steps)
            )
            record = self.driver.take_record()
            if record is not None:
                self.learner.take_record(record)

    def tensors(self):
        return {
            **with_prefix("environment", self.world.state_dict()),
            **with_prefix("agent", self.agent.state_dict()),
            **with_prefix("learner", self.learner.state_dict()),
        }

    def save(self):
        return save_tensors(self.tensors()), json.dumps(self.driver.state())

    def restore(self, saved):
        tensors, fields = load_tensors(saved[0]), json.loads(saved[1])
        self.driver.restore(self.world, fields)
        self.world.load_state_dict(under_prefix("environment", tensors))
        self.agent.load_state_dict(under_prefix("agent", tensors))
        self.learner.load_state_dict(under_prefix("learner", tensors))


def test_the_loop_climbs_and_falls_as_the_scores_say():
    loop = Loop("ppo", make_problem_stages(EASY, EASY, IMPOSSIBLE, min_episodes=60))
    loop.train(70)
    entered = [name for name in loop.entered if name is not None]
    assert entered[:4] == ["stage_1", "stage_2", "stage_1", "stage_2"]
    timeline = loop.driver.report().timeline
    assert [entry.stage for entry in timeline] == ["stage_0", *entered]
    assert timeline[0].env_steps == 0
    waits = np.diff([entry.env_steps for entry in timeline])
    assert waits[3] > waits[0]
    figures, numbers = loop.driver.figures(90_000), [int(one.stage[-1]) for one in timeline]
    assert figures["curriculum/stage"] == numbers[-1] + 1
    assert figures["curriculum/stages"] == 3
    assert figures["curriculum/promotions"] == (np.diff(numbers) > 0).sum()
    assert figures["curriculum/regressions"] == (np.diff(numbers) < 0).sum() > 0
    assert figures["curriculum/stage_env_steps"] == 90_000 - timeline[-1].env_steps


def test_the_scenarios_are_those_of_the_stage():
    loop = Loop("ppo", make_problem_stages(EASY, EASY))
    seen = []
    for _ in range(20):
        loop.train(1)
        target = float(loop.world.rows["target"].mean())
        seen.append((loop.driver.manager.place.stage, round(target, 1)))
    assert {place for place, _ in seen} == {0, 1}
    assert all(target == round(0.3 + 0.2 * stage, 1) for stage, target in seen)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_learner_begins_with_the_first_record_of_the_new_stage(name):
    """What it holds is what the world shows, and no return mixes two stages."""
    loop = Loop(name, make_problem_stages(EASY, EASY, min_episodes=1, stability_window=1))
    for _ in range(30):
        loop.train(1)
        if loop.entered[-1] is not None:
            break
    assert loop.entered[-1] == "stage_1"
    assert loop.world.t == 0
    held = loop.learner.state_dict()
    assert torch.equal(held["observation"], loop.world._look().observation)
    assert not held.get("episode_sums", torch.zeros(1)).any()
    summary, _ = loop.learner.learn(10_000)
    assert summary.mean_length in (None, STEPS)


class Rememberer(Watcher):
    """Keeps what it was told of episodes."""

    def __init__(self, world):
        super().__init__(world, train_frequency=3)
        self.begun = []

    def begin_episodes(self, ended, *, deterministic=False):
        self.begun.append(ended)


def test_an_agent_with_a_replay_is_shown_the_break():
    """The next step begins with other observations, which the ring takes for a truncation."""
    world = make_target_world()
    agent = Rememberer(world)
    learner = ReplayLearner(world, agent, seed=1)
    learner.learn(1000)
    record = world.use_bank(make_driver(make_problem_stages(EASY)).make_bank(), seed=2)
    learner.take_record(record)
    assert agent.begun[-1].all()
    summary, _ = learner.learn(1000)
    assert not torch.equal(agent.steps[2].next_observation, agent.steps[3].observation)
    assert torch.equal(agent.steps[3].observation, record.observation)
    assert summary.episodes == 0
    assert learner.learn(1000)[0].mean_length == STEPS


ADAPTIVE = AdaptiveCurriculumScheduler(adaptation_rate=0.5)


@pytest.mark.parametrize(
    ("name", "scheduler"), [*((name, None) for name in CONFIGS), ("ppo", ADAPTIVE)]
)
def test_resuming_changes_nothing(name, scheduler):
    """k + m updates are k, save, load, m: before, at and after changes of the stage."""
    stages = make_problem_stages(EASY, EASY, IMPOSSIBLE)
    whole = Loop(name, stages, scheduler)
    saved, moves = [], []
    for number in range(UPDATES):
        saved.append(whole.save())
        before = whole.driver.manager.place
        whole.train(1)
        if whole.driver.manager.place != before:
            moves.append(number)
    assert len(moves) >= 2
    for cut in (moves[0], moves[0] + 1, moves[1] + 1):
        half = Loop(name, stages, scheduler)
        half.restore(saved[cut])
        half.train(UPDATES - cut)
        assert half.entered == whole.entered[cut:]
        ours, theirs = whole.tensors(), half.tensors()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
        assert half.driver.state() == whole.driver.state()
        assert half.driver.report() == whole.driver.report()


def finished(mean_return, episodes=COPIES, **metrics):
    return RolloutSummary(
        env_steps=24, episodes=episodes, mean_return=mean_return, mean_length=4.0, metrics=metrics
    )


def test_nothing_finished_is_no_score():
    driver, world = make_driver(make_problem_stages(EASY, EASY)), make_target_world()
    driver.begin(world)
    nothing = replace(finished(0.0), mean_return=None, episodes=0)
    assert driver.after_update(world, nothing, 24) is None
    assert driver.manager.get_progress_info().total_episodes == 0


def test_mixed_scenarios_and_their_scale():
    scheduler = AdaptiveCurriculumScheduler(adaptation_rate=0.25)
    driver = make_driver(make_problem_stages((0.0, 10.0), (-100.0, 50.0)), scheduler=scheduler)
    world = make_target_world()
    driver.begin(world)
    assert driver.score(10.0) == 1.0
    while driver.manager.place == Place(stage=0):
        assert driver.after_update(world, finished(10.0), 24) is None
    assert driver.manager.place == Place(stage=0, difficulty=0.25)
    # Chance 0.75 * 0 + 0.25 * -100, expert 0.75 * 10 + 0.25 * 50.
    assert driver.score(-25.0) == 0.0
    assert driver.score(20.0) == 1.0
    centres = world.bank.scenarios.target.mean(1).round(1)
    assert sorted(centres.tolist()).count(0.5) == 4
    assert driver.take_record() is not None
    assert driver.take_record() is None


def test_a_criterion_is_judged_by_the_figures_of_the_world():
    criterion = Criterion(figure="double_miss", at_most=0.5)
    stages = tuple(
        replace(one, figures=lambda metrics: {"double_miss": 2 * metrics["miss"]})
        for one in make_problem_stages(EASY, EASY, success_criteria=(criterion,))
    )
    driver, world = make_driver(stages), make_target_world()
    driver.begin(world)
    assert not any(driver.after_update(world, finished(0.0, miss=0.3), 24) for _ in range(40))
    assert any(driver.after_update(world, finished(0.0, miss=0.2), 24) for _ in range(20))


def test_scores_that_are_not_finite_are_refused():
    driver, world = make_driver(make_problem_stages(EASY)), make_target_world()
    driver.begin(world)
    before = driver.state()
    with pytest.raises(ConfigError, match="must be finite"):
        driver.after_update(world, finished(math.nan), 24)
    assert driver.state() == before


def test_stages_without_scenarios_are_refused():
    stages = make_problem_stages(EASY, EASY)
    manager = CurriculumManager((stages[0].stage,))
    with pytest.raises(ConfigError, match="stage_0, stage_1"):
        CurriculumDriver(manager, stages, bank=BANK, seed=0)


def test_a_scale_needs_an_expert_above_chance():
    with pytest.raises(ConfigError, match="give the stage a better expert"):
        ScoreScale(random=1.0, expert=1.0, expert_name="marksman")
    with pytest.raises(ConfigError, match="give the stage a better expert"):
        ScoreScale(random=0.0, expert=math.nan, expert_name="marksman")


@pytest.mark.parametrize(
    "alter",
    [
        lambda state: {},
        lambda state: {"manager": state["manager"]},
        lambda state: state | {"driver": []},
        lambda state: state | {"driver": {"entries": []}},
        lambda state: state | {"driver": {"entries": state["driver"]["entries"][:-1]}},
        lambda state: state | {"driver": {"entries": [{"stage": "stage_0"}]}},
        lambda state: state | {"manager": state["manager"] | {"fingerprint": "other"}},
    ],
)
def test_damaged_states_are_refused_and_lose_nothing(alter):
    loop = Loop("ppo", make_problem_stages(EASY, EASY))
    loop.train(16)
    before, record = loop.driver.state(), loop.world.state_dict()
    with pytest.raises(CurriculumStateError):
        loop.driver.restore(loop.world, alter(before))
    assert loop.driver.state() == before
    assert all(torch.equal(value, record[name]) for name, value in loop.world.state_dict().items())
