"""Adam without torch's class around it."""

from __future__ import annotations

import pytest
import torch

from rl.algorithms.policy_state import StateMismatchError, load_tensors, save_tensors
from rl.algorithms.vector_adam import VectorAdam


@pytest.mark.parametrize("size", [(), (1,), (1000,)])
def test_it_steps_as_torchs_class_does(size):
    start = torch.randn(size)
    theirs, ours = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    reference = torch.optim.Adam([theirs], lr=3e-3, fused=True)
    optimizer = VectorAdam(ours, learning_rate=3e-3)
    for _ in range(20):
        theirs.grad = torch.randn(size)
        reference.step()
        optimizer.step(theirs.grad)
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, start)
    expected = reference.state[theirs]
    found = optimizer.state_dict()
    assert {name.removeprefix("0.") for name in found} == set(expected)
    assert all(torch.equal(found[f"0.{name}"], moment) for name, moment in expected.items())


def test_it_goes_on_from_a_saved_state():
    vector = torch.ones(7)
    optimizer = VectorAdam(vector, learning_rate=0.1)
    gradients = torch.randn(6, 7)
    for gradient in gradients[:3]:
        optimizer.step(gradient)
    copy = vector.clone()
    late = VectorAdam(copy, learning_rate=0.1)
    late.load_state_dict(load_tensors(save_tensors(optimizer.state_dict())))
    for gradient in gradients[3:]:
        optimizer.step(gradient)
        late.step(gradient)
    assert torch.equal(copy, vector)
    with pytest.raises(StateMismatchError, match="exp_avg was saved as"):
        VectorAdam(torch.ones(8), learning_rate=0.1).load_state_dict(late.state_dict())
