"""The recurrent network and its agent: memories, resets, sequences and state."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from rl.algorithms import losses, recurrent_ppo_agent
from rl.algorithms.multiplier_config import MultiplierConfig
from rl.algorithms.policy_state import StateMismatchError, load_tensors, save_tensors
from rl.algorithms.ppo_config import PPOConfig
from rl.algorithms.recurrent import RecurrentActorCritic, episode_begins
from rl.algorithms.recurrent_ppo_agent import RecurrentPPOAgent
from rl.algorithms.rollout_buffer import Rollout
from tests.training.recall import LENGTH, Recall
from utils.errors import ConfigError

TIME, ENV, AGENT, OBS, ACT, UNITS = 9, 5, 2, 4, 3, 8


def make_network():
    return RecurrentActorCritic(
        (OBS, 6, UNITS), ACT, discrete=True, generator=torch.Generator().manual_seed(0)
    )


def make_agent(*, discrete=True, seed=0, **settings):
    settings = {"hidden_dims": (6,), "memory_size": UNITS, "learning_rate": 1e-2} | settings
    return RecurrentPPOAgent("r", OBS, ACT, PPOConfig(**settings), discrete=discrete, seed=seed)


def play(agent, *, seed=0, ended=None):
    """Return what the agent did on random observations, with random rewards and ends."""
    chance = torch.Generator().manual_seed(seed)
    observation = torch.randn(TIME, ENV, AGENT, OBS, generator=chance)
    mask = torch.ones(ENV, AGENT, ACT, dtype=torch.bool)
    if ended is None:
        ended = (torch.rand(TIME, ENV, 1, generator=chance) < 0.3).expand(TIME, ENV, AGENT)
    rollout = Rollout.allocate(
        TIME, observation[0], mask, discrete=agent.discrete, memory_size=agent.memory_size
    )
    if agent.memory is not None:
        rollout.memory.copy_(agent.memory)
    for time in range(TIME):
        sample = agent.act(observation[time], mask)
        agent.forget(ended[time])
        rollout.action[time], rollout.log_prob[time] = sample
    value = agent.value(observation, rollout.memory, ended)
    return dataclasses.replace(
        rollout,
        observation=observation,
        action_mask=mask.expand(TIME, -1, -1, -1),
        alive=torch.ones(TIME, ENV, AGENT, dtype=torch.bool),
        reward=torch.randn(TIME, ENV, AGENT, generator=chance),
        discount=torch.full((TIME, ENV, AGENT), 0.9),
        ended=ended,
        value=value,
        next_value=value.roll(-1, 0),
    )


def test_an_unrolled_sequence_is_its_steps_one_by_one():
    network = make_network()
    chance = torch.Generator().manual_seed(1)
    seen = torch.randn(TIME, ENV, OBS, generator=chance)
    begins = torch.rand(TIME, ENV, generator=chance) < 0.3
    memory = torch.randn(ENV, 2 * UNITS, generator=chance)
    output, value, after = network.outputs(seen, memory, begins)
    never = torch.zeros(1, ENV, dtype=torch.bool)
    for time in range(TIME):
        memory = memory * ~begins[time].unsqueeze(-1)
        one, one_value, memory = network.outputs(seen[time : time + 1], memory, never)
        torch.testing.assert_close(one[0], output[time])
        torch.testing.assert_close(one_value[0], value[time])
    torch.testing.assert_close(memory, after)


def test_the_cell_is_the_gated_unit_of_the_paper():
    cell = make_network().actor.cell
    x, h = torch.randn(1, 6), torch.randn(1, UNITS)
    of_x, of_h = (x @ cell.weight_ih.T).chunk(3, -1), (h @ cell.weight_hh.T).chunk(3, -1)
    reset, update = torch.sigmoid(of_x[0] + of_h[0]), torch.sigmoid(of_x[1] + of_h[1])
    new = torch.tanh(of_x[2] + reset * of_h[2])
    torch.testing.assert_close(cell(x, h), (1 - update) * new + update * h)


def test_an_episode_knows_nothing_of_the_one_before():
    network = make_network()
    seen = torch.randn(TIME, ENV, OBS)
    begins = torch.zeros(TIME, ENV, dtype=torch.bool)
    begins[4] = True
    other = seen.clone()
    other[:4] += 1.0
    memory = torch.zeros(ENV, 2 * UNITS)
    one, changed = (network.outputs(s, memory, begins).value for s in (seen, other))
    assert torch.equal(one[4:], changed[4:])
    assert not torch.isclose(one[:4], changed[:4]).any()


def test_begins_follow_ends():
    ended = torch.zeros(4, 1, 1, dtype=torch.bool)
    ended[1] = ended[3] = True
    assert episode_begins(ended).flatten().tolist() == [False, False, True, False]


@pytest.mark.parametrize("discrete", [True, False])
def test_the_update_sees_what_acting_saw(discrete):
    agent = make_agent(discrete=discrete)
    play(agent, seed=5)
    rollout = play(agent)
    assert rollout.memory.abs().sum() > 0
    assert rollout.ended.any()
    assert first_divergence(agent, rollout) < 1e-6


@pytest.mark.parametrize("where", ["acting", "learning"])
def test_a_memory_not_wiped_at_the_start_of_an_episode_is_noticed(monkeypatch, where):
    """Planted fault, kept: the ratio of the first step is no longer exactly 1."""
    if where == "acting":
        monkeypatch.setattr(RecurrentPPOAgent, "forget", lambda self, ended: None)
    else:
        monkeypatch.setattr(recurrent_ppo_agent, "episode_begins", torch.zeros_like)
    agent = make_agent(discrete=False)
    # Weights as drawn hardly look at the memory.
    agent.network.actor.output[0].weight.data.mul_(100.0)
    assert first_divergence(agent, play(agent)) > 1e-3


def first_divergence(agent, rollout):
    """Return the divergence between acting and the first step of learning."""
    return make_agent_like(agent).update(rollout)["kl_divergence"]


def make_agent_like(agent):
    """Return a copy that takes a single step per update."""
    late = make_agent(discrete=agent.discrete, ppo_epochs=1, num_minibatches=1)
    late.load_state_dict(agent.state_dict())
    return late


def test_minibatches_are_whole_sequences_at_most_once():
    agent = make_agent()
    rollout = play(agent)
    whole = agent._line_up(rollout, agent.objective.assess(rollout, progress=0.0))
    parts = whole.minibatches(3, torch.Generator().manual_seed(0))
    assert [part.log_prob.shape for part in parts] == [(TIME, 3)] * 3
    taken = []
    for part in parts:
        for row in range(3):
            (match,) = (part.log_prob[:, [row]] == whole.log_prob).all(0).nonzero()
            taken.append(match.item())
            assert torch.equal(part.observation[:, row], whole.observation[:, match[0]])
            assert torch.equal(part.memory[:, row], whole.memory[:, match[0]])
    assert len(set(taken)) == 9


@pytest.mark.parametrize("discrete", [True, False])
def test_a_step_is_that_of_autograd_on_the_loss(discrete):
    agent = make_agent(
        discrete=discrete,
        ppo_epochs=1,
        num_minibatches=1,
        entropy_coeff=0.1,
        max_grad_norm=1e6,
        normalize_advantages=False,
    )
    rollout = play(agent)
    worth = agent.objective.assess(rollout, progress=0.0)
    outputs = agent.network.outputs(
        agent.network.normalizer(rollout.observation),
        rollout.memory,
        episode_begins(rollout.ended),
    )
    policy = agent.network.policy(outputs.policy, rollout.action_mask)
    log_ratio = (policy.log_prob(rollout.action) - rollout.log_prob).flatten()
    surrogate = losses.clipped_surrogate(log_ratio, worth.advantage.flatten(), 0.2)
    error = (outputs.value - worth.target).square().mean()
    loss = surrogate + 0.5 * error - 0.1 * policy.entropy().mean()
    by_autograd = torch.autograd.grad(loss, agent.parameters)
    agent.update(rollout)
    expected = torch.cat([gradient.flatten() for gradient in by_autograd])
    torch.testing.assert_close(agent._vector.grad, expected, rtol=1e-4, atol=1e-6)


def test_a_new_policy_begins_around_its_action_mean():
    agent = make_agent(discrete=False, initial_action_mean=0.5, initial_log_std=-2.0)
    action = agent.act(torch.zeros(ENV, AGENT, OBS), None, deterministic=True).action
    assert torch.allclose(action, torch.full_like(action, 0.5), atol=0.05)


def test_an_update_ends_where_the_policy_moved_too_far():
    free, held = make_agent(learning_rate=0.1), make_agent(learning_rate=0.1, target_kl=1e-4)
    assert free.update(play(free))["optimizer_steps"] == 16
    assert held.update(play(held))["optimizer_steps"] == 4


def test_absent_agents_change_nothing():
    one, other = make_agent(), make_agent()
    rollout = play(one)
    play(other)
    alive = rollout.alive.clone()
    alive[:, :, 1] = False
    quiet = dataclasses.replace(rollout, alive=alive)
    loud = dataclasses.replace(
        quiet,
        reward=rollout.reward.masked_fill(~alive, 1e6),
        log_prob=rollout.log_prob.masked_fill(~alive, -50.0),
        value=rollout.value.masked_fill(~alive, -1e4),
    )
    one.update(quiet)
    other.update(loud)
    assert same_state(one, other)


def same_state(one, other):
    state, expected = one.state_dict(), other.state_dict()
    return state.keys() == expected.keys() and all(
        torch.equal(state[name], expected[name]) for name in state
    )


@pytest.mark.parametrize("discrete", [True, False])
def test_a_saved_agent_goes_on_as_if_nothing_had_happened(discrete):
    settings = {"discrete": discrete, "scale_rewards": True, "tail_share": 0.5}
    agent, late = make_agent(**settings), make_agent(**settings, seed=9)
    agent.update(play(agent))
    late.load_state_dict(load_tensors(save_tensors(agent.state_dict())))
    assert same_state(agent, late)
    for learner in (agent, late):
        learner.update(play(learner, seed=1), progress=0.5)
    assert same_state(agent, late)


def test_evaluation_leaves_the_memory_of_training_alone():
    agent = make_agent()
    mask = torch.ones(ENV, AGENT, ACT, dtype=torch.bool)
    agent.act(torch.randn(ENV, AGENT, OBS), mask)
    before = agent.memory
    with agent.fresh_memory():
        agent.act(torch.randn(2, AGENT, OBS), None, deterministic=True)
    assert agent.memory is before
    with pytest.raises(StateMismatchError, match="fresh_memory"):
        agent.act(torch.randn(2, AGENT, OBS), None)


@pytest.mark.parametrize(
    "settings",
    [
        {"memory_size": 0},
        {"memory_size": -1},
        {"cost": MultiplierConfig(cost_limits=(1.0,))},
        {"critic": "central"},
        {"append_agent_id": True},
        {"adaptive_kl_penalty": True, "target_kl": 0.1},
    ],
)
def test_what_it_lacks_is_refused(settings):
    with pytest.raises(ConfigError, match=f"{next(iter(settings))}="):
        make_agent(**settings)


def test_recall_pays_for_the_cue_of_the_same_episode():
    world = Recall(8, seed=3)
    record = world.reset(0)
    cue = record.observation[:, 0, 0].clone()
    for _ in range(LENGTH):
        record = world.step((cue > 0).long().unsqueeze(-1))
    assert record.terminated.all()
    assert torch.equal(record.reward, torch.ones(8, 1))
