"""SAC and TD3 steer a point to rest, whose best return is known."""

from __future__ import annotations

import pytest
import torch

from rl.algorithms.sac_agent import SACAgent
from rl.algorithms.sac_config import SACConfig
from rl.algorithms.td3_agent import TD3Agent
from rl.algorithms.td3_config import TD3Config
from rl.environments.base_environment import ActionSpec, AgentGroup, StepRecord
from rl.training.learners import make_learner

BEST, DOING_NOTHING = -1.0 / 6.0, -5.0 * 4.0 / 3.0
SETTINGS = {"hidden_dims": (32, 32), "learning_rate": 3e-3, "tau": 0.05, "gamma": 0.9}


class Point:
    """x moves by the action, which is at most 1; every step costs x squared, five steps each.

    From x uniform in [-2, 2] the best is to go to 0 at once, which from beyond 1 takes two steps
    and costs (|x| - 1)^2: 1 / 6 in the mean. Episodes are cut, never over: the critic must look
    beyond their end.
    """

    num_envs, num_agents, agent_ids = 16, 1, ("only",)
    observation_size, state_size, num_costs = 1, 1, 0
    device = torch.device("cpu")

    def __init__(self):
        spec = ActionSpec(kind="continuous", size=1, low=-1.0, high=1.0)
        self.groups = (AgentGroup(name="only", members=(0,), observation_size=1, action=spec),)
        self.generator = torch.Generator()

    def reset(self, seed=None):
        if seed is not None:
            self.generator.manual_seed(seed)
        self.t, self.x = 0, self.draw()
        return self.record(torch.zeros(self.num_envs, 1), self.x, ended=False)

    def draw(self):
        return 4.0 * torch.rand(self.num_envs, 1, 1, generator=self.generator) - 2.0

    def step(self, action):
        self.x = self.x + action
        self.t += 1
        reward, final, ended = -self.x[..., 0].square(), self.x, self.t == 5
        if ended:
            self.t, self.x = 0, self.draw()
        return self.record(reward, final, ended=ended)

    def record(self, reward, final, *, ended):
        never = torch.zeros(self.num_envs, dtype=torch.bool)
        return StepRecord(
            observation=self.x,
            action_mask=torch.ones(self.num_envs, 1, 1, dtype=torch.bool),
            agent_alive=torch.ones(self.num_envs, 1, dtype=torch.bool),
            reward=reward,
            cost=torch.zeros(self.num_envs, 1, 0),
            terminated=never,
            truncated=never | ended,
            final_observation=final,
            global_state=self.x[:, 0],
            final_global_state=final[:, 0],
            metrics={},
        )

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        assert not state


def mean_return(agent):
    """Mean over 1,000 episodes from evenly spaced starts, without noise."""
    world = Point()
    world.num_envs = 1000
    record = world.reset(0)
    world.x = torch.linspace(-2.0, 2.0, 1000).view(-1, 1, 1)
    record = world.record(record.reward, world.x, ended=False)
    total = torch.zeros(1000, 1)
    for _ in range(5):
        action = agent.act(record.observation, record.action_mask, deterministic=True).action
        record = world.step(action)
        total += record.reward
    return total.mean().item()


def trained(kind, seed):
    if kind == "sac":
        agent = SACAgent("a", 1, 1, SACConfig(batch_size=64, **SETTINGS), seed=seed)
    else:
        agent = TD3Agent("a", 1, 1, TD3Config(batch_size=64, **SETTINGS), seed=seed)
    learner = make_learner(Point(), agent, rollout_steps=1, seed=seed)
    while learner.env_steps < 16 * 900:
        learner.learn(16 * 900)
    return mean_return(agent)


def test_what_is_known_of_the_problem():
    class Best:
        def act(self, observation, mask, *, deterministic):
            return type("Sample", (), {"action": (-observation).clamp(-1.0, 1.0)})

    class Idle:
        def act(self, observation, mask, *, deterministic):
            return type("Sample", (), {"action": torch.zeros_like(observation)})

    assert mean_return(Best()) == pytest.approx(BEST, abs=1e-3)
    assert mean_return(Idle()) == pytest.approx(DOING_NOTHING, abs=0.02)


@pytest.mark.learning
@pytest.mark.parametrize("kind", ["sac", "td3"])
def test_it_comes_close_to_the_best(kind):
    assert mean_return_is_close(trained(kind, seed=0))


def mean_return_is_close(score):
    return score > BEST - 0.1
