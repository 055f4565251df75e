"""Off-policy play: what the agent is shown, what counts, and going on after a save."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from rl.algorithms.dqn_agent import DQNAgent
from rl.algorithms.dqn_config import DQNConfig
from rl.algorithms.heads import ActionSample
from rl.algorithms.losses import DivergenceError
from rl.algorithms.policy_state import load_tensors, save_tensors
from rl.environments.adapter import GymnasiumAdapter
from rl.training.learners import make_learner
from rl.training.replay_learner import OffPolicyAgent, ReplayLearner
from tests.training.worlds import ConstantWorld, PointWorld


@dataclass(frozen=True)
class Config:
    train_frequency: int = 4


class Watcher:
    """Acts at random and keeps every step it was shown."""

    def __init__(self, world, *, discrete=False, train_frequency=4):
        self.config = Config(train_frequency)
        self.size = world.groups[0].action.size
        self.discrete = discrete
        self.generator = torch.Generator().manual_seed(5)
        self.steps, self.progress, self.calls = [], [], []

    def act(self, observation, action_mask, *, deterministic=False):
        self.calls.append("act")
        if self.discrete:
            rows = observation.shape[:-1]
            action = torch.randint(self.size, rows, generator=self.generator)
        else:
            shape = (*observation.shape[:-1], self.size)
            action = 0.5 * torch.rand(shape, generator=self.generator)
        return ActionSample(action, torch.zeros(observation.shape[:-1]))

    def observe(self, step):
        self.calls.append("observe")
        self.steps.append(step)

    def update(self, *, progress=0.0, measure=True):
        self.calls.append("update" if measure else "update unmeasured")
        self.progress.append(progress)
        return {"td_loss": torch.tensor(float(len(self.steps)))}


class Script:
    """Wraps a world and keeps every record it gave."""

    def __init__(self, world):
        self.world, self.records = world, []

    def __getattr__(self, name):
        return getattr(self.world, name)

    def reset(self, seed=None):
        self.records.append(self.world.reset(seed))
        return self.records[-1]

    def step(self, action):
        self.records.append(self.world.step(action))
        return self.records[-1]


def test_a_step_is_what_came_before_and_what_follows():
    script = Script(PointWorld())
    agent = Watcher(script.world)
    learner = ReplayLearner(script, agent, seed=1)
    for _ in range(30):
        learner.learn(1000)
    kinds = set()
    for before, after, step in zip(
        script.records[:-1], script.records[1:], agent.steps, strict=True
    ):
        assert torch.equal(step.observation, before.observation)
        assert torch.equal(step.action_mask, before.action_mask)
        assert torch.equal(step.alive, before.agent_alive)
        assert torch.equal(step.state, before.global_state)
        assert torch.equal(step.next_observation, after.observation)
        assert torch.equal(step.next_action_mask, after.action_mask)
        assert torch.equal(step.next_alive, after.agent_alive)
        assert torch.equal(step.next_state, after.global_state)
        assert torch.equal(step.final_observation, after.final_observation)
        assert torch.equal(step.reward, after.reward)
        assert torch.equal(step.terminated, after.terminated)
        assert torch.equal(step.truncated, after.truncated)
        ended = step.terminated | step.truncated
        replaced = (step.final_observation != step.next_observation).flatten(1).any(1)
        assert torch.equal(replaced, ended)
        kinds |= set(zip(step.terminated.tolist(), step.truncated.tolist(), strict=True))
    assert {(False, False), (True, False), (False, True)} <= kinds


def test_an_update_follows_every_train_frequency_steps():
    world = PointWorld()
    agent = Watcher(world, train_frequency=3)
    learner = ReplayLearner(world, agent, seed=0)
    summary, metrics = learner.learn(48)
    assert agent.calls == [*["act", "observe"] * 3, "update"]
    assert (summary.env_steps, learner.env_steps) == (12, 12)
    assert metrics["td_loss"] == 3
    for _ in range(4):
        learner.learn(48)
    assert agent.progress == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_a_call_covers_enough_steps_but_not_more_than_the_total():
    world = PointWorld()
    agent = Watcher(world, train_frequency=3)
    learner = ReplayLearner(world, agent, seed=0, min_env_steps=30)
    summary, metrics = learner.learn(60)
    one = ["act", "observe"] * 3
    assert agent.calls == [*one, "update unmeasured", *one, "update unmeasured", *one, "update"]
    assert (summary.env_steps, learner.env_steps, metrics["td_loss"]) == (36, 36, 9)
    assert learner.learn(60)[0].env_steps == 24
    assert agent.calls[-1] == "update"
    assert agent.progress == [0.2, 0.4, 0.6, 0.8, 1.0]


def test_a_call_of_several_updates_equals_as_many_calls():
    config = DQNConfig(learning_starts=20, batch_size=8, hidden_dims=(8,))
    agents = [DQNAgent("waiting", 1, 2, config, seed=3) for _ in range(2)]
    one, other = (
        ReplayLearner(ConstantWorld(ending="truncated"), agent, seed=1, min_env_steps=steps)
        for agent, steps in zip(agents, (1, 64), strict=True)
    )
    for _ in range(8):
        one.learn(128)
    for _ in range(2):
        metrics = other.learn(128)[1]
    assert metrics["td_loss"] > 0
    first, second = (agent.state_dict() for agent in agents)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert agents[0].env_steps == agents[1].env_steps == 128


def test_numbers_that_are_not_finite_stop_play():
    class Broken(PointWorld):
        def step(self, action):
            record = super().step(action)
            record.reward[1] = torch.inf
            return record

    world = Broken()
    learner = ReplayLearner(world, Watcher(world), seed=0)
    with pytest.raises(DivergenceError, match="reward"):
        learner.learn(100)


def test_what_the_environment_did_wrong_is_not_blamed_on_the_loss():
    """One bad reward, learnt from without measuring and forgotten when the loss is measured."""

    class Broken(ConstantWorld):
        steps = 0

        def step(self, action):
            record = super().step(action)
            self.steps += 1
            if self.steps == 1:
                record.reward.fill_(torch.nan)
            return record

    config = DQNConfig(
        learning_starts=1, train_frequency=1, batch_size=8, buffer_size=8, hidden_dims=(8,)
    )
    agent = DQNAgent("misled", 1, 2, config, seed=3)
    learner = ReplayLearner(Broken(ending="truncated"), agent, seed=1, min_env_steps=64)
    with pytest.raises(DivergenceError, match="reward is not finite"):
        learner.learn(128)


def test_episodes_are_counted_across_updates():
    world = ConstantWorld(ending="truncated")
    learner = ReplayLearner(world, Watcher(world, discrete=True, train_frequency=3), seed=0)
    summaries = [learner.learn(100)[0] for _ in range(5)]
    assert [summary.episodes for summary in summaries] == [0, 4, 0, 4, 4]
    assert [summary.mean_return for summary in summaries] == [None, 5.0, None, 5.0, 5.0]
    assert summaries[1].mean_length == 5.0
    assert summaries[0].metrics == {"load": 1.5}


def test_an_environment_may_reuse_its_tensors():
    class Reusing(PointWorld):
        def step(self, action):
            self.shown.fill_(-7.0)
            record = super().step(action)
            self.shown = record.observation
            return record

        def reset(self, seed=None):
            record = super().reset(seed)
            self.shown = record.observation
            return record

    world, plain = Reusing(), PointWorld()
    agents = Watcher(world), Watcher(plain)
    for each, agent in zip((world, plain), agents, strict=True):
        ReplayLearner(each, agent, seed=0).learn(100)
    for found, expected in zip(agents[0].steps, agents[1].steps, strict=True):
        assert torch.equal(found.observation, expected.observation)


def test_a_learner_goes_on_in_the_middle_of_an_episode():
    world, other = PointWorld(), PointWorld()
    agent, late_agent = Watcher(world, train_frequency=7), Watcher(other, train_frequency=7)
    learner = ReplayLearner(world, agent, seed=1)
    learner.learn(1000)
    saved = load_tensors(save_tensors(learner.state_dict()))
    late_agent.generator.set_state(agent.generator.get_state())
    late = ReplayLearner(other, late_agent, seed=99)
    other.load_state_dict(world.state_dict())
    late.load_state_dict(saved)
    for _ in range(3):
        assert late.learn(1000)[0] == learner.learn(1000)[0]
    assert late.env_steps == learner.env_steps == 112
    for found, expected in zip(late_agent.steps, agent.steps[7:], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_what_cannot_be_restored_begins_episodes_not_shown_before():
    environment = GymnasiumAdapter("CartPole-v1", 2, seed=0)
    agent = Watcher(environment, discrete=True)
    learner = ReplayLearner(environment, agent, seed=1)
    learner.learn(1000)
    fresh = GymnasiumAdapter("CartPole-v1", 2, seed=0)
    late_agent = Watcher(fresh, discrete=True)
    late = ReplayLearner(fresh, late_agent, seed=1)
    late.load_state_dict(learner.state_dict())
    late.learn(1000)
    assert late.env_steps == 16
    first, resumed = agent.steps[0].observation, late_agent.steps[0].observation
    assert not torch.equal(first, resumed)


def test_new_episodes_begin_without_the_memory_of_those_that_were_saved():
    class Remembering(Watcher):
        def begin_episodes(self, ended, *, deterministic=False):
            self.calls.append(("begin", ended.tolist(), deterministic))

    saved, agents = {}, []
    for _ in range(2):
        environment = GymnasiumAdapter("CartPole-v1", 2, seed=0)
        agents.append(Remembering(environment, discrete=True))
        learner = ReplayLearner(environment, agents[-1], seed=1)
        if saved:
            learner.load_state_dict(saved)
        saved = learner.state_dict()
    assert [agent.calls for agent in agents] == [[], [("begin", [True, True], False)]]


def test_agents_that_observe_learn_from_a_replay():
    world = PointWorld()
    agent = Watcher(world)
    assert isinstance(agent, OffPolicyAgent)
    assert isinstance(make_learner(world, agent, rollout_steps=64, seed=0), ReplayLearner)
