"""Analytic policy gradients on a world whose best policy is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from rl.algorithms.apg_agent import APGAgent
from rl.algorithms.apg_config import APGConfig
from rl.algorithms.losses import DivergenceError
from rl.environments.base_environment import ActionSpec, AgentGroup, StepRecord
from rl.training.learners import EpisodeLearner, make_learner
from utils.errors import ConfigError


class Target:
    """The best action equals the observation; every miss costs its square."""

    is_differentiable = True
    num_envs, num_agents, agent_ids = 16, 1, ("only",)
    observation_size, state_size, num_costs = 2, 2, 0
    device = torch.device("cpu")
    max_steps = 4

    def __init__(self):
        spec = ActionSpec(kind="continuous", size=2)
        self.groups = (AgentGroup(name="only", members=(0,), observation_size=2, action=spec),)
        self.generator = torch.Generator()

    def reset(self, seed=None):
        if seed is not None:
            self.generator.manual_seed(seed)
        self.t = 0
        self.goal = torch.rand((self.num_envs, 1, 2), generator=self.generator)
        zeros = torch.zeros(self.num_envs, 1)
        return self.record(zeros, ended=False)

    def step(self, action):
        reward = -(action - self.goal).square().sum(-1)
        self.t += 1
        ended = self.t == self.max_steps
        self.goal = torch.rand((self.num_envs, 1, 2), generator=self.generator)
        self.t = 0 if ended else self.t
        return self.record(reward, ended=ended)

    def record(self, reward, *, ended):
        never = torch.zeros(self.num_envs, dtype=torch.bool)
        return StepRecord(
            observation=self.goal,
            action_mask=torch.ones((self.num_envs, 1, 2), dtype=torch.bool),
            agent_alive=torch.ones((self.num_envs, 1), dtype=torch.bool),
            reward=reward,
            cost=torch.zeros(self.num_envs, 1, 0),
            terminated=never,
            truncated=never | ended,
            final_observation=self.goal,
            global_state=self.goal[:, 0],
            final_global_state=self.goal[:, 0],
            metrics={"miss": -reward[:, 0]},
        )

    def state_dict(self):
        return {"goal": self.goal.clone(), "generator": self.generator.get_state()}

    def load_state_dict(self, state):
        self.goal = state["goal"].clone()
        self.generator.set_state(state["generator"])
        self.t = 0


def make(seed=0, **settings):
    environment = Target()
    agent = APGAgent("a", 2, 2, APGConfig(hidden_dims=(16,), **settings), seed=seed)
    return environment, agent, EpisodeLearner(environment, agent, seed=3)


def train(learner, updates, total=64 * 4 * 16):
    for _ in range(updates):
        summary, learning = learner.learn(total)
    return summary, learning


def test_it_finds_the_known_best_action():
    environment, agent, learner = make(learning_rate=1e-2, warmup_updates=5)
    first, _ = train(learner, 1, total=300 * 64)
    last, learning = train(learner, 299, total=300 * 64)
    assert first.mean_return < -0.3
    assert last.mean_return > -0.02
    observation = environment.reset(9).observation
    chosen = agent.act(observation, None, deterministic=True).action
    assert torch.allclose(chosen, observation, atol=0.15)
    assert learning["learning_rate"] < 1e-3
    assert learner.env_steps == 300 * 4 * 16


def test_a_saved_learner_continues_bit_for_bit():
    _, straight, learner = make()
    train(learner, 8)
    environment, agent, learner = make()
    train(learner, 3)
    saved = (environment.state_dict(), agent.state_dict(), learner.state_dict())
    environment, other, learner = make(seed=5)
    environment.load_state_dict(saved[0])
    other.load_state_dict(saved[1])
    learner.load_state_dict(saved[2])
    train(learner, 5)
    for name, tensor in straight.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


@pytest.mark.parametrize("lost", ["optimizer", "policy.", "updates"])
def test_continuing_without_a_part_of_the_state_is_noticed(lost):
    _, straight, learner = make()
    train(learner, 8)
    _, agent, learner = make()
    train(learner, 3)
    state = agent.state_dict()
    fresh = APGAgent("a", 2, 2, agent.config, seed=0).state_dict()
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(lost)}
    broken = {**fresh, **kept}
    agent.load_state_dict(broken)
    train(learner, 5)
    same = [torch.equal(t, agent.state_dict()[n]) for n, t in straight.state_dict().items()]
    assert not all(same)


def test_the_exported_policy_is_the_one_that_acts():
    _, agent, learner = make()
    train(learner, 20)
    layers = agent.export_layers()
    observation = torch.rand(5, 1, 2)
    x = np.clip((observation[:, 0].numpy() - layers.mean) / layers.std, -layers.clip, layers.clip)
    for weight, bias in layers.layers[:-1]:
        x = np.tanh(x @ weight + bias)
    x = x @ layers.layers[-1][0] + layers.layers[-1][1]
    acted = agent.act(observation, None, deterministic=True).action[:, 0]
    np.testing.assert_allclose(x, acted.numpy(), atol=1e-5)


def test_masked_dimensions_are_zero():
    _, agent, _ = make()
    mask = torch.tensor([[[True, False]]])
    action = agent.act(torch.rand(1, 1, 2), mask).action
    assert action[0, 0, 1] == 0.0
    assert action[0, 0, 0] != 0.0


def test_a_world_without_slope_is_refused():
    environment = Target()
    environment.is_differentiable = False
    agent = APGAgent("a", 2, 2, APGConfig(), seed=0)
    with pytest.raises(ConfigError, match="differentiable"):
        make_learner(environment, agent, rollout_steps=4, seed=0)


def test_divergence_is_said_and_changes_nothing():
    _, agent, _ = make()
    before = agent.state_dict()
    bad = torch.tensor([float("nan"), 1.0], requires_grad=True)
    with pytest.raises(DivergenceError, match="return"):
        agent.update(bad, torch.zeros(()), torch.rand(4, 2), progress=0.0)
    for name, tensor in before.items():
        assert torch.equal(tensor, agent.state_dict()[name])


@pytest.mark.parametrize(
    "change",
    [{"learning_rate": 0.0}, {"averaging": 1.0}, {"warmup_updates": 0}, {"range_penalty": -1.0}],
)
def test_impossible_settings_are_refused(change):
    with pytest.raises(ConfigError):
        replace(APGConfig(), **change)
