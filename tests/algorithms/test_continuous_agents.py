"""What SAC and TD3 must both do: target, bounds, masks, absence, resume, export, an own loop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from rl.algorithms.losses import DivergenceError
from rl.algorithms.policy_state import StateMismatchError, load_tensors, save_tensors
from rl.algorithms.replay_buffer import Step
from rl.algorithms.sac_agent import SACAgent
from rl.algorithms.sac_config import SACConfig
from rl.algorithms.td3_agent import TD3Agent
from rl.algorithms.td3_config import TD3Config
from rl.algorithms.twin_critics import TwinCritics
from utils.errors import ConfigError

SMALL = {"hidden_dims": (16, 16), "batch_size": 32, "learning_starts": 20, "buffer_size": 1000}
KINDS = {"sac": (SACAgent, SACConfig), "td3": (TD3Agent, TD3Config)}
both = pytest.mark.parametrize("kind", KINDS)


def make(kind, *, seed=0, state_dim=3, action_dim=2, low=-1.0, high=1.0, **settings):
    agent, config = KINDS[kind]
    chosen = config(**{**SMALL, **settings})
    return agent("a", state_dim, action_dim, chosen, seed=seed, action_low=low, action_high=high)


def step_of(observation, action, reward, following, **changes):
    """A step of all copies, in which nothing ends."""
    envs, agents = reward.shape
    never = torch.zeros(envs, dtype=torch.bool)
    step = Step(
        observation=observation,
        action_mask=torch.ones(action.shape, dtype=torch.bool),
        alive=torch.ones(envs, agents, dtype=torch.bool),
        action=action,
        reward=reward,
        terminated=never,
        truncated=never,
        next_observation=following,
        next_action_mask=torch.ones(action.shape, dtype=torch.bool),
        next_alive=torch.ones(envs, agents, dtype=torch.bool),
        final_observation=following,
        state=torch.zeros(envs, 0),
        next_state=torch.zeros(envs, 0),
        final_state=torch.zeros(envs, 0),
    )
    return step._replace(**changes)


def play(agent, steps, *, seed, envs=4, agents=1):
    """Let an agent act in a world of noise, and learn after every step."""
    chance = torch.Generator().manual_seed(seed)
    observation = torch.randn(envs, agents, 3, generator=chance)
    history = []
    for _ in range(steps):
        action = agent.act(observation, None).action
        following = torch.randn(envs, agents, 3, generator=chance)
        reward = -(action - 0.5).square().sum(-1)
        agent.observe(step_of(observation, action, reward, following))
        history.append(agent.update())
        observation = following
    return history


def learnt_value(kind, *, terminated, truncated):
    """Value after learning where every step earns 1 and ends the episode, at gamma 0.5."""
    fixed = {"temperature": 0.0} if kind == "sac" else {}
    agent = make(kind, gamma=0.5, tau=0.1, learning_rate=1e-2, gradient_steps=120, **fixed)
    same, one = torch.ones(8, 1, 3), torch.ones(8, 1)
    ends = {
        "terminated": torch.full((8,), terminated),
        "truncated": torch.full((8,), truncated),
    }
    for _ in range(6):
        action = agent.act(same, None).action
        agent.observe(step_of(same, action, one, same, **ends))
    agent.update()
    with torch.no_grad():
        return agent.critics.value(same[0], agent.act(same[:1], None).action[0]).mean().item()


@both
def test_a_cut_episode_goes_on_in_its_value(kind):
    assert learnt_value(kind, terminated=False, truncated=True) == pytest.approx(2.0, abs=0.1)


@both
def test_a_terminated_episode_is_worth_its_rewards(kind):
    assert learnt_value(kind, terminated=True, truncated=False) == pytest.approx(1.0, abs=0.1)


@both
def test_planted_fault_truncation_treated_as_termination(kind):
    assert learnt_value(kind, terminated=True, truncated=True) < 1.2


@both
def test_planted_fault_a_target_that_never_follows(kind, monkeypatch):
    monkeypatch.setattr(TwinCritics, "follow", lambda self, tau: None)
    assert abs(learnt_value(kind, terminated=False, truncated=True) - 2.0) > 0.5


@both
@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 1.0), (2.0, 6.0)])
def test_actions_stay_in_range_and_reach_all_of_it_before_learning(kind, low, high):
    agent = make(kind, low=low, high=high)
    observation = torch.zeros(4000, 1, 3)
    action, log_prob = agent.act(observation, None)
    assert low <= action.min() < low + 0.01 * (high - low)
    assert high - 0.01 * (high - low) < action.max() <= high
    assert action.mean().item() == pytest.approx(0.5 * (low + high), abs=0.02 * (high - low))
    if kind == "sac":
        expected = torch.full_like(log_prob, -2.0 * np.log(high - low))
        torch.testing.assert_close(log_prob, expected)
    agent.experience.env_steps = 20
    for deterministic in (False, True):
        action = agent.act(50.0 * torch.randn(4000, 1, 3), None, deterministic=deterministic).action
        assert ((low <= action) & (action <= high)).all()


@both
def test_noise_remembers_the_step_before(kind):
    agent = make(kind, noise_correlation=0.9, learning_starts=1000)
    observation = torch.zeros(500, 1, 3)
    for _ in range(40):
        before = agent.act(observation, None).action
    after = agent.act(observation, None).action
    both_steps = torch.stack((before.flatten(), after.flatten()))
    assert torch.corrcoef(both_steps)[0, 1].item() == pytest.approx(0.9, abs=0.05)
    assert after.std().item() == pytest.approx(1.0 / 3.0**0.5, rel=0.05)


@both
def test_masked_dimensions_and_absent_agents_are_not_learnt_from(kind):
    """The same rows, once alone, once beside rows of an absent agent and a dimension not in use."""
    chance = torch.Generator().manual_seed(2)
    observation = torch.randn(32, 2, 3, generator=chance)
    following = torch.randn(32, 2, 3, generator=chance)
    action = 2.0 * torch.rand(32, 2, 2, generator=chance) - 1.0
    reward = torch.randn(32, 2, generator=chance)
    mask = torch.ones(32, 2, 2, dtype=torch.bool)
    mask[..., 1] = False
    action[..., 1] = 0.0
    alive = torch.ones(32, 2, dtype=torch.bool)
    alive[:, 1] = False
    gradients = []
    for nonsense in (0.0, 100.0):
        agent = make(kind, policy_delay=1) if kind == "td3" else make(kind)
        noisy = observation.clone()
        noisy[:, 1] += nonsense
        agent.observe(
            step_of(
                noisy, action, reward + nonsense * ~alive, following,
                action_mask=mask, next_action_mask=mask, alive=alive,
            )
        )  # fmt: skip
        agent.learn(agent.experience.replay.sample(64, torch.Generator().manual_seed(1)))
        gradients.append(
            (agent.critics.network.vector.grad.clone(), agent.actor.network.vector.grad.clone())
        )
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)
        assert one.abs().sum() > 0
    agent.experience.env_steps = 20
    chosen = agent.act(observation, mask)
    assert (chosen.action[..., 1] == 0).all()
    assert (agent.act(observation, mask, deterministic=True).action[..., 1] == 0).all()
    last_bias = gradients[0][1][-agent.actor.network.sizes[-1] :]
    assert last_bias[1] == 0.0


@both
def test_a_saved_agent_continues_bit_for_bit(kind):
    settings = {"noise_correlation": 0.5}
    straight = make(kind, **settings)
    play(straight, 12, seed=1)
    played = play(straight, 7, seed=2)
    first = make(kind, **settings)
    play(first, 12, seed=1)
    saved = save_tensors(first.state_dict())
    second = make(kind, seed=9, **settings)
    second.load_state_dict(load_tensors(saved))
    again = play(second, 7, seed=2)
    for one, other in zip(played, again, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
    for name, tensor in straight.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


@both
@pytest.mark.parametrize(
    "lost",
    ["critics.target", "critics.online.optimizer", "experience.generator", "actor.optimizer"],
)
def test_continuing_without_a_part_of_the_state_is_noticed(kind, lost):
    straight = make(kind)
    play(straight, 12, seed=1)
    state, fresh = straight.state_dict(), make(kind).state_dict()
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(lost)}
    second = make(kind)
    second.load_state_dict({**fresh, **kept})
    play(straight, 5, seed=2)
    play(second, 5, seed=2)
    after = second.state_dict()
    assert not all(torch.equal(t, after[n]) for n, t in straight.state_dict().items())


@both
def test_a_state_of_another_shape_is_refused(kind):
    with pytest.raises(StateMismatchError, match="was saved as"):
        make(kind).load_state_dict(make(kind, hidden_dims=(8, 8)).state_dict())
    state = make(kind).state_dict()
    del state["experience.generator"]
    with pytest.raises(StateMismatchError, match="generator"):
        make(kind).load_state_dict(state)


@both
def test_only_the_policy_is_needed_to_act(kind):
    trained, other = make(kind), make(kind, seed=4)
    play(trained, 12, seed=1)
    other.load_policy_state(trained.policy_state())
    observation = torch.randn(5, 1, 3)
    one, two = (a.act(observation, None, deterministic=True).action for a in (trained, other))
    assert torch.equal(one, two)


@both
def test_learning_waits_for_its_start(kind):
    metrics = play(make(kind), 8, seed=1)
    assert [bool(one) for one in metrics] == [False] * 4 + [True] * 4


@both
def test_every_figure_is_there(kind):
    agent = make(kind, gradient_steps=2)
    metrics = play(agent, 8, seed=1)[-1]
    expected = {"critic_loss", "actor_loss", "q_value", "critic_gradient_norm"}
    expected |= {"actor_gradient_norm", "td_error_q50", "td_error_q90", "td_error_q99"}
    assert expected <= metrics.keys()
    assert all(tensor.shape == () and torch.isfinite(tensor) for tensor in metrics.values())
    assert metrics["td_error_q50"] <= metrics["td_error_q90"] <= metrics["td_error_q99"]


@both
@pytest.mark.parametrize("where", ["observation", "reward", "final_observation"])
def test_what_is_not_finite_is_named_and_not_remembered(kind, where):
    agent = make(kind)
    good = step_of(
        torch.zeros(2, 1, 3), torch.zeros(2, 1, 2), torch.zeros(2, 1), torch.zeros(2, 1, 3)
    )
    bad = getattr(good, where).clone().fill_(float("nan"))
    with pytest.raises(DivergenceError, match=where):
        agent.observe(good._replace(**{where: bad}))
    assert agent.experience.env_steps == 0


@both
def test_a_diverged_network_is_said(kind):
    agent = make(kind)
    play(agent, 6, seed=1)
    with torch.no_grad():
        agent.critics.target.vector.fill_(float("nan"))
    with pytest.raises(DivergenceError, match="critic_loss"):
        agent.update()


@both
@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 0.0}, {"gamma": 1.5}, {"tau": -0.1}, {"noise_correlation": 1.0},
        {"batch_size": 0}, {"gradient_steps": 0}, {"hidden_dims": (0,)},
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(kind, change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        replace(KINDS[kind][1](), **change)


def test_impossible_settings_of_one_kind_are_refused():
    with pytest.raises(ConfigError, match="temperature"):
        SACConfig(temperature=-1.0)
    with pytest.raises(ConfigError, match="policy_delay"):
        TD3Config(policy_delay=0)


@both
def test_an_own_loop_gives_the_steps_that_were_taken(kind):
    agent = make(kind, state_dim=3, learning_starts=3, gamma=0.9)
    rows = np.arange(24, dtype=np.float32).reshape(8, 3)
    info = {"truncated": True, "final_observation": rows[7]}
    for index, ended in enumerate([{}, {}, info, {}, {}]):
        action = agent.select_action(rows[index])
        assert action.shape == (2,)
        agent.store_experience(rows[index], action, float(index), False, ended)
        assert agent.should_update() == (index >= 3)
    batch = agent.experience.replay.sample(200, torch.Generator().manual_seed(0))
    seen = {
        (int(o[0, 0]), int(r), int(n[0, 0]), round(float(d), 2))
        for o, r, n, d in zip(
            batch.observation, batch.reward, batch.next_observation, batch.discount, strict=True
        )
    }
    assert seen == {(0, 0, 3, 0.9), (3, 1, 6, 0.9), (6, 2, 21, 0.9), (9, 3, 12, 0.9)}
    assert agent.update()["critic_loss"] > 0
    action, told = agent.select_action_with_info(rows[0])
    assert np.isfinite([*action, told["value"]]).all()
    one, two = (agent.select_action(rows[0], evaluation=True) for _ in range(2))
    np.testing.assert_array_equal(one, two)


@both
def test_an_own_loop_must_show_how_a_cut_episode_ended(kind):
    with pytest.raises(ConfigError, match="final_observation"):
        make(kind).store_experience(np.zeros(3), np.zeros(2), 0.0, False, {"truncated": True})


@both
def test_a_step_held_back_is_saved(kind):
    first, second = make(kind), make(kind)
    first.store_experience(np.zeros(3), np.zeros(2), 1.0, False, {})
    second.load_state_dict(load_tensors(save_tensors(first.state_dict())))
    second.store_experience(np.ones(3), np.zeros(2), 1.0, False, {})
    assert second.experience.env_steps == 1
