"""The agent: chance, state, masks, early stop, divergence and export."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from rl.algorithms.losses import DivergenceError
from rl.algorithms.policy_state import StateMismatchError, load_tensors, save_tensors
from rl.algorithms.ppo_agent import PPOAgent, PPOConfig
from rl.algorithms.rollout_buffer import Rollout
from utils.errors import ConfigError

TIME, ENV, AGENT, OBS, ACT = 8, 5, 3, 4, 2


def make_agent(*, discrete=False, seed=0, **settings):
    settings = {"hidden_dims": (16, 16), "learning_rate": 1e-2} | settings
    return PPOAgent("learner", OBS, ACT, PPOConfig(**settings), discrete=discrete, seed=seed)


def make_rollout(agent, seed=0):
    """Return what the agent did on random observations, with random rewards."""
    chance = torch.Generator().manual_seed(seed)
    observation = torch.randn(TIME, ENV, AGENT, OBS, generator=chance) * 3 + 1
    mask = torch.ones(TIME, ENV, AGENT, ACT, dtype=torch.bool)
    rollout = Rollout.allocate(TIME, observation[0], mask[0], discrete=agent.discrete)
    sample = agent.act(observation, mask)
    reward = torch.randn(TIME, ENV, AGENT, generator=chance)
    value = agent.value(observation)
    return dataclasses.replace(
        rollout,
        observation=observation,
        action_mask=mask,
        alive=torch.ones(TIME, ENV, AGENT, dtype=torch.bool),
        action=sample.action,
        log_prob=sample.log_prob,
        reward=reward,
        discount=torch.full_like(reward, 0.99),
        value=value,
        next_value=value.roll(-1, 0),
    )


def same_state(one, other):
    state, expected = one.state_dict(), other.state_dict()
    return state.keys() == expected.keys() and all(
        torch.equal(state[name], expected[name]) for name in state
    )


@pytest.mark.parametrize("discrete", [False, True])
def test_same_seed_same_agent(discrete):
    one, other = make_agent(discrete=discrete), make_agent(discrete=discrete)
    stranger = make_agent(discrete=discrete, seed=1)
    for agent in (one, other, stranger):
        agent.update(make_rollout(agent))
    assert same_state(one, other)
    assert not same_state(one, stranger)


def test_deterministic_actions_draw_nothing():
    agent = make_agent()
    before = agent.generator.get_state()
    observation = torch.randn(ENV, AGENT, OBS)
    agent.act(observation, None, deterministic=True)
    assert torch.equal(agent.generator.get_state(), before)
    agent.act(observation, None)
    assert not torch.equal(agent.generator.get_state(), before)


@pytest.mark.parametrize("discrete", [False, True])
def test_update_raises_the_probability_of_good_actions(discrete):
    agent = make_agent(discrete=discrete, ppo_epochs=1, num_minibatches=1)
    rollout = make_rollout(agent)
    good = rollout.action > 0 if discrete else rollout.action[..., 0] > 0
    nothing = torch.zeros_like(rollout.reward)
    rollout = dataclasses.replace(
        rollout, reward=good.float(), discount=nothing, value=nothing, next_value=nothing
    )
    metrics = agent.update(rollout)
    # Only the policy may have changed: compare under the normaliser that acted.
    agent.network.normalizer.load_state_dict(make_agent().network.normalizer.state_dict())
    policy = agent.network.policy(rollout.observation, None)
    change = policy.log_prob(rollout.action) - rollout.log_prob
    assert change[good].mean() > 0.01
    assert change[~good].mean() < -0.01
    assert metrics["clipfrac"] == 0  # the first step starts at a ratio of exactly 1
    assert abs(metrics["kl_divergence"]) < 1e-6


def test_absent_agents_change_nothing():
    one, other = make_agent(scale_rewards=True), make_agent(scale_rewards=True)
    rollout = make_rollout(one)
    make_rollout(other)
    alive = rollout.alive.clone()
    alive[:, :, 1] = False
    absent = ~alive
    quiet = dataclasses.replace(rollout, alive=alive)
    loud = dataclasses.replace(
        rollout,
        alive=alive,
        observation=rollout.observation.masked_fill(absent.unsqueeze(-1), 1e3),
        reward=rollout.reward.masked_fill(absent, 1e6),
        value=rollout.value.masked_fill(absent, -1e4),
        log_prob=rollout.log_prob.masked_fill(absent, -50.0),
    )
    one.update(quiet)
    other.update(loud)
    one.objective.reward_scaler.trace[:, 1] = other.objective.reward_scaler.trace[:, 1] = 0
    assert same_state(one, other)


def test_nobody_alive_is_an_error():
    agent = make_agent()
    rollout = make_rollout(agent)
    with pytest.raises(ConfigError, match="no agent is alive"):
        agent.update(dataclasses.replace(rollout, alive=torch.zeros_like(rollout.alive)))


@pytest.mark.parametrize("discrete", [False, True])
def test_a_saved_agent_goes_on_as_if_nothing_had_happened(discrete):
    settings = {"discrete": discrete, "scale_rewards": True}
    agent, late = make_agent(**settings), make_agent(**settings, seed=9)
    agent.update(make_rollout(agent))
    late.load_state_dict(load_tensors(save_tensors(agent.state_dict())))
    assert same_state(agent, late)
    for learner in (agent, late):
        learner.update(make_rollout(learner, seed=1), progress=0.5)
    assert same_state(agent, late)


def test_a_state_from_before_the_first_update_forgets_the_optimiser():
    agent, late = make_agent(), make_agent()
    state = agent.state_dict()
    late.update(make_rollout(late))
    late.load_state_dict(state)
    assert same_state(agent, late)


def test_a_state_is_a_copy():
    agent = make_agent()
    agent.update(make_rollout(agent))
    state = agent.state_dict()
    before = {name: tensor.clone() for name, tensor in state.items()}
    agent.update(make_rollout(agent, seed=1))
    assert all(torch.equal(state[name], before[name]) for name in state)


def test_a_state_that_does_not_fit_is_refused():
    agent = make_agent()
    with pytest.raises(StateMismatchError, match=r"actor.vector .* load it with the config"):
        agent.load_state_dict(make_agent(hidden_dims=(8,)).state_dict())
    state = agent.state_dict()
    del state["network.log_std"]
    with pytest.raises(StateMismatchError, match="log_std is not in the saved state"):
        agent.load_state_dict(state)


@pytest.mark.parametrize("name", ["reward", "observation"])
def test_poisoned_experience_is_named_and_not_learnt(name):
    agent, untouched = make_agent(), make_agent()
    rollout = make_rollout(agent)
    make_rollout(untouched)
    getattr(rollout, name)[2, 1] = float("nan")
    with pytest.raises(DivergenceError, match=f"{name} is not finite"):
        agent.update(rollout)
    assert same_state(agent, untouched)


def test_a_loss_that_explodes_is_named():
    agent = make_agent()
    rollout = make_rollout(agent)
    rollout.reward[0, 0, 0] = 1e25
    with pytest.raises(DivergenceError, match="value_loss is not finite"):
        agent.update(rollout)


def test_early_stop_at_the_target_divergence():
    agent = make_agent(learning_rate=0.1, ppo_epochs=30, num_minibatches=1, target_kl=0.02)
    assert agent.update(make_rollout(agent))["optimizer_steps"] < 30
    free = make_agent(learning_rate=0.1, ppo_epochs=30, num_minibatches=1)
    assert free.update(make_rollout(free))["optimizer_steps"] == 30


def test_settings_decay_to_zero():
    agent = make_agent(decay_learning_rate=True, decay_epsilon_clip=True)
    before = agent.policy_state()
    metrics = agent.update(make_rollout(agent), progress=1.0)
    assert metrics["learning_rate"] == 0
    learnt = ("actor", "critic", "log_std")
    after = agent.policy_state()
    assert all(torch.equal(after[n], before[n]) for n in after if n.startswith(learnt))


def test_metrics_stay_tensors():
    agent = make_agent()
    assert all(torch.is_tensor(value) for value in agent.update(make_rollout(agent)).values())


def test_initial_mean_and_noise():
    agent = make_agent(initial_action_mean=0.5, initial_log_std=-2.0)
    action = agent.act(torch.randn(1000, 1, OBS), None, deterministic=True).action
    assert action.mean().item() == pytest.approx(0.5, abs=0.05)
    assert agent.network.log_std.flatten().tolist() == [-2.0] * ACT


@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_exported_layers_act_alike(discrete, activation):
    agent = make_agent(discrete=discrete, activation=activation)
    agent.update(make_rollout(agent))
    policy = agent.export_layers()
    observation = torch.randn(200, 1, OBS) * 20
    x = np.clip((observation.numpy() - policy.mean) / policy.std, -policy.clip, policy.clip)
    squash = {"tanh": np.tanh, "relu": lambda z: np.maximum(z, 0)}[policy.activation]
    for weight, bias in policy.layers[:-1]:
        x = squash(x @ weight + bias)
    weight, bias = policy.layers[-1]
    output = x @ weight + bias
    expected = agent.act(observation, None, deterministic=True).action.numpy()
    if discrete:
        assert (output.argmax(-1) == expected).all()
    else:
        np.testing.assert_allclose(output, expected, atol=1e-5)
    assert all(array.flags["C_CONTIGUOUS"] for layer in policy.layers for array in layer)


def test_without_normalisation_observations_pass_unchanged():
    agent = make_agent(normalize_observations=False)
    agent.update(make_rollout(agent))
    observation = torch.tensor([[1e6, -1e6, 3.0, 0.0]])
    assert torch.equal(agent.network.normalize(observation), observation)


@pytest.mark.parametrize(
    "wrong",
    [
        {"gamma": 1.1},
        {"gae_lambda": -0.1},
        {"learning_rate": 0.0},
        {"epsilon_clip": 0.0},
        {"num_minibatches": 0},
        {"ppo_epochs": 0},
        {"target_kl": 0.0},
        {"value_clip": -1.0},
        {"hidden_dims": (64, 0)},
    ],
)
def test_impossible_settings_are_refused_by_name(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        PPOConfig(**wrong)


def test_an_activation_that_its_networks_do_not_know_is_refused():
    with pytest.raises((ConfigError, TypeError), match="activation"):
        PPOConfig(activation="silu")
