"""Conditional value at risk on numbers worked by hand."""

from __future__ import annotations

import pytest
import torch

from rl.algorithms.policy_state import load_tensors, save_tensors
from rl.algorithms.risk import TailRewards, risk_level, tail_mean, tail_rewards

RETURNS = torch.tensor([5.0, -3.0, 1.0, 9.0, 2.0, -1.0, 4.0, 7.0])


@pytest.mark.parametrize(
    ("tail_share", "mean"),
    [(1.0, 3.0), (0.25, -2.0), (0.125, -3.0), (0.1875, (-3.0 - 0.5) / 1.5)],
)
def test_tail_mean_is_the_mean_of_the_worst(tail_share, mean):
    assert tail_mean(RETURNS, tail_share).item() == pytest.approx(mean)


@pytest.mark.parametrize("tail_share", [0.125, 0.25, 0.5])
def test_tail_mean_is_the_best_of_rockafellar_and_uryasev(tail_share):
    grid = torch.linspace(-5, 12, 1701)
    lower = torch.minimum(RETURNS, grid[:, None]).mean(-1)
    objective = grid + (lower - grid) / tail_share
    assert objective.max().item() == pytest.approx(tail_mean(RETURNS, tail_share).item(), abs=1e-4)


def test_a_reward_counts_while_the_return_is_below_the_threshold():
    reward = torch.tensor([1.0, 2.0, 3.0, -4.0, 5.0]).view(-1, 1, 1)
    counted = tail_rewards(reward, reward.cumsum(0), torch.tensor(2.5))
    # Returns so far: 1, 3, 6, 2, 7.
    assert counted.flatten().tolist() == [1.0, 1.5, 0.0, -0.5, 0.5]


def play(seed=0, steps=40):
    chance = torch.Generator().manual_seed(seed)
    reward = torch.randn(steps, 3, 2, generator=chance)
    ended = torch.rand(steps, 3, 1, generator=chance) < 0.2
    return reward, ended.expand(steps, 3, 2), torch.ones(steps, 3, 2, dtype=torch.bool)


def test_episodes_sum_to_their_return_cut_at_the_quantile():
    reward, ended, alive = play()
    ended = ended.clone()
    ended[-1] = True
    whole = TailRewards(0.3, torch.device("cpu"))
    changed, metrics = whole(reward, ended, alive, progress=1.0)
    threshold = metrics["value_at_risk"]
    for env in range(3):
        begin = 0
        for time in range(len(reward)):
            if ended[time, env, 0]:
                episode = slice(begin, time + 1)
                cut = reward[episode, env, 1].sum().clamp(max=threshold) - threshold.clamp(max=0)
                assert changed[episode, env, 1].sum().item() == pytest.approx(cut.item(), abs=1e-5)
                begin = time + 1


def test_the_gradient_of_changed_rewards_is_that_of_the_tail():
    """Two arms: a sure 1, or 3 with nine chances in ten and else -10: mean and tail disagree."""
    sure, risky = torch.ones(100), torch.cat((torch.full((90,), 3.0), torch.full((10,), -10.0)))
    assert risky.mean() > sure.mean()
    reward = torch.cat((sure, risky)).view(1, -1, 1)
    ended = torch.ones_like(reward, dtype=torch.bool)

    def preference(tail_share):
        tail = TailRewards(tail_share, torch.device("cpu"))
        changed, _ = tail(reward, ended, ended, progress=1.0)
        return (changed[:, :100].mean() - changed[:, 100:].mean()).item()

    assert preference(1.0) < 0
    assert preference(0.1) > 0


def test_the_risk_level_falls_from_the_mean_to_the_tail():
    assert [risk_level(0.1, progress) for progress in (0.0, 0.25, 0.5, 1.0)] == [
        1.0,
        pytest.approx(0.55),
        pytest.approx(0.1),
        pytest.approx(0.1),
    ]


def test_absent_agents_end_no_episode():
    reward, ended, alive = play()
    quiet = alive.clone()
    quiet[:, :, 1] = False
    _, metrics = TailRewards(0.3, torch.device("cpu"))(reward, ended, quiet, progress=1.0)
    loud = torch.where(quiet, reward, -100.0)
    _, same = TailRewards(0.3, torch.device("cpu"))(loud, ended, quiet, progress=1.0)
    assert torch.equal(metrics["tail_mean"], same["tail_mean"])


def test_before_the_first_episode_has_ended_rewards_are_plain():
    reward, ended, alive = play()
    tail = TailRewards(0.1, torch.device("cpu"))
    changed, metrics = tail(reward, torch.zeros_like(ended), alive, progress=1.0)
    assert torch.equal(changed, reward)
    assert not metrics


def test_a_saved_tail_goes_on_as_if_nothing_had_happened():
    one, late = (TailRewards(0.2, torch.device("cpu")) for _ in range(2))
    one(*play(seed=0), progress=0.3)
    late.load_state_dict(load_tensors(save_tensors(one.state_dict())))
    changed, _ = one(*play(seed=1), progress=0.4)
    expected, _ = late(*play(seed=1), progress=0.4)
    assert torch.equal(changed, expected)
    fresh, _ = TailRewards(0.2, torch.device("cpu"))(*play(seed=1), progress=0.4)
    assert not torch.equal(changed, fresh)
