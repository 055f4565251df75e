"""Which weights act for whom, what a critic sees, and the backward pass of both networks."""

from __future__ import annotations

import pytest
import torch

from rl.algorithms.actor_critic import ActorCritic, NetworkShape, OutputGradient
from rl.algorithms.parameter_groups import ParameterGroups, groups_of
from rl.algorithms.policy_state import module_state
from rl.algorithms.ppo_config import PPOConfig
from utils.errors import ConfigError

OBS, ACT, AGENTS, MOMENTS = 5, 4, 3, 10
CPU = torch.device("cpu")
LAYOUTS = (None, ((0,), (1,), (2,)), ((2, 0), (1,)))


def make_network(members=None, *, seed=0, **shape):
    shape = {"discrete": True, "num_agents": AGENTS} | shape
    return ActorCritic(
        NetworkShape(observation_size=OBS, action_size=ACT, hidden_dims=(8, 7), **shape),
        ParameterGroups(members, device=CPU),
        device=CPU,
        generator=torch.Generator().manual_seed(seed),
    )


def look(seed=0):
    return torch.randn(MOMENTS, AGENTS, OBS, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("members", LAYOUTS)
@pytest.mark.parametrize("is_central", [False, True])
@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize("append_agent_id", [False, True])
def test_backward_equals_autograd(members, is_central, discrete, append_agent_id):
    network = make_network(
        members, is_central=is_central, discrete=discrete, append_agent_id=append_agent_id
    )
    observation, groups = look(), network.groups
    chance = torch.Generator().manual_seed(1)
    policy = network.policy(observation, None)
    action = policy.sample(chance).detach()
    weights = [torch.randn(MOMENTS, AGENTS, generator=chance) for _ in range(3)]
    of_log_prob, of_entropy, of_value = weights
    loss = (
        (policy.log_prob(action) * of_log_prob).sum()
        + (policy.entropy() * of_entropy).sum()
        + (network.value(observation) * of_value).sum()
    )
    owners = [network.actor.vector, network.critic.vector]
    owners += [] if discrete else [network.log_std]
    expected = torch.autograd.grad(loss, owners)

    def rows(column):
        in_use = groups.in_use.view(groups.in_use.shape + (1,) * (column.dim() - 2))
        return (groups.stacked(column) * in_use).flatten(1, 2)

    with torch.no_grad():
        seen, joint = network.inputs(observation)
        joint = None if joint is None else joint.flatten(1, 2)
        trace = network.trace(seen.flatten(1, 2), joint, None)
        output, log_std = trace.policy.output_gradient(
            rows(action), rows(of_log_prob), rows(of_entropy)
        )
        network.backward(trace, OutputGradient(output, log_std, rows(of_value)))
    torch.testing.assert_close(
        network.gradient, torch.cat([one.flatten() for one in expected]), atol=1e-5, rtol=1e-5
    )


def test_all_weights_are_one_vector():
    network = make_network(discrete=False)
    before = {name: value.clone() for name, value in module_state(network).items()}
    with torch.no_grad():
        network.vector.add_(1.0)
    for name, value in module_state(network).items():
        if not name.startswith("normalizer"):
            assert torch.equal(value, before[name] + 1.0)
    assert network.actor.weights[0][0, 0, 0] == before["actor.vector"][0] + 1.0


def test_weights_come_from_the_generator_alone():
    one, other, stranger = make_network(), make_network(), make_network(seed=1)
    assert torch.equal(one.vector, other.vector)
    assert not torch.equal(one.vector, stranger.vector)


def output_of(network, observation):
    with torch.no_grad():
        return network.policy(observation, None).log_prob_of_choice


@pytest.mark.parametrize("members", LAYOUTS)
def test_who_shares_weights_acts_alike(members):
    network = make_network(members)
    with torch.no_grad():
        network.vector.mul_(5.0)  # away from the uniform start
    same = look()[:, :1].expand(MOMENTS, AGENTS, OBS)
    output = output_of(network, same)
    groups = members or ((0, 1, 2),)
    for one in range(AGENTS):
        for other in range(AGENTS):
            share = any(one in group and other in group for group in groups)
            assert torch.equal(output[:, one], output[:, other]) == share


def test_an_agent_id_tells_agents_apart():
    same = look()[:, :1].expand(MOMENTS, AGENTS, OBS)
    output = output_of(make_network(append_agent_id=True), same)
    assert not torch.equal(output[:, 0], output[:, 1])


@pytest.mark.parametrize("is_central", [False, True])
def test_only_a_central_critic_sees_the_others(is_central):
    network = make_network(is_central=is_central)
    observation = look()
    other = observation.clone()
    other[:, 2] += 1.0
    with torch.no_grad():
        value, changed = network.value(observation), network.value(other)
    assert value.shape == (MOMENTS, AGENTS)
    assert torch.equal(value[:, 0], changed[:, 0]) != is_central
    assert torch.equal(output_of(network, observation)[:, 0], output_of(network, other)[:, 0])


@pytest.mark.parametrize("members", LAYOUTS)
def test_stacking_and_back(members):
    groups = ParameterGroups(members, device=CPU)
    rows = torch.arange(MOMENTS * AGENTS * 2).view(MOMENTS, AGENTS, 2)
    stacked = groups.stacked(rows)
    assert torch.equal(groups.by_agent(stacked), rows)
    in_use = groups.in_use.expand(stacked.shape[:3])
    assert in_use.sum() == MOMENTS * AGENTS
    assert stacked[in_use].flatten().sort().values.equal(rows.flatten())


def test_groups_must_be_a_partition():
    config = PPOConfig(parameter_sharing="grouped", agent_groups=((0, 1), (1,)))
    with pytest.raises(ConfigError, match="every one of the 3 agents belongs to one group"):
        groups_of(config, 3, CPU)
