"""The agent: chance, masks, schedules, state, promised methods, and what priorities must not do."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from rl.algorithms.dqn_agent import DQNAgent
from rl.algorithms.dqn_config import DQNConfig
from rl.algorithms.policy_state import StateMismatchError, load_tensors, save_tensors
from rl.algorithms.priority_config import PriorityConfig
from rl.algorithms.replay_buffer import Step
from utils.errors import ConfigError

ENV, AGENT, OBS, ACT = 4, 2, 3, 5
SMALL = {"hidden_dims": (16,), "batch_size": 8, "learning_starts": 8, "learning_rate": 1e-2}


def make_agent(*, seed=0, device="cpu", **settings):
    return DQNAgent("learner", OBS, ACT, DQNConfig(**(SMALL | settings)), seed=seed, device=device)


class Play:
    """A random world that shows an agent its steps."""

    def __init__(self, agent, seed=0):
        self.agent, self.chance = agent, torch.Generator().manual_seed(seed)
        self.observation, self.mask, self.alive = self.look()

    def look(self):
        observation = torch.randn(ENV, AGENT, OBS, generator=self.chance)
        mask = torch.rand(ENV, AGENT, ACT, generator=self.chance) < 0.6
        mask[..., 0] |= ~mask.any(-1)
        alive = torch.rand(ENV, AGENT, generator=self.chance) < 0.9
        return observation, mask, alive

    def step(self):
        action = self.agent.act(self.observation, self.mask).action
        assert self.mask.gather(-1, action.unsqueeze(-1)).all()
        end = torch.rand(ENV, generator=self.chance)
        following, mask, alive = self.look()
        self.agent.observe(
            Step(
                observation=self.observation,
                action_mask=self.mask,
                alive=self.alive,
                action=action,
                reward=torch.randn(ENV, AGENT, generator=self.chance),
                terminated=end < 0.1,
                truncated=end > 0.9,
                next_observation=following,
                next_action_mask=mask,
                next_alive=alive,
                final_observation=following,
                state=torch.zeros(ENV, 7),
                next_state=torch.zeros(ENV, 7),
                final_state=torch.zeros(ENV, 7),
            )
        )
        self.observation, self.mask, self.alive = following, mask, alive

    def learn(self, updates):
        for _ in range(updates):
            self.step()
            self.step()
            self.agent.update()


def same_state(one, other):
    state, expected = one.state_dict(), other.state_dict()
    return state.keys() == expected.keys() and all(
        torch.equal(state[name], expected[name]) for name in state
    )


def test_same_seed_same_agent():
    agents = [make_agent(), make_agent(), make_agent(seed=1)]
    for agent in agents:
        Play(agent).learn(5)
    assert same_state(agents[0], agents[1])
    assert not same_state(agents[0], agents[2])


def test_deterministic_actions_draw_nothing():
    agent = make_agent()
    before = agent.generator.get_state()
    observation = torch.randn(ENV, AGENT, OBS)
    one = agent.act(observation, None, deterministic=True).action
    assert torch.equal(one, agent.network(observation).argmax(-1))
    assert torch.equal(agent.generator.get_state(), before)
    agent.act(observation, None)
    assert not torch.equal(agent.generator.get_state(), before)


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 1.0])
def test_a_masked_choice_is_never_taken(deterministic, epsilon):
    agent = make_agent(epsilon_start=epsilon, epsilon_end=epsilon)
    mask = torch.zeros(500, AGENT, ACT, dtype=torch.bool)
    mask[..., 1] = mask[..., 4] = True
    observation = torch.randn(500, AGENT, OBS)
    action = agent.act(observation, mask, deterministic=deterministic).action
    assert set(action.unique().tolist()) == {1, 4}


def test_an_agent_that_acts_without_its_mask_would_be_noticed():
    """The planted fault: the mask does not reach the choice."""
    agent = make_agent(epsilon_start=0.0, epsilon_end=0.0)
    mask = torch.zeros(500, AGENT, ACT, dtype=torch.bool)
    mask[..., 1] = mask[..., 4] = True
    action = agent.act(torch.randn(500, AGENT, OBS), None).action
    assert not set(action.unique().tolist()) <= {1, 4}


def test_epsilon_falls_along_a_line():
    agent = make_agent(epsilon_start=0.8, epsilon_end=0.2, epsilon_decay_steps=30)
    found = []
    play = Play(agent)
    for _ in range(10):
        found.append(agent.epsilon)
        play.step()
    assert found == pytest.approx([0.8, 0.72, 0.64, 0.56, 0.48, 0.4, 0.32, 0.24, 0.2, 0.2])


def test_nothing_is_learnt_before_there_is_enough_to_see():
    agent = make_agent(learning_starts=8)
    play, before = Play(agent), agent.network.vector.clone()
    assert agent.update() == {}
    play.step()
    assert agent.update() == {}
    assert torch.equal(agent.network.vector, before)
    play.step()
    assert set(agent.update()) == {
        *("td_loss", "q_value", "target_q", "gradient_norm", "epsilon"),
        "replay_fill",
        *("td_error_10", "td_error_50", "td_error_90"),
    }
    assert not torch.equal(agent.network.vector, before)


def test_an_update_takes_the_configured_optimiser_steps():
    agent = make_agent(gradient_steps=5)
    Play(agent).learn(3)
    assert agent.learning.steps == 15


VARIANTS = {
    "plain": {"double": False, "dueling": False, "target_update_frequency": 4},
    "soft": {"tau": 0.1, "target_update_frequency": 1},
    "prioritised": {"priority": PriorityConfig(), "n_step": 3, "target_update_frequency": 4},
}


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
def test_a_saved_agent_goes_on_bit_for_bit(settings):
    straight, agent = (make_agent(**settings) for _ in range(2))
    Play(straight).learn(9)
    play = Play(agent)
    play.learn(5)
    late = make_agent(seed=7, **settings)
    late.load_state_dict(load_tensors(save_tensors(agent.state_dict())))
    play.agent = late
    play.learn(4)
    assert same_state(late, straight)


def test_a_state_of_another_configuration_is_refused():
    agent = make_agent()
    Play(agent).learn(3)
    with pytest.raises(StateMismatchError, match="vector was saved as"):
        make_agent(hidden_dims=(32,)).load_state_dict(agent.state_dict())


def test_a_policy_plays_elsewhere():
    agent, other = make_agent(), make_agent(seed=3)
    Play(agent).learn(3)
    other.load_policy_state(load_tensors(save_tensors(agent.policy_state())))
    observation = torch.randn(50, OBS)
    found, expected = (one.act(observation, None, deterministic=True) for one in (other, agent))
    assert torch.equal(found.action, expected.action)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("batch_size", 0), ("train_frequency", 0), ("gradient_steps", 0), ("n_step", 0)),
        *(("gamma", 1.5), ("epsilon_end", -0.1), ("tau", 0.0), ("tau", 2.0)),
        *(("learning_rate", 0.0), ("target_update_frequency", 0), ("hidden_dims", (8, 0))),
    ],
)
def test_impossible_settings_are_refused(name, value):
    with pytest.raises(ConfigError, match=name):
        DQNConfig(**{name: value})


def test_the_promised_methods_make_a_loop_of_ones_own():
    agent = make_agent(train_frequency=2, learning_starts=6)
    rng = np.random.default_rng(0)
    state, updates = rng.normal(size=OBS), []
    for time in range(12):
        action, info = agent.select_action_with_info(state)
        assert 0 <= action < ACT
        assert np.isfinite(info["value"])
        following = rng.normal(size=OBS)
        is_cut = time == 5
        info |= {"truncated": is_cut, "final_observation": following if is_cut else None}
        agent.store_experience(state, action, 1.0, time == 8, info)
        if agent.should_update():
            updates.append(agent.env_steps)
            assert "td_loss" in agent.update()
        state = following
    assert updates == [6, 8, 10]
    assert len(agent.replay) == 11
    q = agent.network(torch.as_tensor(state, dtype=torch.float32))
    assert agent.select_action(state, evaluation=True) == int(q.argmax())


def mean_of_a_rare_reward(agent):
    """Learn one choice that pays 1 in one of ten episodes, else nothing; return its value."""
    one = torch.ones(1, 1, 1)
    mask, alive = one.bool(), one[0].bool()
    over, not_cut = torch.tensor([True]), torch.tensor([False])
    for time in range(200):
        reward = torch.full((1, 1), float(time % 10 == 0))
        action = torch.zeros(1, 1, dtype=torch.int64)
        state = torch.zeros(1, 0)
        agent.observe(
            Step(
                *(one, mask, alive, action, reward, over, not_cut),
                *(one, mask, alive, one, state, state, state),
            )
        )
    found = []
    for _ in range(600):
        agent.update()
        found.append(float(agent.network(one[0]).detach()))
    return np.mean(found[-300:])


def bandit():
    config = DQNConfig(
        hidden_dims=(),
        dueling=False,
        learning_rate=5e-3,
        batch_size=64,
        learning_starts=0,
        priority=PriorityConfig(alpha=1.0, beta=1.0),
    )
    return DQNAgent("bandit", 1, 1, config, seed=0)


def test_prioritised_sampling_leaves_the_mean_where_it_is():
    assert mean_of_a_rare_reward(bandit()) == pytest.approx(0.1, abs=0.03)


def test_forgotten_importance_weights_would_be_noticed(monkeypatch):
    """The planted fault: what surprises is sampled more often, and counts as much each time."""
    agent = bandit()
    sample = agent.replay.sample

    def forgetful(batch_size, generator):
        batch = sample(batch_size, generator)
        return dataclasses.replace(batch, weight=torch.ones_like(batch.weight))

    monkeypatch.setattr(agent.replay, "sample", forgetful)
    assert mean_of_a_rare_reward(agent) > 0.2
