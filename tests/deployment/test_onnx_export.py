"""The ONNX model against the NumPy runtime: shapes, activations, heads, edges."""

from __future__ import annotations

import importlib
import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.artifacts import ActionSpec, Layer, Normalizer, PolicyArtifact
from rl.deployment.onnx_export import export_onnx
from rl.deployment.policy_runtime import PolicyRuntime
from tests.serving import make_artifact, make_card
from utils.errors import ConfigError

onnxruntime = pytest.importorskip("onnxruntime", reason="pip install -r requirements-onnx.txt")
TOLERANCE = 1e-5
SHIPPED = sorted((Path(__file__).parents[2] / "shipped").glob("*.safetensors"))


@st.composite
def policies(draw) -> PolicyArtifact:
    sizes = draw(st.lists(st.integers(1, 70), min_size=2, max_size=5))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def normal(*shape: int) -> np.ndarray:
        return generator.standard_normal(shape).astype(np.float32)

    low = draw(st.floats(-3.0, 1.0))
    return PolicyArtifact(
        layers=tuple(
            Layer((normal(i, o) / np.sqrt(i)).astype(np.float32), normal(o))
            for i, o in itertools.pairwise(sizes)
        ),
        activation=draw(st.sampled_from(["tanh", "relu", "silu"])),
        normalizer=Normalizer(
            normal(sizes[0]),
            np.exp(normal(sizes[0])),
            draw(st.floats(0.5, 10.0) | st.just(3.4e38) | st.just(1e300)),
        ),
        action=ActionSpec(
            kind=draw(st.sampled_from(["continuous", "squashed", "discrete"])),
            size=sizes[-1],
            low=low,
            high=low + draw(st.floats(0.1, 3.0)),
        ),
        domain="any",
        domain_config="{}",
        card=make_card(),
    )


def play(artifact, observation):
    session = onnxruntime.InferenceSession(export_onnx(artifact))
    return session.run(["action", "output"], {"observation": observation})


def check(artifact, observation):
    runtime = PolicyRuntime(artifact)
    action, output = play(artifact, observation)
    expected = runtime.output(observation)
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(output, expected, rtol=0, atol=TOLERANCE * scale)
    chosen = runtime.choose(expected)
    assert action.shape == chosen.shape
    if artifact.action.kind == "discrete":  # a tie within rounding may go either way
        rows = np.arange(len(expected))
        assert (expected[rows, action] >= expected.max(1) - 2 * TOLERANCE * scale).all()
    else:
        np.testing.assert_allclose(action, chosen, rtol=0, atol=TOLERANCE * scale)


@given(policies(), st.integers(1, 9), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_equals_the_numpy_runtime(artifact, rows, seed):
    shape = rows, artifact.observation_size
    observation = 3 * np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    check(artifact, observation)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_policies_that_come_along_are_equal_too(path):
    artifact = PolicyArtifact.from_bytes(path.read_bytes())
    mean, std, _ = artifact.normalizer
    draws = np.random.default_rng(0).standard_normal((256, artifact.observation_size))
    check(artifact, (mean + 2 * std * draws).astype(np.float32))


@pytest.mark.parametrize("kind", ["continuous", "squashed"])
def test_actions_reach_both_ends_of_their_range(kind):
    artifact = make_artifact(scale=2.0)
    action = replace(artifact.action, kind=kind, low=-0.25, high=1.5)
    observation = np.random.default_rng(1).standard_normal((200, artifact.observation_size))
    artifact = replace(artifact, action=action)
    check(artifact, observation.astype(np.float32))
    chosen, _ = play(artifact, observation.astype(np.float32))
    assert chosen.min() == pytest.approx(-0.25, abs=1e-3)
    assert chosen.max() == pytest.approx(1.5, abs=1e-3)


def test_says_what_it_is():
    artifact = make_artifact()
    told = onnxruntime.InferenceSession(export_onnx(artifact)).get_modelmeta()
    about = told.custom_metadata_map
    assert about["artifact_sha256"] == artifact.sha256
    assert about["domain_config"] == artifact.domain_config
    assert json.loads(about["card"])["commit"] == artifact.card.commit
    assert told.producer_name == "quartermaster"


def test_the_same_policy_gives_the_same_bytes():
    assert export_onnx(make_artifact()) == export_onnx(make_artifact())


def test_without_the_package_it_says_what_to_install(monkeypatch):
    def nothing(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", nothing)
    with pytest.raises(ConfigError, match=r"pip install -r requirements-onnx\.txt"):
        export_onnx(make_artifact())
