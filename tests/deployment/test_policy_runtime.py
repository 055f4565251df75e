"""The NumPy forward pass gives torch's deterministic action."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from rl.algorithms.ppo_agent import PPOAgent, PPOConfig
from rl.artifacts import ActionSpec, Layer, Normalizer, PolicyArtifact
from rl.deployment.policy_runtime import ObservationError, PolicyRuntime
from tests.serving import make_artifact, make_card


def as_artifact(layers, activation, normalizer, action) -> PolicyArtifact:
    return PolicyArtifact(
        layers=tuple(Layer(*layer) for layer in layers),
        activation=activation,
        normalizer=Normalizer(*normalizer),
        action=action,
        domain="other",
        domain_config="{}",
        card=make_card(),
    )


@pytest.mark.parametrize(
    ("activation", "module"), [("tanh", nn.Tanh), ("relu", nn.ReLU), ("silu", nn.SiLU)]
)
def test_equals_a_torch_network(activation, module):
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Linear(7, 33), module()), *(nn.Linear(33, 20), module()), nn.Linear(20, 4)
    )
    linear = [layer for layer in network if isinstance(layer, nn.Linear)]
    layers = [(x.weight.detach().T.numpy(), x.bias.detach().numpy()) for x in linear]
    mean, std = torch.randn(7), torch.rand(7) + 0.5
    action = ActionSpec(kind="continuous", size=4, low=-0.1, high=0.05)
    runtime = PolicyRuntime(
        as_artifact(layers, activation, (mean.numpy(), std.numpy(), 1.5), action)
    )
    observation = 3 * torch.randn(50, 7)
    with torch.no_grad():
        expected = network(((observation - mean) / std).clamp(-1.5, 1.5)).clamp(-0.1, 0.05).numpy()
    np.testing.assert_allclose(runtime.act(observation.numpy()), expected, atol=1e-5)
    single = np.stack([runtime.act(row) for row in observation.numpy()])
    np.testing.assert_allclose(single, expected, atol=1e-5)
    assert (expected == np.float32(0.05)).any()
    assert (expected == np.float32(-0.1)).any()


@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
def test_equals_the_deterministic_ppo_agent(discrete, normalize):
    config = PPOConfig(hidden_dims=(32, 16), normalize_observations=normalize)
    agent = PPOAgent("planner", 9, 5, config, discrete=discrete, seed=3)
    observation = 4 * torch.randn(64, 1, 9) + 1
    if normalize:
        agent.network.normalizer.update(observation[:32, 0] * torch.arange(9))
    with torch.no_grad():
        for parameter in agent.network.actor.parameters():
            parameter.mul_(3.0)
    exported = agent.export_layers()
    action = ActionSpec(kind="discrete" if discrete else "continuous", size=5)
    normalizer = (exported.mean, exported.std, exported.clip)
    runtime = PolicyRuntime(as_artifact(exported.layers, exported.activation, normalizer, action))
    chosen = agent.act(observation, None, deterministic=True).action[:, 0]
    expected = chosen if discrete else chosen.clamp(0.0, 1.0)
    assert len(np.unique(expected.numpy())) > 2
    np.testing.assert_allclose(runtime.act(observation[:, 0].numpy()), expected, atol=1e-5)


def test_does_not_touch_what_it_is_given():
    runtime = PolicyRuntime(make_artifact())
    observation = np.ones((2, runtime.observation_size), np.float32)
    runtime.act(observation)
    np.testing.assert_array_equal(observation, 1.0)


def test_wrong_length_is_named():
    with pytest.raises(ObservationError, match="observation of 3 numbers"):
        PolicyRuntime(make_artifact()).act(np.zeros(3, np.float32))


def test_what_is_not_finite_reaches_the_output():
    artifact = make_artifact()
    big = Layer(np.full_like(artifact.layers[-1].weight, 3e38), artifact.layers[-1].bias)
    runtime = PolicyRuntime(replace(artifact, layers=(*artifact.layers[:-1], big)))
    output = runtime.output(np.full(runtime.observation_size, 5.0, np.float32))
    assert not np.isfinite(output).all()
