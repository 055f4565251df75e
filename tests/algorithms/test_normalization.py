"""Running statistics against those of all the data at once."""

from __future__ import annotations

import torch

from rl.algorithms.normalization import ObservationNormalizer, RewardScaler, RunningMoments


def test_moments_of_batches_are_those_of_the_whole():
    data = torch.randn(1000, 3, generator=torch.Generator().manual_seed(2)) * 5 + 100
    moments = RunningMoments(3)
    for batch in data.split([1, 0, 499, 500]):
        moments.update(batch)
    torch.testing.assert_close(moments.mean, data.double().mean(0))
    torch.testing.assert_close(moments.variance, data.double().var(0, correction=0))
    assert moments.count == 1000


def test_normalised_observations_are_centred_scaled_and_clipped():
    data = torch.randn(5000, 2, generator=torch.Generator().manual_seed(2)) * 30 - 7
    normalizer = ObservationNormalizer(2, clip=3.0)
    normalizer.update(data)
    result = normalizer(data)
    assert result.abs().max() == 3.0
    torch.testing.assert_close(result.mean(0), torch.zeros(2), atol=0.01, rtol=0)
    torch.testing.assert_close(result.std(0), torch.ones(2), atol=0.02, rtol=0)


def test_a_constant_quantity_is_shifted_but_not_blown_up():
    normalizer = ObservationNormalizer(1, clip=10.0)
    normalizer.update(torch.full((100, 1), 0.3))
    torch.testing.assert_close(
        normalizer(torch.tensor([[0.3], [0.5]])), torch.tensor([[0.0], [0.2]])
    )


def test_reading_changes_nothing():
    normalizer = ObservationNormalizer(2, clip=10.0)
    before = {name: tensor.clone() for name, tensor in normalizer.state_dict().items()}
    normalizer(torch.randn(100, 2))
    for name, tensor in normalizer.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_rewards_are_divided_by_the_deviation_of_the_discounted_return():
    # Returns at gamma 0.5: 1, 2.5 | 3, 5.5 with the episode ending in between.
    reward = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1, 1)
    ended = torch.tensor([False, True, False, False]).view(4, 1, 1)
    scaled = RewardScaler(0.5)(reward, ended, torch.ones_like(ended))
    std = torch.tensor([1.0, 2.5, 3.0, 5.5]).std(correction=0)
    torch.testing.assert_close(scaled, reward / std)


def test_scaling_ignores_absent_agents_and_carries_on_between_blocks():
    reward = torch.randn(20, 3, 2, generator=torch.Generator().manual_seed(5))
    ended = torch.zeros_like(reward, dtype=torch.bool)
    alive = torch.ones_like(ended)
    whole, parts = RewardScaler(0.9), RewardScaler(0.9)
    whole(reward, ended, alive)
    parts(reward[:8], ended[:8], alive[:8])
    parts(reward[8:], ended[8:], alive[8:])
    torch.testing.assert_close(whole.moments.variance, parts.moments.variance)

    absent = RewardScaler(0.9)
    alive[..., 1] = False
    reward[..., 1] = 1e6
    absent(reward, ended, alive)
    assert absent.moments.variance < 100


def test_rewards_that_are_all_alike_are_left_alone():
    scaler = RewardScaler(0.9)
    reward, yes = torch.full((3, 2, 1), -2.0), torch.ones(3, 2, 1, dtype=torch.bool)
    assert torch.equal(scaler(reward, yes, yes), reward)
