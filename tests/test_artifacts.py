"""The blob that leaves training: round trip, address, and every way it can be damaged."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import load, save

from rl.artifacts import (
    METADATA_KEY,
    ActionSpec,
    Layer,
    Normalizer,
    PolicyArtifact,
)
from tests.serving import make_artifact, make_card
from utils.errors import ConfigError
from utils.persistence.errors import ArtifactCorruptError

NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False)
BLOB = make_artifact().to_bytes()


def float_arrays(*shape: int, elements: st.SearchStrategy[float] = NUMBERS):
    return arrays.arrays(np.float32, shape, elements=elements)


@st.composite
def artifacts(draw) -> PolicyArtifact:
    sizes = draw(st.lists(st.integers(1, 5), min_size=2, max_size=4))
    layers = tuple(
        Layer(draw(float_arrays(i, o)), draw(float_arrays(o))) for i, o in itertools.pairwise(sizes)
    )
    positive = st.floats(2.0**-10, 1e6, width=32)
    return PolicyArtifact(
        layers=layers,
        activation=draw(st.sampled_from(["tanh", "relu", "silu"])),
        normalizer=Normalizer(
            draw(float_arrays(sizes[0])),
            draw(float_arrays(sizes[0], elements=positive)),
            draw(st.floats(0.5, 3.4e38)),
        ),
        action=ActionSpec(kind=draw(st.sampled_from(["continuous", "discrete"])), size=sizes[-1]),
        domain=draw(st.text()),
        domain_config=json.dumps({"note": draw(st.text())}),
        card=replace(make_card(), data=draw(st.text()), bound=draw(st.none() | st.floats(0, 1e9))),
    )


def write_with_version(artifact, version):
    content = artifact.to_bytes()
    size = int.from_bytes(content[:8], "little")
    seal = json.loads(json.loads(content[8 : 8 + size])["__metadata__"][METADATA_KEY])
    found = json.loads(seal["document"])["schema_version"]
    old, new = (f'"schema_version": {one}' for one in (found, version))
    seal["document"] = seal["document"].replace(old, new)
    return save(load(content), metadata={METADATA_KEY: json.dumps(seal)})


@given(artifacts())
@settings(max_examples=50)
def test_round_trip_keeps_everything(artifact):
    content = artifact.to_bytes()
    again = PolicyArtifact.from_bytes(content)
    assert again.to_bytes() == content
    assert again.sha256 == artifact.sha256
    assert again.card == artifact.card
    assert (again.domain, again.domain_config) == (artifact.domain, artifact.domain_config)
    assert (again.activation, again.action) == (artifact.activation, artifact.action)
    assert again.normalizer.clip == artifact.normalizer.clip
    for ours, theirs in zip(again.layers, artifact.layers, strict=True):
        np.testing.assert_array_equal(ours.weight, theirs.weight)
        np.testing.assert_array_equal(ours.bias, theirs.bias)


@given(st.integers(0, len(BLOB) * 8 - 1))
@settings(max_examples=400)
def test_any_flipped_bit_is_noticed(bit):
    damaged = bytearray(BLOB)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ArtifactCorruptError, match=r"fetch it again|schema version"):
        PolicyArtifact.from_bytes(bytes(damaged))


@pytest.mark.parametrize("size", [0, 4, 8, 100, len(BLOB) // 2, len(BLOB) - 1])
def test_a_cut_file_is_noticed(size):
    with pytest.raises(ArtifactCorruptError, match="fetch it again"):
        PolicyArtifact.from_bytes(BLOB[:size])


@pytest.mark.parametrize(("precision", "version"), [("float32", 2), ("float32", 3), ("int8", 1)])
def test_another_schema_version_says_what_to_do(precision, version):
    other = write_with_version(make_artifact().with_precision(precision), version)
    with pytest.raises(ArtifactCorruptError, match=rf"schema version {version}.*export"):
        PolicyArtifact.from_bytes(other)


def test_a_safetensors_file_of_something_else_is_refused():
    with pytest.raises(ArtifactCorruptError):
        PolicyArtifact.from_bytes(save({"weight": np.zeros(3, np.float32)}))


def test_the_address_is_the_same_in_another_process():
    program = "from tests.serving import make_artifact; print(make_artifact().sha256)"
    command = [sys.executable, "-c", program]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == make_artifact().sha256


@pytest.mark.parametrize(
    "change",
    [
        {"layers": ()},
        {"layers": make_artifact().layers[1:]},
        {"layers": (make_artifact().layers[0], make_artifact().layers[0])},
        {"action": ActionSpec(kind="continuous", size=3)},
        {"normalizer": make_artifact().normalizer._replace(clip=0.0)},
        {"normalizer": make_artifact().normalizer._replace(std=make_artifact().normalizer.std * 0)},
    ],
)
def test_parts_that_do_not_fit_are_refused(change):
    with pytest.raises(ConfigError):
        replace(make_artifact(), **change)


def test_weights_that_are_no_numbers_are_refused():
    layer = make_artifact().layers[0]
    broken = Layer(np.full_like(layer.weight, np.nan), layer.bias)
    with pytest.raises(ConfigError, match=r"layers\.0\.weight"):
        replace(make_artifact(), layers=(broken, *make_artifact().layers[1:]))


def test_share_of_the_gap():
    assert make_card().gap_closed_fraction == pytest.approx(0.25)
    assert replace(make_card(), bound=None).gap_closed_fraction is None
    assert replace(make_card(), bound=80.0).gap_closed_fraction is None
