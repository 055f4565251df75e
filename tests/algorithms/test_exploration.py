"""Exploration: schedules and processes by hand, frequencies of choices, exact continuation."""

from __future__ import annotations

import pytest
import torch

from rl.algorithms.exploration import (
    OrnsteinUhlenbeckNoise,
    epsilon_greedy,
    gaussian_noise,
    linear_schedule,
    ornstein_uhlenbeck_step,
)
from utils.errors import ConfigError

Q = torch.tensor([1.0, 9.0, 5.0, 7.0])
MASK = torch.tensor([True, False, True, True])
ROWS = 20_000


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("progress", "expected"), [(0.0, 1.0), (0.25, 0.8), (0.5, 0.6), (1.0, 0.2), (7.0, 0.2)]
)
def test_linear_schedule(progress, expected):
    assert linear_schedule(1.0, 0.2, progress) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("epsilon", "expected"),
    [(0.0, [0, 0, 0, 1]), (0.3, [0.1, 0, 0.1, 0.8]), (1.0, [1 / 3, 0, 1 / 3, 1 / 3])],
)
def test_epsilon_greedy_takes_allowed_choices_as_often_as_it_should(epsilon, expected):
    choice = epsilon_greedy(Q.expand(ROWS, 4), MASK.expand(ROWS, 4), epsilon, seeded())
    shares = torch.bincount(choice, minlength=4) / ROWS
    torch.testing.assert_close(shares, torch.tensor(expected).float(), atol=0.01, rtol=0)
    assert shares[1] == 0


def test_epsilon_greedy_without_a_mask():
    choice = epsilon_greedy(Q.expand(ROWS, 4), None, 0.4, seeded())
    shares = torch.bincount(choice, minlength=4) / ROWS
    torch.testing.assert_close(shares, torch.tensor([0.1, 0.7, 0.1, 0.1]), atol=0.01, rtol=0)


def test_an_exploring_choice_that_ignores_the_mask_is_noticed():
    """The planted fault: only the greedy part is masked."""
    generator = seeded()
    allowed = Q.masked_fill(~MASK, -torch.inf).expand(ROWS, 4)
    faulty = epsilon_greedy(allowed, None, 0.3, generator)
    shares = torch.bincount(faulty, minlength=4) / ROWS
    with pytest.raises(AssertionError):
        torch.testing.assert_close(shares, torch.tensor([0.1, 0.0, 0.1, 0.8]), atol=0.01, rtol=0)


def test_as_much_chance_is_drawn_for_every_epsilon():
    states = []
    for epsilon in (0.0, 1.0):
        generator = seeded()
        epsilon_greedy(Q.expand(7, 4), None, epsilon, generator)
        states.append(generator.get_state())
    assert torch.equal(*states)


def test_gaussian_noise_has_its_deviation_and_no_bias():
    action = torch.full((ROWS, 2), 3.0)
    noisy = gaussian_noise(action, 0.5, seeded())
    torch.testing.assert_close(noisy.mean(0), action[0], atol=0.02, rtol=0)
    torch.testing.assert_close(noisy.std(0), torch.full((2,), 0.5), atol=0.01, rtol=0)
    assert torch.equal(gaussian_noise(action, 0.0, seeded()), action)


def test_ornstein_uhlenbeck_step_by_hand():
    after = ornstein_uhlenbeck_step(
        torch.tensor([2.0]), torch.tensor([1.0]), theta=0.5, sigma=0.3, dt=0.25
    )
    # Worked by hand: 2 - 0.5 * 2 * 0.25 + 0.3 * 0.5 * 1
    assert after.item() == pytest.approx(1.9)


def test_ornstein_uhlenbeck_settles_at_its_deviation_and_remembers():
    noise, generator = OrnsteinUhlenbeckNoise(sigma=0.2, theta=0.15), seeded()
    still = torch.zeros(ROWS, 1, 1)
    for _ in range(60):
        before = noise(still, generator)
    after = noise(still, generator)
    expected = 0.2 / (1 - 0.85**2) ** 0.5
    assert after.std().item() == pytest.approx(expected, rel=0.03)
    together = torch.corrcoef(torch.stack((before.flatten(), after.flatten())))[0, 1]
    assert together.item() == pytest.approx(0.85, abs=0.01)


def test_noise_starts_at_rest_where_an_episode_ended():
    noise, generator, still = OrnsteinUhlenbeckNoise(sigma=1.0), seeded(), torch.zeros(2, 1, 3)
    noise.reset(torch.tensor([True, True]))
    before = noise(still, generator)
    noise.reset(torch.tensor([True, False]))
    draw = torch.empty(2, 1, 3).normal_(generator=seeded_like(generator))
    after = noise(still, generator)
    torch.testing.assert_close(after[0], draw[0])
    torch.testing.assert_close(after[1], 0.85 * before[1] + draw[1])


def seeded_like(generator):
    other = torch.Generator()
    other.set_state(generator.get_state())
    return other


def test_noise_goes_on_from_a_saved_state():
    noise, generator, still = OrnsteinUhlenbeckNoise(sigma=1.0), seeded(), torch.zeros(2, 1, 3)
    noise(still, generator)
    other = OrnsteinUhlenbeckNoise(sigma=1.0)
    other.load_state_dict(noise.state_dict())
    assert torch.equal(other(still, seeded(4)), noise(still, seeded(4)))


@pytest.mark.parametrize(
    "settings", [{"sigma": -1.0}, {"sigma": 1.0, "theta": 0.0}, {"sigma": 1.0, "dt": 20.0}]
)
def test_a_process_that_does_not_settle_is_refused(settings):
    with pytest.raises(ConfigError, match="theta"):
        OrnsteinUhlenbeckNoise(**settings)


def test_saved_noise_follows_the_actions_to_their_device():
    noise = OrnsteinUhlenbeckNoise(sigma=1.0)
    noise.load_state_dict({"noise": torch.zeros(2, 1, 3)})
    noise.reset(torch.zeros(2, dtype=torch.bool, device="meta"))
    noise.load_state_dict({"noise": torch.zeros(2, 1, 3)})
    assert noise(torch.zeros(2, 1, 3, device="meta"), seeded()).device.type == "meta"
