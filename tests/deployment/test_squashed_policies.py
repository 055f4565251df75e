"""Policies of SAC and TD3 play the same in NumPy as in torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rl.algorithms.sac_agent import SACAgent
from rl.algorithms.sac_config import SACConfig
from rl.algorithms.td3_agent import TD3Agent
from rl.algorithms.td3_config import TD3Config
from rl.artifacts import ActionSpec, Layer, Normalizer, PolicyArtifact
from rl.deployment.policy_runtime import PolicyRuntime
from tests.serving import make_card

both = pytest.mark.parametrize(
    ("agent", "config"), [(SACAgent, SACConfig), (TD3Agent, TD3Config)], ids=["sac", "td3"]
)


def exported(agent, action):
    layers = agent.export_layers()
    assert layers.output_activation == "tanh"
    return PolicyArtifact(
        layers=tuple(Layer(*layer) for layer in layers.layers),
        activation=layers.activation,
        normalizer=Normalizer(layers.mean, layers.std, layers.clip),
        action=action,
        domain="other",
        domain_config="{}",
        card=make_card(),
    )


def trained(agent, config, low, high):
    made = agent("a", 7, 4, config(hidden_dims=(32, 16)), seed=3, action_low=low, action_high=high)
    with torch.no_grad():
        made.actor.network.vector.mul_(2.0)
    return made


@both
@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 1.0), (-3.0, 5.0)])
def test_equals_the_deterministic_agent(agent, config, low, high):
    made = trained(agent, config, low, high)
    artifact = exported(made, ActionSpec(kind="squashed", size=4, low=low, high=high))
    runtime = PolicyRuntime(PolicyArtifact.from_bytes(artifact.to_bytes()))
    observation = 3.0 * torch.randn(64, 1, 7, generator=torch.Generator().manual_seed(1))
    chosen = made.act(observation, None, deterministic=True).action[:, 0].numpy()
    assert chosen.std() > 0.1
    played = runtime.act(observation[:, 0].numpy())
    assert played.dtype == np.float32
    np.testing.assert_allclose(played, chosen, atol=1e-6 * (high - low))


@both
def test_planted_fault_without_the_tanh_the_actions_differ(agent, config):
    made = trained(agent, config, -1.0, 1.0)
    runtime = PolicyRuntime(exported(made, ActionSpec(kind="continuous", size=4, low=-1.0)))
    observation = torch.randn(64, 1, 7, generator=torch.Generator().manual_seed(1))
    chosen = made.act(observation, None, deterministic=True).action[:, 0].numpy()
    assert np.abs(runtime.act(observation[:, 0].numpy()) - chosen).max() > 0.01
