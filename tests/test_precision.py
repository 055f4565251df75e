"""Weights in fewer bits: how near they stay, that they survive storage, what they cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import load

from rl.artifacts import Layer, PolicyArtifact
from rl.precision import SMALLEST, pack_weight, round_weight, unpack_weight
from tests.serving import make_artifact
from utils.errors import ConfigError
from utils.persistence.errors import ArtifactCorruptError

REDUCED = ("float16", "int8")
SHIPPED = Path(__file__).parents[1] / "shipped" / "resource_allocator.safetensors"
weights = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    elements=st.floats(-(2.0**120), 2.0**120, width=32),
)


@given(weights)
@settings(max_examples=200)
def test_int8_is_within_half_a_step_of_each_channel_and_survives(weight):
    rounded = round_weight(weight, "int8")
    step = np.abs(weight).max(0).astype(np.float64) / 127
    assert (np.abs(rounded - weight.astype(np.float64)) <= 0.502 * step + SMALLEST).all()
    np.testing.assert_array_equal(round_weight(rounded, "int8"), rounded)
    packed = pack_weight("w", rounded, "int8")
    assert packed["w"].dtype == np.int8
    assert np.abs(packed["w"].astype(int)).max() <= 127
    np.testing.assert_array_equal(unpack_weight("w", packed, "int8"), rounded)
    scale = packed["w_scale"]  # a product that float32 holds exactly divides back exactly
    np.testing.assert_array_equal(scale * np.float32(127), scale.astype(np.float64) * 127)


def test_a_small_channel_beside_a_large_one_keeps_its_own_scale():
    weight = np.outer(np.linspace(-1, 1, 9), [1000.0, 0.001]).astype(np.float32)
    rounded = round_weight(weight, "int8")
    np.testing.assert_allclose(rounded, weight, rtol=0.02, atol=0)


@given(st.floats(-65504, 65504, width=32))
def test_float16_is_the_nearest_and_survives(value):
    weight = np.array([[value]], np.float32)
    rounded = round_weight(weight, "float16")
    assert abs(rounded[0, 0] - weight[0, 0]) <= max(abs(value) * 2.0**-11, 2.0**-25)
    packed = pack_weight("w", rounded, "float16")
    np.testing.assert_array_equal(unpack_weight("w", packed, "float16"), rounded)


@pytest.mark.parametrize("precision", REDUCED)
def test_a_reduced_policy_survives_storage_and_is_smaller(precision):
    whole = PolicyArtifact.from_bytes(SHIPPED.read_bytes())
    artifact = whole.with_precision(precision)
    content = artifact.to_bytes()
    again = PolicyArtifact.from_bytes(content)
    assert again.precision == precision
    assert again.to_bytes() == content
    assert again.sha256 == artifact.sha256 != whole.sha256
    for ours, theirs in zip(again.layers, artifact.layers, strict=True):
        np.testing.assert_array_equal(ours.weight, theirs.weight)
        np.testing.assert_array_equal(ours.bias, theirs.bias)
    stored = {name: values.dtype for name, values in load(content).items()}
    assert stored["layers.0.weight"] == np.dtype(precision)
    assert stored["layers.0.bias"] == stored["normalizer.std"] == np.float32


def test_whole_policies_keep_their_bytes():
    content = SHIPPED.read_bytes()
    artifact = PolicyArtifact.from_bytes(content)
    assert artifact.precision == "float32"
    assert artifact.to_bytes() == content


@pytest.mark.parametrize("precision", REDUCED)
def test_any_flipped_bit_is_noticed(precision):
    content = make_artifact().with_precision(precision).to_bytes()
    for bit in np.random.default_rng(0).integers(0, 8 * len(content), 200).tolist():
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ArtifactCorruptError):
            PolicyArtifact.from_bytes(bytes(damaged))


@pytest.mark.parametrize("precision", REDUCED)
def test_weights_that_the_precision_cannot_hold_are_refused(precision):
    with pytest.raises(ConfigError, match="with_precision"):
        replace(make_artifact(), precision=precision)


def test_weights_beyond_float16_are_refused():
    artifact = make_artifact()
    layer = Layer(artifact.layers[0].weight * np.float32(1e7), artifact.layers[0].bias)
    artifact = replace(artifact, layers=(layer, *artifact.layers[1:]))
    with pytest.raises(ConfigError, match="choose int8"):
        artifact.with_precision("float16")
    artifact.with_precision("int8")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"w": np.zeros((2, 3), np.float32)}, "holds float32"),
        ({"w_scale": np.zeros(2, np.float32)}, "one float32 scale"),
        ({"w_scale": np.zeros(3, np.float64)}, "one float32 scale"),
    ],
)
def test_arrays_of_another_precision_are_refused(change, problem):
    packed = pack_weight("w", np.zeros((2, 3), np.float32), "int8")
    with pytest.raises(ValueError, match=problem):
        unpack_weight("w", {**packed, **change}, "int8")
