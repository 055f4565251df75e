"""The team's loss against loops, memory, masks, absence, the target network, state and refusals."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from rl.algorithms import mixing, td_losses
from rl.algorithms.losses import DivergenceError
from rl.algorithms.policy_state import StateMismatchError, load_tensors, save_tensors
from rl.algorithms.qmix_agent import QMIXAgent
from rl.algorithms.qmix_config import QMIXConfig
from rl.algorithms.replay_buffer import EpisodeBatch, Step
from rl.algorithms.team_losses import mean_where, team_td_loss
from rl.algorithms.team_reward import TeamReward
from utils.errors import ConfigError

TIME, BATCH, AGENT, OBS, ACT, STATE = 5, 6, 3, 4, 3, 7
ENV = 4


def make_agent(seed=0, **settings):
    settings = {
        "hidden_dims": (16, 8),
        "learning_rate": 1e-2,
        "batch_size": 16,
        "learning_starts": 8,
        "max_episode_steps": TIME,
        "target_update_frequency": 3,
    } | settings
    config = QMIXConfig(**settings)
    return QMIXAgent("team", OBS, ACT, config, num_agents=AGENT, state_size=STATE, seed=seed)


def allowed_choices(shape, chance):
    """Return a mask with at least one choice in every row."""
    mask = torch.rand(*shape, ACT, generator=chance) < 0.6
    mask[..., 1] |= ~mask.any(-1)
    return mask


def make_batch(seed=0, *, absent=False):
    """Return random episodes of 2 to `TIME` steps, terminated; some agents leave early."""
    chance = torch.Generator().manual_seed(seed)
    seen = torch.randn(TIME + 1, BATCH, AGENT, OBS, generator=chance)
    length = torch.randint(2, TIME + 1, (BATCH,), generator=chance)
    valid = torch.arange(TIME)[:, None] < length
    leaves = torch.full((BATCH, AGENT), TIME + 1)
    if absent:
        leaves = torch.randint(1, TIME + 2, (BATCH, AGENT), generator=chance)
    alive = torch.arange(TIME + 1)[:, None, None] < leaves
    over = torch.arange(TIME)[:, None] == length - 1
    future = alive[:-1] & alive[1:] & ~over[..., None] & valid[..., None]
    return EpisodeBatch(
        observation=seen,
        action_mask=allowed_choices((TIME + 1, BATCH, AGENT), chance),
        alive=alive,
        state=torch.randn(TIME + 1, BATCH, STATE, generator=chance),
        action=torch.randint(ACT, (TIME, BATCH, AGENT), generator=chance),
        reward=torch.randn(TIME, BATCH, AGENT, generator=chance) * alive[:-1],
        discount=torch.where(future, 0.9, 0.0),
        valid=valid,
    )


def make_steps(count, seed=0, reward=None):
    """Return steps of copies whose episodes of `TIME` steps begin together and are truncated."""
    chance = torch.Generator().manual_seed(seed)
    shape = (ENV, AGENT)
    seen = torch.randn(count + 1, *shape, OBS, generator=chance)
    states = torch.randn(count + 1, ENV, STATE, generator=chance)
    masks = allowed_choices((count + 1, *shape), chance)
    everyone, never = torch.ones(shape, dtype=torch.bool), torch.zeros(ENV, dtype=torch.bool)
    for time in range(count):
        ended = never | (time % TIME == TIME - 1)
        final = torch.randn(*shape, OBS, generator=chance)
        yield Step(
            observation=seen[time],
            action_mask=masks[time],
            alive=everyone,
            action=masks[time].float().argmax(-1),
            reward=torch.randn(shape, generator=chance) if reward is None else reward,
            terminated=never,
            truncated=ended,
            next_observation=seen[time + 1],
            next_action_mask=masks[time + 1],
            next_alive=everyone,
            final_observation=torch.where(ended[:, None, None], final, seen[time + 1]),
            state=states[time],
            next_state=states[time + 1],
            final_state=torch.where(ended[:, None], states[time], states[time + 1]),
        )


def step(agent, batch):
    """Take one optimiser step."""
    return agent.optimizer.step(batch, agent.reward(batch.reward))


def same_state(one, other):
    state, expected = one.state_dict(), other.state_dict()
    return state.keys() == expected.keys() and all(
        torch.equal(state[name], expected[name]) for name in state
    )


def loss_by_loops(agent, batch):
    """Return the loss with a loop over episodes, steps and agents, each with its own memory."""
    network, target = agent.network, agent.optimizer.target
    reward, errors = agent.reward(batch.reward), []
    for row in range(BATCH):
        memory, other = (one.values.empty_memory(1) for one in (network, target))
        _, other = target.values(batch.observation[:1, row : row + 1], other)
        for time in range(TIME):
            now, then = ((slice(t, t + 1), slice(row, row + 1)) for t in (time, time + 1))
            q, memory = network.values(batch.observation[now], memory)
            online_next, _ = network.values(batch.observation[then], memory)
            target_next, other = target.values(batch.observation[then], other)
            alive = batch.alive[time, row]
            if not batch.valid[time, row] or not alive.any():
                continue
            best, stays = [], []
            for who in range(AGENT):
                choosing = online_next if agent.config.double else target_next
                allowed = [a for a in range(ACT) if batch.action_mask[time + 1, row, who, a]]
                choice = max(allowed, key=lambda a, w=who, q=choosing: float(q[0, 0, w, a]))
                best.append(target_next[0, 0, who, choice])
                stays.append(bool(batch.discount[time, row, who] > 0))
            chosen = [q[0, 0, who, int(batch.action[time, row, who])] for who in range(AGENT)]
            total, _ = network.total(torch.stack(chosen), alive, batch.state[time, row])
            following, _ = target.total(
                torch.stack(best), torch.tensor(stays), batch.state[time + 1, row]
            )
            wanted = reward[time, row] + batch.discount[time, row].max() * following
            errors.append(wanted - total)
    return float((torch.stack(errors) ** 2).mean())


@torch.no_grad()
def unlike_target(agent, seed=7):
    """Make online and target network differ, so that their parts in the loss can be told apart."""
    chance = torch.Generator().manual_seed(seed)
    for parameter in agent.optimizer.target.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=chance), alpha=0.3)
    return agent


@pytest.mark.parametrize("mixer", ["vdn", "qmix"])
@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("double", [False, True])
@torch.no_grad()
def test_the_loss_is_what_loops_say(mixer, recurrent, double):
    agent = unlike_target(make_agent(mixer=mixer, recurrent=recurrent, double=double))
    batch = make_batch(absent=True)
    reward, target = agent.reward(batch.reward), agent.optimizer.target
    td = team_td_loss(agent.network, target, batch, reward, double=double)
    assert float(td.loss) == pytest.approx(loss_by_loops(agent, batch), rel=1e-4)
    assert not td.error[~td.counts].any()


def test_absent_agents_and_steps_after_the_end_change_nothing():
    quiet = make_batch(absent=True)
    gone = ~quiet.alive
    idle = gone[:-1] | ~quiet.valid[..., None]
    loud = dataclasses.replace(
        quiet,
        observation=quiet.observation.masked_fill(gone[..., None], 1e3),
        action=quiet.action.masked_fill(idle, 0),
        reward=quiet.reward.masked_fill(~quiet.valid[..., None], 1e6),
    )
    for recurrent in (False, True):
        one, other = make_agent(recurrent=recurrent), make_agent(recurrent=recurrent)
        step(one, quiet)
        step(other, loud)
        assert same_policy(one, other)


def same_policy(one, other):
    state = one.policy_state()
    return all(torch.equal(value, state[name]) for name, value in other.policy_state().items())


def masked_choice_moves_the_target():
    """Say whether the loss changes when a choice that is never allowed becomes worth a lot."""
    batch = make_batch()
    mask = batch.action_mask.clone()
    mask[..., 0], mask[..., 1] = False, True
    batch = dataclasses.replace(batch, action_mask=mask, action=batch.action.clamp(min=1))
    found = []
    for bonus in (0.0, 1e3):
        agent = make_agent(mixer="vdn")
        for network in (agent.network, agent.optimizer.target):
            network.values.head.biases[-1][0, 0, 0] += bonus
        target, reward = agent.optimizer.target, agent.reward(batch.reward)
        with torch.no_grad():
            found.append(
                float(team_td_loss(agent.network, target, batch, reward, double=True).loss)
            )
    return found[0] != found[1]


def test_masked_choices_stay_out_of_the_target(monkeypatch):
    assert not masked_choice_moves_the_target()
    choose = td_losses.greedy_choice
    monkeypatch.setattr(td_losses, "greedy_choice", lambda q, mask: choose(q, None))  # planted
    assert masked_choice_moves_the_target()


def distance_to_target(agent, steps):
    """Return how far the target network is from the online one after some optimiser steps."""
    for seed in range(steps):
        step(agent, make_batch(seed))
    pairs = zip(agent.network.parameters(), agent.optimizer.target.parameters(), strict=True)
    return float(sum((one - other).detach().abs().sum() for one, other in pairs))


def test_the_target_network_follows_at_intervals(monkeypatch):
    assert distance_to_target(make_agent(), 2) > 0.1
    assert distance_to_target(make_agent(), 3) == 0.0
    half, whole = make_agent(tau=0.5), make_agent(target_update_frequency=99)
    assert distance_to_target(half, 3) == pytest.approx(distance_to_target(whole, 3) / 2, rel=1e-5)
    monkeypatch.setattr(torch, "_foreach_lerp_", lambda *_: None)  # planted: never updated
    assert distance_to_target(make_agent(), 3) > 0.1


def memory_of(agent):
    """Return what is remembered of the episodes that are learnt from."""
    return agent.state_dict()["memory"]


def remembers_the_last_episode(agent):
    """Say whether what is remembered after one look depends on the episode before."""
    for one in make_steps(TIME):
        agent.act(one.observation, one.action_mask)
        agent.observe(one)
    assert one.truncated.all()
    fresh = make_agent(recurrent=True)
    for which in (agent, fresh):
        which.act(torch.ones(ENV, AGENT, OBS), None)
    return not torch.equal(memory_of(agent), memory_of(fresh))


def test_memory_begins_anew_with_every_episode(monkeypatch):
    assert not remembers_the_last_episode(make_agent(recurrent=True))
    monkeypatch.setattr(QMIXAgent, "begin_episodes", lambda *_: None)  # planted: not reset
    assert remembers_the_last_episode(make_agent(recurrent=True))


def test_memory_is_forgotten_in_the_copies_that_ended_only():
    agent = make_agent(recurrent=True)
    agent.act(torch.ones(ENV, AGENT, OBS), None)
    before = memory_of(agent)
    agent.begin_episodes(torch.tensor([True, False, False, True]))
    assert not memory_of(agent)[[0, 3]].any()
    assert torch.equal(memory_of(agent)[1:3], before[1:3])
    assert before[:, :, 0].all()


def test_looking_leaves_what_is_learnt_from_alone():
    agent = make_agent(recurrent=True)
    step_of = next(make_steps(1))
    agent.act(step_of.observation, None)
    before = memory_of(agent)
    look = torch.ones(ENV, AGENT, OBS)
    first, second, other = (
        agent.act(one, None, deterministic=True) for one in (look, look, look[:2])
    )
    assert torch.equal(memory_of(agent), before)
    assert len(first.action) == len(second.action) == ENV
    assert len(other.action) == 2


def test_another_policy_looks_with_empty_memory():
    agent, fresh = make_agent(recurrent=True), make_agent(recurrent=True)
    look = torch.ones(ENV, AGENT, OBS)
    state = agent.policy_state()
    for again in (False, True):
        agent.act(look, None, deterministic=True)
        if again:
            agent.load_policy_state(state)
        agent.act(look, None, deterministic=True)
        fresh.begin_episodes(torch.ones(ENV, dtype=torch.bool), deterministic=True)
        fresh.act(look, None, deterministic=True)
        same = torch.equal(looked_at(agent), looked_at(fresh))
        assert same == again


def looked_at(agent):
    """Return what is remembered of episodes that were acted in deterministically."""
    return agent._memories[True]


def test_memory_makes_equal_looks_differ():
    agent = make_agent(recurrent=True)
    look = torch.ones(ENV, AGENT, OBS)
    first, memory = agent.network.values(look[None], agent.network.values.empty_memory(ENV))
    second, _ = agent.network.values(look[None], memory)
    assert (first - second).abs().max() > 1e-3
    plain = make_agent()
    values = plain.network.values
    assert torch.equal(*(values(look[None], values.empty_memory(ENV))[0] for _ in range(2)))


def test_agents_are_told_apart():
    q, _ = make_agent().network.values(
        torch.ones(1, ENV, AGENT, OBS), make_agent().network.values.empty_memory(ENV)
    )
    assert (q[0, 0, 0] - q[0, 0, 1]).abs().max() > 1e-3


def test_choices_are_allowed_ones_and_random_by_epsilon():
    agent = make_agent(epsilon_start=1.0, epsilon_end=0.0, epsilon_decay_steps=ENV)
    chance = torch.Generator().manual_seed(0)
    observation = torch.randn(500, AGENT, OBS, generator=chance)
    mask = allowed_choices((500, AGENT), chance)
    greedy = agent.act(observation, mask, deterministic=True).action
    random = agent.act(observation, mask).action
    for action in (greedy, random):
        assert mask.gather(-1, action[..., None]).all()
    assert 0.2 < (greedy == random).float().mean() < 0.8
    agent.observe(next(make_steps(1)))
    assert agent.epsilon == 0.0
    assert torch.equal(agent.act(observation, mask).action, greedy)


def test_deterministic_choices_draw_nothing():
    agent = make_agent()
    before = agent.generator.get_state()
    agent.act(torch.ones(ENV, AGENT, OBS), None, deterministic=True)
    assert torch.equal(agent.generator.get_state(), before)


def test_team_rewards_by_hand():
    reward = torch.tensor([[1.0, 2.0, 6.0], [0.0, -3.0, 0.0]])
    assert TeamReward("sum", standardize=False)(reward).tolist() == [9.0, -3.0]
    assert TeamReward("mean", standardize=False)(reward).tolist() == [3.0, -1.0]
    standard = TeamReward("sum", standardize=True)
    standard.observe(reward)  # mean 3, deviation 6
    assert standard(reward).tolist() == pytest.approx([1.0, -1.0])
    assert mean_where(reward[0], torch.tensor([True, False, True])).item() == 3.5
    assert mean_where(reward[0], torch.zeros(3, dtype=torch.bool)).item() == 0.0


def trained(agent, steps, seed=0):
    """Show an agent some steps and let it update after each; return its last metrics."""
    metrics = {}
    for step in make_steps(steps, seed):
        agent.act(step.observation, step.action_mask)
        agent.observe(step)
        metrics = agent.update()
    return metrics


def test_metrics_say_what_happened():
    assert trained(make_agent(), 1) == {}
    metrics = trained(make_agent(gradient_steps=2), 12)
    assert all(isinstance(value, torch.Tensor) for value in metrics.values())
    assert 0.0 < metrics["mixer_weight_min"] + 1.0 < metrics["mixer_weight_max"] + 1.0
    assert metrics["td_error_10"] < metrics["td_error_50"] < metrics["td_error_90"]
    assert metrics["gradient_norm"] > 0
    assert 0.05 < metrics["epsilon"] < 1.0
    assert "mixer_weight_min" not in trained(make_agent(mixer="vdn"), 12)


def test_negative_weights_show_in_the_metrics(monkeypatch):
    assert trained(make_agent(), 12)["mixer_weight_min"] >= 0.0
    monkeypatch.setattr(mixing, "at_least_zero", lambda raw: raw)  # planted
    assert trained(make_agent(), 12)["mixer_weight_min"] < 0.0


@pytest.mark.parametrize("recurrent", [False, True])
def test_same_seed_same_agent(recurrent):
    one, other, stranger = (make_agent(seed, recurrent=recurrent) for seed in (0, 0, 1))
    for agent in (one, other, stranger):
        trained(agent, 12)
    assert same_state(one, other)
    assert not same_state(one, stranger)


@pytest.mark.parametrize("settings", [{}, {"recurrent": True}, {"mixer": "vdn"}])
def test_resume_is_exact(settings):
    settings = {"standardize_rewards": True, "buffer_size": 40} | settings
    steps = list(make_steps(33))
    whole, first = make_agent(**settings), make_agent(**settings)
    for agent, until in ((whole, 33), (first, 17)):
        for step in steps[:until]:
            agent.act(step.observation, step.action_mask)
            agent.observe(step)
            agent.update()
    second = make_agent(seed=5, **settings)
    second.load_state_dict(load_tensors(save_tensors(first.state_dict())))
    for step in steps[17:]:
        action = second.act(step.observation, step.action_mask).action
        second.observe(step)
        second.update()
    assert same_state(whole, second)
    assert action.shape == (ENV, AGENT)


def test_a_state_of_another_shape_is_refused():
    state = make_agent().state_dict()
    with pytest.raises(StateMismatchError, match=r"values\.head\.vector was saved as"):
        make_agent(hidden_dims=(4,)).load_state_dict(state)
    with pytest.raises(StateMismatchError, match=r"encoder\.vector is not in the saved state"):
        make_agent(recurrent=True).load_policy_state(make_agent().policy_state())


@pytest.mark.parametrize("what", ["reward", "observation"])
def test_what_is_not_finite_is_named(what):
    agent = make_agent()
    for step in make_steps(2):
        agent.observe(step._replace(**{what: torch.full_like(getattr(step, what), torch.nan)}))
    with pytest.raises(DivergenceError, match=f"{what} is not finite"):
        agent.update()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gamma": 1.1}, r"gamma=1\.1: choose a number in \[0, 1\]"),
        ({"batch_size": 0}, "batch_size=0: choose a number above 0"),
        ({"hidden_dims": ()}, r"hidden_dims=\(\): every layer needs a unit"),
        ({"learning_starts": -1}, "learning_starts=-1: choose 0 or more"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        QMIXConfig(**settings)


def test_qmix_without_a_state_is_refused_and_vdn_is_not():
    settings = {"num_agents": 2, "state_size": 0, "seed": 0}
    QMIXAgent("team", OBS, ACT, QMIXConfig(mixer="vdn"), **settings)
    with pytest.raises(ConfigError, match="mixer='vdn'"):
        QMIXAgent("team", OBS, ACT, QMIXConfig(), **settings)


@pytest.mark.parametrize("what", ["observation", "reward", "state"])
def test_no_weight_moves_on_what_is_not_finite(what):
    agent = make_agent(gradient_steps=3, learning_starts=2)
    for step in make_steps(2):
        agent.observe(step._replace(**{what: torch.full_like(getattr(step, what), torch.nan)}))
    before = agent.policy_state()
    with pytest.raises(DivergenceError, match=f"{what} is not finite"):
        agent.update()
    assert all(torch.equal(before[name], now) for name, now in agent.policy_state().items())
