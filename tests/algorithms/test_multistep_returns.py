"""n-step and lambda returns, by hand and against slow references."""

from __future__ import annotations

import pytest
import torch

from rl.algorithms.returns import (
    generalized_advantages,
    lambda_returns,
    n_step_returns,
    n_step_sums,
)


def column(*numbers):
    return torch.tensor(numbers, dtype=torch.float64).unsqueeze(-1)


def flags(*numbers):
    return torch.tensor(numbers).unsqueeze(-1).bool()


REWARD = column(1, 2, 4, 8)
NEXT_VALUE = column(10, 20, 30, 40)
HALF = column(0.5, 0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("n_step", "expected"),
    [
        (1, [1 + 5, 2 + 10, 4 + 15, 8 + 20]),
        (2, [1 + 1 + 5, 2 + 2 + 7.5, 4 + 4 + 10, 8 + 20]),
        (9, [1 + 1 + 1 + 1 + 2.5, 2 + 2 + 2 + 5, 4 + 4 + 10, 8 + 20]),
    ],
)
def test_n_step_returns_of_one_running_episode(n_step, expected):
    found = n_step_returns(REWARD, HALF, NEXT_VALUE, ended=flags(0, 0, 0, 0), n_step=n_step)
    assert found.squeeze(-1).tolist() == expected


def test_ends_stop_n_step_returns_and_truncation_bootstraps():
    discount = column(0.5, 0.5, 0.0, 0.5)
    found = n_step_returns(REWARD, discount, NEXT_VALUE, ended=flags(1, 0, 1, 0), n_step=3)
    assert found.squeeze(-1).tolist() == [1 + 5, 2 + 2, 4, 8 + 20]


@pytest.mark.parametrize(
    ("trace_decay", "expected"),
    [
        (0.0, [6.0, 12.0, 19.0, 28.0]),
        (1.0, [6.5, 11.0, 18.0, 28.0]),
        # The third is 4 and half of the mean of 30 and 28.
        (0.5, [6.40625, 11.625, 18.5, 28.0]),
    ],
)
def test_lambda_returns_of_one_running_episode(trace_decay, expected):
    found = lambda_returns(
        REWARD, HALF, NEXT_VALUE, ended=flags(0, 0, 0, 0), trace_decay=trace_decay
    )
    assert found.squeeze(-1).tolist() == expected


def random_block(time=30, env=5, seed=3):
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand(time, env, generator=generator)
    ended = draw < 0.2
    discount = torch.where(draw < 0.1, 0.0, 0.9).double()
    reward, next_value = torch.randn(2, time, env, generator=generator, dtype=torch.float64)
    return reward, discount, next_value, ended


def slow_n_step(block, time, env, n_step):
    reward, discount, next_value, ended = block
    total, power = 0.0, 1.0
    for now in range(time, min(time + n_step, len(reward))):
        total += power * float(reward[now, env])
        power *= float(discount[now, env])
        last = now
        if ended[now, env]:
            break
    return total + power * float(next_value[last, env])


@pytest.mark.parametrize("n_step", [1, 2, 5, 40])
def test_n_step_returns_equal_a_walk_through_time(n_step):
    block = random_block()
    *terms, ended = block
    found = n_step_returns(*terms, ended=ended, n_step=n_step)
    for time in range(30):
        for env in range(5):
            expected = slow_n_step(block, time, env, n_step)
            assert float(found[time, env]) == pytest.approx(expected, abs=1e-12)


def test_lambda_returns_mix_n_step_returns():
    block = random_block()
    *terms, ended = block
    found = lambda_returns(*terms, ended=ended, trace_decay=0.8)
    for env in range(5):
        for time in range(30):
            cut = next((t for t in range(time, 30) if ended[t, env]), 29)
            most = cut - time + 1
            mix = sum(
                0.2 * 0.8 ** (n - 1) * slow_n_step(block, time, env, n) for n in range(1, most)
            ) + 0.8 ** (most - 1) * slow_n_step(block, time, env, most)
            assert float(found[time, env]) == pytest.approx(mix, abs=1e-12)


def test_lambda_returns_are_advantages_plus_values_on_a_consistent_critic():
    reward, discount, next_value, ended = random_block()
    value = torch.randn_like(reward)
    next_value[:-1] = torch.where(ended[:-1], next_value[:-1], value[1:])
    advantage = generalized_advantages(
        reward, discount, value, next_value, ended=ended, trace_decay=0.7
    )
    found = lambda_returns(reward, discount, next_value, ended=ended, trace_decay=0.7)
    assert torch.allclose(found, advantage + value)


def test_sums_stop_at_the_first_boundary():
    reward = torch.tensor([1.0, 2.0, 4.0]).view(3, 1, 1).expand(3, 4, 1)
    discount = torch.full((3, 4, 1), 0.5)
    discount[1, 2] = 0.0
    boundary = torch.tensor([[0, 1, 1, 0], [0, 0, 1, 1], [0, 1, 0, 1]]).bool()
    discount[0, 1] = 0.0
    total, left, taken = n_step_sums(reward, discount, boundary)
    assert total.squeeze(-1).tolist() == [3.0, 1.0, 1.0, 2.0]
    assert left.squeeze(-1).tolist() == [0.125, 0.0, 0.5, 0.25]
    assert taken.tolist() == [3, 1, 1, 2]


def test_an_agent_that_left_earns_nothing_more():
    reward = torch.ones(3, 1, 2)
    discount = torch.full((3, 1, 2), 0.5)
    discount[1, 0, 1] = 0.0
    total, left, _ = n_step_sums(reward, discount, torch.zeros(3, 1, dtype=torch.bool))
    assert total.tolist() == [[1.75, 1.5]]
    assert left.tolist() == [[0.125, 0.0]]
