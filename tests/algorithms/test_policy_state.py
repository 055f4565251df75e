"""Tensors to bytes and back."""

from __future__ import annotations

import pytest
import torch

from rl.algorithms.policy_state import (
    StateMismatchError,
    TensorBytesError,
    load_tensors,
    save_tensors,
    take_tensor,
    under_prefix,
    with_prefix,
)

TENSORS = {"a.b": torch.arange(6.0).view(2, 3).T, "flag": torch.tensor(True)}


def test_round_trip():
    found = load_tensors(save_tensors(TENSORS))
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in TENSORS.items())


def test_same_tensors_same_bytes():
    assert save_tensors(TENSORS) == save_tensors(dict(reversed(TENSORS.items())))


@pytest.mark.parametrize("length", [0, 5, 20, -1])
def test_cut_bytes_are_refused(length):
    with pytest.raises(TensorBytesError, match="not a whole safetensors file"):
        load_tensors(save_tensors(TENSORS)[:length])


def test_pickles_are_refused():
    with pytest.raises(TensorBytesError):
        load_tensors(b"\x80\x04\x95" + b"\x00" * 40)


def test_prefixes_undo_each_other():
    joined = with_prefix("one", TENSORS) | with_prefix("other", {"flag": torch.tensor(False)})
    assert under_prefix("one", joined).keys() == TENSORS.keys()
    assert not under_prefix("other", joined)["flag"]
    assert under_prefix("on", joined) == {}


@pytest.mark.parametrize("like", [torch.zeros(2, 3), torch.zeros(3, 2, dtype=torch.float64)])
def test_a_tensor_of_another_kind_is_refused(like):
    with pytest.raises(StateMismatchError, match=r"a\.b was saved as torch.float32 \(3, 2\)"):
        take_tensor(TENSORS, "a.b", like)
