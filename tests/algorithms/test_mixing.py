"""VDN adds; QMIX equals its formula, never falls in any agent's value, and ignores the absent."""

from __future__ import annotations

import itertools

import pytest
import torch

from rl.algorithms import mixing
from rl.algorithms.mixing import MixingSizes, MixingWeights, MonotonicMixer, mix_values, sum_values
from utils.errors import ConfigError

AGENTS, STATE, ROWS = 4, 5, 256
EVERYONE = torch.ones(ROWS, AGENTS, dtype=torch.bool)


def make_mixer(seed=0, scale=3.0):
    """Return a mixer with weights much larger than at the start of training, so that signs show."""
    chance = torch.Generator().manual_seed(seed)
    mixer = MonotonicMixer(MixingSizes(STATE, 8, 16), AGENTS, generator=chance)
    for parameter in mixer.parameters():
        parameter.data.mul_(scale)
    return mixer


def draws(seed):
    chance = torch.Generator().manual_seed(seed)
    return (
        3.0 * torch.randn(ROWS, AGENTS, generator=chance),
        3.0 * torch.randn(ROWS, STATE, generator=chance),
    )


def smallest_slope(mixer, seed):
    """Return the smallest derivative of Q_tot by an agent's value, over random states."""
    value, state = draws(seed)
    value.requires_grad_()
    (slope,) = torch.autograd.grad(mixer(value, EVERYONE, state).sum(), value)
    return float(slope.min())


@torch.no_grad()
def largest_fall(mixer, seed):
    """Return by how much Q_tot falls at most when one agent's value rises, over random states."""
    value, state = draws(seed)
    rise = torch.rand(ROWS, generator=torch.Generator().manual_seed(seed)) * 5.0
    before = mixer(value, EVERYONE, state)
    falls = []
    for agent in range(AGENTS):
        raised = value.clone()
        raised[:, agent] += rise
        falls.append((before - mixer(raised, EVERYONE, state)).max())
    return float(torch.stack(falls).max())


def test_vdn_adds_those_who_are_there():
    value = torch.tensor([[1.5, -2.0, 4.0], [0.25, 8.0, float("nan")]])
    alive = torch.tensor([[True, True, True], [True, True, False]])
    assert sum_values(value, alive).tolist() == [3.5, 8.25]


def test_qmix_on_numbers_worked_by_hand():
    # One agent at Q = 2, one at Q = -1, two units: elu(2*1 + -1*3 + 0) = e^-1 - 1 and
    # elu(2*0.5 + -1*0 + 1) = 2; then 2*(e^-1 - 1) + 3*2 - 4.
    weights = MixingWeights(
        inner=torch.tensor([[[1.0, 0.5], [3.0, 0.0]]]),
        inner_bias=torch.tensor([[0.0, 1.0]]),
        outer=torch.tensor([[2.0, 3.0]]),
        outer_bias=torch.tensor([-4.0]),
    )
    total = mix_values(torch.tensor([[2.0, -1.0]]), EVERYONE[:1, :2], weights)
    assert total.item() == pytest.approx(2 * (2.718281828**-1 - 1) + 6 - 4)


def test_one_matrix_of_first_layers_is_four_hypernetworks():
    mixer = make_mixer()
    value, state = draws(0)
    rows, bias = mixer.first.weight.split((16, 16, 8, 8)), mixer.first.bias.split((16, 16, 8, 8))
    hidden = [torch.relu(state @ w.T + b) for w, b in zip(rows[:3], bias[:3], strict=True)]
    inner = mixer.to_inner(hidden[0]).abs().reshape(ROWS, AGENTS, 8)
    outer = mixer.to_outer(hidden[1]).abs()
    units = torch.einsum("ba,bam->bm", value, inner) + state @ rows[3].T + bias[3]
    wanted = (torch.nn.functional.elu(units) * outer).sum(-1) + mixer.to_bias(hidden[2])[:, 0]
    torch.testing.assert_close(mixer(value, EVERYONE, state), wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_qmix_never_falls_when_an_agent_values_its_action_more(seed):
    mixer = make_mixer(seed)
    assert smallest_slope(mixer, seed) >= 0.0
    assert largest_fall(mixer, seed) <= 1e-2  # rounding, of values in the thousands


def test_negative_weights_are_noticed(monkeypatch):
    monkeypatch.setattr(mixing, "at_least_zero", lambda raw: raw)  # the planted fault
    mixer = make_mixer()
    assert smallest_slope(mixer, 0) < -1.0
    assert largest_fall(mixer, 0) > 1.0


def test_the_best_joint_action_is_everyones_own_best():
    mixer = make_mixer()
    _, state = draws(1)
    choices = torch.randn(ROWS, AGENTS, 3, generator=torch.Generator().manual_seed(2))
    ways = torch.tensor(list(itertools.product(range(3), repeat=AGENTS)))
    picked = choices[:, torch.arange(AGENTS), ways]  # [row, way, agent]
    everyone = EVERYONE[:, None].expand_as(picked)
    totals = mixer(picked, everyone, state[:, None].expand(-1, len(ways), -1))
    own_best = mixer(choices.amax(-1), EVERYONE, state)
    torch.testing.assert_close(totals.amax(-1), own_best, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("mix", ["vdn", "qmix"])
def test_what_the_absent_value_changes_nothing(mix):
    mixer = make_mixer()
    value, state = draws(3)
    alive = torch.rand(ROWS, AGENTS, generator=torch.Generator().manual_seed(4)) < 0.5
    total = [
        sum_values(one, alive) if mix == "vdn" else mixer(one, alive, state)
        for one in (value, value.masked_fill(~alive, float("nan")))
    ]
    assert torch.equal(*total)
    assert torch.isfinite(total[0]).all()


def test_weights_depend_on_the_state():
    mixer = make_mixer()
    value, state = draws(5)
    other = mixer(value, EVERYONE, state.roll(1, 0))
    assert (mixer(value, EVERYONE, state) - other).abs().median() > 1.0


def test_no_state_is_refused_with_the_remedy():
    with pytest.raises(ConfigError, match=r"state_size=0.*mixer='vdn'"):
        MonotonicMixer(MixingSizes(0, 8, 8), 2, generator=torch.Generator())
