"""One update of a team by hand, what masks keep out, targets, delays, and state."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from jaxtyping import TypeCheckError

from rl.algorithms import maddpg_agent
from rl.algorithms.central_losses import (
    central_target,
    central_td_loss,
    error_quantiles,
    output_penalty,
    row_shares,
)
from rl.algorithms.losses import DivergenceError
from rl.algorithms.maddpg_agent import MADDPGAgent, MADDPGConfig
from rl.algorithms.policy_state import StateMismatchError, load_tensors, save_tensors
from rl.algorithms.replay_buffer import TransitionBatch
from rl.algorithms.target_networks import Tracked
from rl.training.replay_learner import ReplayLearner
from tests.algorithms.test_central_critics import all_values, leaves
from tests.training.worlds import PointWorld
from utils.errors import ConfigError

AGENTS, OBS, ACT, BATCH = 3, 4, 2, 6
SMALL = MADDPGConfig(hidden_dims=(7, 6), batch_size=8, learning_starts=20, buffer_size=1000)


def make(config=SMALL, *, discrete=False, state_size=0, seed=0, num_agents=AGENTS):
    return MADDPGAgent(
        "team",
        OBS,
        ACT,
        config,
        num_agents=num_agents,
        discrete=discrete,
        state_size=state_size,
        seed=seed,
    )


def draw_batch(*, discrete=False, seed=0, state_size=0):
    chance = torch.Generator().manual_seed(seed)
    rows = (BATCH, AGENTS)
    action = torch.rand(*rows, ACT, generator=chance) * 2 - 1
    return TransitionBatch(
        observation=torch.randn(*rows, OBS, generator=chance),
        action_mask=torch.ones(*rows, ACT, dtype=torch.bool),
        alive=torch.ones(rows, dtype=torch.bool),
        action=action.argmax(-1) if discrete else action,
        reward=torch.randn(rows, generator=chance),
        discount=torch.full(rows, 0.9),
        next_observation=torch.randn(*rows, OBS, generator=chance),
        next_action_mask=torch.ones(*rows, ACT, dtype=torch.bool),
        state=torch.randn(BATCH, state_size, generator=chance),
        next_state=torch.randn(BATCH, state_size, generator=chance),
        weight=torch.ones(BATCH),
        index=torch.arange(BATCH),
    )


def numbers(agent):
    parts = {"actors": agent.actors.state_dict(), "critics": agent.critics.state_dict()}
    return {f"{part}.{name}": t for part, state in parts.items() for name, t in state.items()}


def is_same(one, other):
    return all(torch.equal(tensor, numbers(other)[name]) for name, tensor in numbers(one).items())


def changed(batch, **fields):
    values = batch._asdict() if hasattr(batch, "_asdict") else dict(vars(batch))
    return TransitionBatch(**(values | fields))


# Equations


def test_each_agent_is_paid_its_own_reward_and_believes_the_lower_critic():
    reward = torch.tensor([[1.0, 2.0], [10.0, 20.0]])
    discount = torch.tensor([[0.5, 0.0], [0.5, 0.5]])
    next_value = torch.tensor([[[4.0, 9.0], [2.0, 6.0]], [[6.0, 9.0], [0.0, 8.0]]])
    target = central_target(reward, discount, next_value)
    assert target.tolist() == [[3.0, 2.0], [10.0, 23.0]]


def test_means_are_over_the_rows_where_the_agent_was_there():
    alive = torch.tensor([[True, True, False], [False, True, False], [False, False, False]])
    share = row_shares(alive, torch.tensor([1.0, 3.0, 1.0]))
    assert share.tolist() == [[0.25, 0.75, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]


def test_the_loss_has_the_stated_gradient():
    value = torch.tensor([[[1.0, 3.0]], [[2.0, 0.0]]], requires_grad=True)
    target, share = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.25, 0.75]])
    loss, gradient = central_td_loss(value, target, share)
    # (1 x 1/4 + 4 x 3/4 + 4 x 1/4 + 1 x 3/4) / 2
    assert loss.item() == pytest.approx(2.5)
    torch.testing.assert_close(gradient, torch.autograd.grad(loss, value)[0])


def test_the_penalty_counts_what_is_in_use():
    output = torch.tensor([[[1.0, 3.0], [2.0, 100.0]]])
    mask = torch.tensor([[[True, True], [True, False]]])
    assert output_penalty(output, mask, torch.tensor([[0.5, 0.5]])).item() == pytest.approx(4.5)


def test_error_quantiles_leave_out_absent_agents():
    error = torch.tensor([[-1.0, 2.0], [3.0, 1000.0]])
    levels = error_quantiles(error, torch.tensor([[True, True], [True, False]]))
    assert levels == {"td_error_50": 2.0, "td_error_90": 3.0, "td_error_99": 3.0}


# One update


@pytest.mark.parametrize("shared", [False, True])
def test_the_actors_climb_their_own_critic(shared):
    agent = make(replace(SMALL, shared=shared))
    agent.actors.network.double()
    agent.critics.network.double()
    agent.actors.target.double()
    agent.critics.target.double()
    batch = draw_batch()
    batch = changed(
        batch, **{n: t.double() for n, t in fields(batch).items() if t.is_floating_point()}
    )
    policies = copy.deepcopy(agent.actors.network).requires_grad_()
    seen = batch.observation.transpose(0, 1)
    ids = torch.eye(AGENTS).double().unsqueeze(1).expand(-1, BATCH, -1)
    rows = torch.cat((seen, ids), -1).flatten(0, 1).unsqueeze(0) if shared else seen
    output = policies.network(rows).view(AGENTS, BATCH, ACT)
    played = batch.action.transpose(0, 1)
    joints = []
    for me in range(AGENTS):
        acts = [output[i].tanh() if i == me else played[i] for i in range(AGENTS)]
        joints.append(torch.cat((batch.observation.flatten(1), *acts), -1))
    value = all_values(agent.critics.network, leaves(agent.critics.network), torch.stack(joints))
    loss = (SMALL.output_penalty * output.square().mean((1, 2)) - value[0].mean(-1)).sum()
    (expected,) = torch.autograd.grad(loss, policies.network.vector)
    metrics = agent.learn(batch)
    torch.testing.assert_close(agent.actors.weights[0].grad, expected)
    torch.testing.assert_close(metrics["actor_loss"], loss.detach() / AGENTS)


def fields(batch):
    return batch._asdict() if hasattr(batch, "_asdict") else dict(vars(batch))


def pollute(batch, seed=5):
    """Change everything that masks, absences and endings should keep out."""
    chance = torch.Generator().manual_seed(seed)

    def noise(like):
        if not like.is_floating_point():
            return torch.randint(ACT, like.shape, generator=chance)
        return 100.0 * torch.randn(like.shape, generator=chance)

    here, stays = batch.alive.unsqueeze(-1), (batch.discount != 0).unsqueeze(-1)
    in_use = batch.action_mask & here
    keep = batch.alive if batch.action.dim() == 2 else in_use
    return changed(
        batch,
        observation=torch.where(here, batch.observation, noise(batch.observation)),
        action=torch.where(keep, batch.action, noise(batch.action)),
        reward=torch.where(batch.alive, batch.reward, noise(batch.reward)),
        next_observation=torch.where(stays, batch.next_observation, noise(batch.next_observation)),
    )


def with_absences(batch):
    alive, discount = batch.alive.clone(), batch.discount.clone()
    mask, next_mask = batch.action_mask.clone(), batch.next_action_mask.clone()
    alive[:3, 1] = False
    discount[2:, 0] = 0.0
    mask[:, 2, 1], next_mask[:, 2, 1] = False, False
    action = batch.action.clone()
    if not action.is_floating_point():
        action[:, 2] = 0
    return changed(
        batch,
        alive=alive,
        discount=discount,
        action_mask=mask,
        next_action_mask=next_mask,
        action=action,
    )


def learn_twice(variant, discrete):
    clean = with_absences(draw_batch(discrete=discrete))
    one, other = (make(replace(SMALL, variant=variant), discrete=discrete) for _ in range(2))
    for _ in range(4):
        one.learn(clean)
        other.learn(pollute(clean))
    return one, other


@pytest.mark.parametrize("variant", ["maddpg", "matd3"])
@pytest.mark.parametrize("discrete", [False, True])
def test_nothing_is_learnt_of_what_is_masked_or_absent(variant, discrete):
    assert is_same(*learn_twice(variant, discrete))


@pytest.mark.parametrize("forgotten", ["action_mask", "alive", "discount"])
def test_a_mask_that_is_forgotten_is_noticed(forgotten, monkeypatch):
    honest = maddpg_agent.arrange

    def forgetful(batch, policies, *, use_state):
        everything = torch.ones_like(getattr(batch, forgotten))
        return honest(changed(batch, **{forgotten: everything}), policies, use_state=use_state)

    monkeypatch.setattr(maddpg_agent, "arrange", forgetful)
    assert not is_same(*learn_twice("maddpg", discrete=False))


def test_masked_actions_do_not_reach_the_target():
    agent = make(discrete=True)
    batch = with_absences(draw_batch(discrete=True))
    team = maddpg_agent.arrange(batch, agent.actors.network, use_state=False)
    output = agent.actors.target.outputs(agent.actors.target.trace(team.next_observation))
    for _ in range(50):
        action = agent.actors.target.draw(output, team.next_mask, agent.generator)
        assert not action[~team.next_mask].any()


def endless_value(monkeypatch=None):
    """Train on a reward of 1 for ever, discount 1/2, which is worth 2."""
    if monkeypatch is not None:
        monkeypatch.setattr(Tracked, "follow", lambda self, tau: None)
    agent = make(replace(SMALL, tau=0.05, learning_rate=3e-3))
    batch = draw_batch()
    batch = changed(
        batch,
        reward=torch.ones_like(batch.reward),
        discount=torch.full_like(batch.discount, 0.5),
        next_observation=batch.observation,
    )
    for _ in range(400):
        metrics = agent.learn(batch)
    return metrics["q_value"].item()


def test_values_grow_to_those_of_an_endless_reward():
    assert endless_value() == pytest.approx(2.0, abs=0.1)


def test_a_target_that_is_never_updated_is_noticed(monkeypatch):
    assert abs(endless_value(monkeypatch) - 2.0) > 0.3


@pytest.mark.parametrize("name", ["actors", "critics"])
def test_targets_go_a_share_of_the_way(name):
    agent = make()
    before = [weight.clone() for weight in getattr(agent, name).target.parameters()]
    agent.learn(draw_batch())
    tracked = getattr(agent, name)
    for old, new, target in zip(before, tracked.weights, tracked.target.parameters(), strict=True):
        torch.testing.assert_close(target, old + SMALL.tau * (new - old))
        assert not torch.equal(new, old)


def test_matd3_moves_actors_and_targets_at_every_second_step():
    agent = make(replace(SMALL, variant="matd3", policy_delay=2))
    start = copy.deepcopy((agent.actors, agent.critics))
    first = agent.learn(draw_batch())
    assert "actor_loss" not in first
    assert torch.equal(agent.actors.weights[0], start[0].weights[0])
    assert torch.equal(next(agent.critics.target.parameters()), next(start[1].target.parameters()))
    assert not torch.equal(agent.critics.weights[0], start[1].weights[0])
    second = agent.learn(draw_batch())
    assert "actor_loss" in second
    assert not torch.equal(agent.actors.weights[0], start[0].weights[0])


def test_matd3_asks_the_targets_about_a_neighbourhood():
    quiet = make(replace(SMALL, variant="matd3", target_noise=0.0))
    noisy = make(replace(SMALL, variant="matd3", target_noise=0.5))
    batch = draw_batch()
    assert quiet.learn(batch)["critic_loss"] != noisy.learn(batch)["critic_loss"]


def test_critics_can_see_the_global_state_instead():
    agent = make(state_size=5)
    batch = draw_batch(state_size=5)
    before = agent.learn(batch)
    other = make(state_size=5)
    moved = other.learn(changed(batch, state=batch.state + 1.0))
    assert before["q_value"] != moved["q_value"]
    assert agent.critics.network.context_size == 5


# Acting


@pytest.mark.parametrize("discrete", [False, True])
def test_acting_without_noise_leaves_chance_alone(discrete):
    agent = make(discrete=discrete)
    observation = torch.randn(5, AGENTS, OBS)
    before = agent.generator.get_state()
    one = agent.act(observation, None, deterministic=True).action
    two = agent.act(observation, None, deterministic=True).action
    assert torch.equal(one, two)
    assert torch.equal(agent.generator.get_state(), before)
    noisy = agent.act(observation, None).action
    assert noisy.shape == one.shape
    assert not torch.equal(agent.generator.get_state(), before)


@pytest.mark.parametrize("exploration", ["gaussian", "ornstein_uhlenbeck"])
def test_noise_stays_in_range_and_out_of_masked_dimensions(exploration):
    config = replace(SMALL, exploration=exploration, exploration_noise=2.0, learning_starts=0)
    agent = MADDPGAgent(
        "team", OBS, ACT, config, num_agents=2, discrete=False, action_low=0.0, seed=0
    )
    mask = torch.ones(9, 2, ACT, dtype=torch.bool)
    mask[:, 1, 1] = False
    for _ in range(20):
        action = agent.act(torch.randn(9, 2, OBS), mask).action
        assert action.min() >= 0.0
        assert action.max() <= 1.0
        assert not action[:, 1, 1].any()
    assert action[..., 0].std() > 0.1


# State


def team_of_points(config=SMALL, seed=0):
    agent = MADDPGAgent(
        "team", 3, 2, config, num_agents=2, discrete=False, action_low=0.0, seed=seed
    )
    world = PointWorld()
    return world, agent, ReplayLearner(world, agent, seed=3)


def go_on(learner, updates):
    for _ in range(updates):
        learner.learn(10_000)


@pytest.mark.parametrize("variant", ["maddpg", "matd3"])
def test_a_saved_team_continues_bit_for_bit(variant):
    config = replace(SMALL, variant=variant, exploration="ornstein_uhlenbeck")
    _, straight, learner = team_of_points(config)
    go_on(learner, 20)
    world, agent, learner = team_of_points(config)
    go_on(learner, 9)
    saved = [save_tensors(part.state_dict()) for part in (world, agent, learner)]
    world, other, learner = team_of_points(config, seed=5)
    for part, content in zip((world, other, learner), saved, strict=True):
        part.load_state_dict(load_tensors(content))
    go_on(learner, 11)
    expected, found = straight.state_dict(), other.state_dict()
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]), name


@pytest.mark.parametrize(
    "lost", ["actors.optimizer", "critics.target", "generator", "optimizer_steps", "noise"]
)
def test_continuing_without_a_part_of_the_state_is_noticed(lost):
    config = replace(SMALL, variant="matd3", exploration="ornstein_uhlenbeck")
    _, straight, learner = team_of_points(config)
    go_on(learner, 20)
    _, agent, learner = team_of_points(config)
    go_on(learner, 9)
    fresh = team_of_points(config)[1].state_dict()
    kept = {n: t for n, t in agent.state_dict().items() if not n.startswith(lost)}
    agent.load_state_dict(fresh | kept)
    if lost == "actors.optimizer":
        agent.actors.optimizer.state.clear()
    go_on(learner, 11)
    assert not is_same(straight, agent)


def test_a_team_of_another_size_is_refused():
    with pytest.raises(StateMismatchError, match=r"network.vector was saved as .*, but here it is"):
        make().load_policy_state(make(num_agents=2).policy_state())


def test_the_saved_policy_acts_alike():
    agent, other = make(), make(seed=4)
    agent.learn(draw_batch())
    other.load_policy_state(agent.policy_state())
    observation = torch.randn(5, AGENTS, OBS)
    one, two = (a.act(observation, None, deterministic=True).action for a in (agent, other))
    assert torch.equal(one, two)


def test_numbers_that_are_not_finite_stop_learning():
    world, agent, learner = team_of_points()
    go_on(learner, 8)
    agent.critics.weights[0].fill_(torch.inf)
    with pytest.raises(DivergenceError, match="critic_loss"):
        learner.learn(1000)
    world.position.fill_(torch.nan)
    with pytest.raises(DivergenceError, match="observation"):
        learner.learn(1000)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("learning_rate", 0.0),
        ("gamma", 1.5),
        ("tau", -0.1),
        ("exploration_noise", -1.0),
        ("hidden_dims", ()),
        ("variant", "td3"),
        ("exploration", "none"),
        ("policy_delay", 0),
    ],
)
def test_settings_that_cannot_work_are_refused(field, value):
    # The shape checker, where it is on, refuses unknown words before the configuration can.
    with pytest.raises((ConfigError, TypeCheckError), match=field):
        MADDPGConfig(**{field: value})


def test_a_hundred_agents_learn():
    agent = MADDPGAgent("team", OBS, ACT, SMALL, num_agents=100, discrete=False, seed=0)
    chance = torch.Generator().manual_seed(0)
    rows = (4, 100)
    batch = TransitionBatch(
        observation=torch.randn(*rows, OBS, generator=chance),
        action_mask=torch.ones(*rows, ACT, dtype=torch.bool),
        alive=torch.ones(rows, dtype=torch.bool),
        action=torch.rand(*rows, ACT, generator=chance),
        reward=torch.randn(rows, generator=chance),
        discount=torch.full(rows, 0.9),
        next_observation=torch.randn(*rows, OBS, generator=chance),
        next_action_mask=torch.ones(*rows, ACT, dtype=torch.bool),
        state=torch.zeros(4, 0),
        next_state=torch.zeros(4, 0),
        weight=torch.ones(4),
        index=torch.arange(4),
    )
    assert torch.isfinite(torch.stack(list(agent.learn(batch).values()))).all()


def test_last_observations_are_looked_at_before_they_are_learnt_from():
    class Broken(PointWorld):
        def look(self, reward=None, *, final=None, **flags):
            if final is not None:
                final = final.masked_fill(flags["truncated"][:, None, None], torch.nan)
            return super().look(reward, final=final, **flags)

    _, agent, _ = team_of_points()
    with pytest.raises(DivergenceError, match="final_observation is not finite"):
        go_on(ReplayLearner(Broken(), agent, seed=3), 10)
