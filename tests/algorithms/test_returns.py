"""Estimates of what a step was worth, on numbers worked by hand and against a slow reference."""

from __future__ import annotations

import torch

from rl.algorithms.returns import discounted_sums, episode_sums, generalized_advantages


def column(*numbers):
    return torch.tensor(numbers, dtype=torch.float64).unsqueeze(-1)


def flags(*numbers):
    return torch.tensor(numbers).unsqueeze(-1).bool()


def test_advantages_of_one_running_episode():
    # e = (1 + 0.5*2 - 1, 2 + 0.5*3 - 2, 3 + 0.5*4 - 3) = (1, 1.5, 2), decay 0.5 * 0.5
    advantage = generalized_advantages(
        column(1, 2, 3),
        column(0.5, 0.5, 0.5),
        column(1, 2, 3),
        column(2, 3, 4),
        ended=flags(0, 0, 0),
        trace_decay=0.5,
    )
    assert advantage.squeeze(-1).tolist() == [1 + 0.25 * 2.0, 1.5 + 0.25 * 2, 2.0]


def test_termination_looks_at_nothing_beyond_it():
    advantage = generalized_advantages(
        column(1, 1),
        column(0, 0.9),
        column(3, 5),
        column(100, 7),
        ended=flags(1, 0),
        trace_decay=0.5,
    )
    assert advantage[0].item() == 1 - 3


def test_truncation_bootstraps_from_the_last_observation_and_cuts_the_trace():
    advantage = generalized_advantages(
        column(1, 1000),
        column(0.5, 0.5),
        column(3, 5),
        column(8, 7),
        ended=flags(1, 0),
        trace_decay=1.0,
    )
    assert advantage[0].item() == 1 + 0.5 * 8 - 3


def test_advantages_equal_the_sum_over_n_step_errors():
    generator = torch.Generator().manual_seed(7)
    time, env, gamma, trace_decay = 40, 6, 0.97, 0.9
    reward, value, next_value = torch.randn(
        3, time, env, generator=generator, dtype=torch.float64
    ).unbind(0)
    fate = torch.rand(time, env, generator=generator)
    terminated, truncated = fate < 0.1, (fate >= 0.1) & (fate < 0.2)
    discount = gamma * (~terminated).double()
    found = generalized_advantages(
        reward, discount, value, next_value, ended=terminated | truncated, trace_decay=trace_decay
    )
    for start in range(time):
        for copy in range(env):
            expected, weight = 0.0, 1.0
            for t in range(start, time):
                bootstrap = 0.0 if terminated[t, copy] else gamma * next_value[t, copy]
                expected += weight * (reward[t, copy] + bootstrap - value[t, copy])
                if terminated[t, copy] or truncated[t, copy]:
                    break
                weight *= gamma * trace_decay
            torch.testing.assert_close(found[start, copy], torch.as_tensor(expected))


def test_full_trace_without_critic_gives_discounted_returns():
    zeros = column(0, 0, 0)
    advantage = generalized_advantages(
        column(1, 1, 1), column(0.5, 0.5, 0), zeros, zeros, ended=flags(0, 0, 1), trace_decay=1.0
    )
    assert advantage.squeeze(-1).tolist() == [1.75, 1.5, 1.0]


def test_discounted_sums_start_afresh_in_every_episode():
    sums, carry = discounted_sums(
        column(1, 1, 1, 1), flags(0, 1, 0, 0), torch.tensor([4.0]).double(), gamma=0.5
    )
    assert sums.squeeze(-1).tolist() == [5.0, 3.5, 1.0, 1.5]
    assert carry.tolist() == [0.75]


def test_episode_sums_by_hand():
    quantity = torch.tensor([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [4.0, 40.0]])
    ended = torch.tensor([[False, False], [True, False], [True, False], [False, False]])
    sums, carry = episode_sums(quantity, ended, torch.tensor([0.5, 5.0]).double())
    assert sums.tolist() == [3.5, 3.0]
    assert carry.tolist() == [4.0, 105.0]


def test_episode_sums_do_not_depend_on_where_blocks_end():
    generator = torch.Generator().manual_seed(1)
    quantity = torch.rand(60, 5, generator=generator)
    ended = torch.rand(60, 5, generator=generator) < 0.15
    nothing = torch.zeros(5, dtype=torch.float64)
    whole, carry = episode_sums(quantity, ended, nothing)
    first, between = episode_sums(quantity[:23], ended[:23], nothing)
    second, carry_of_parts = episode_sums(quantity[23:], ended[23:], between)
    torch.testing.assert_close(carry, carry_of_parts)
    torch.testing.assert_close(whole.sort().values, torch.cat((first, second)).sort().values)
