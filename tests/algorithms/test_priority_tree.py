"""Prioritised draws: frequencies, sums, weights."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.algorithms.host_priority_tree import HostPriorityTree
from rl.algorithms.priority_config import PriorityConfig
from rl.algorithms.priority_tree import PriorityTree, importance_weights
from rl.algorithms.replay_buffer import ReplayBuffer
from tests.algorithms.replay_streams import Stream
from utils.errors import ConfigError

CPU = torch.device("cpu")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def trees(size: int) -> list[PriorityTree | HostPriorityTree]:
    return [PriorityTree(size, CPU), HostPriorityTree(size)]


def tree_of(priorities: list[float], *, on_host: bool = True) -> PriorityTree | HostPriorityTree:
    tree = trees(len(priorities))[on_host]
    tree.set(torch.arange(len(priorities)), torch.tensor(priorities, dtype=torch.float64))
    return tree


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 1e-6, 0.3, 1.0, 50.0]), min_size=1, max_size=300).filter(any),
    st.integers(0, 10**6),
    st.booleans(),
)
def test_stratified_draws_match_priorities(priorities, seed, on_host):
    tree = tree_of(priorities, on_host=on_host)
    draws = 1000
    position, priority = tree.draw(draws, generator(seed))
    expected = torch.tensor(priorities, dtype=torch.float64)
    assert torch.equal(priority, expected[position])
    assert (priority > 0.0).all()
    assert position.equal(position.sort().values)
    # One draw from each of 1000 equal shares: a run of shares can miss by one at either end.
    count = torch.bincount(position, minlength=len(priorities))
    assert ((count - draws * expected / expected.sum()).abs() <= 2.0).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 199), st.floats(0.0, 100.0)), min_size=1, max_size=400))
def test_the_total_is_the_sum_after_any_changes(changes):
    for tree in trees(200):
        expected = torch.zeros(200, dtype=torch.float64)
        for position, priority in changes:
            tree.set(torch.tensor([position]), torch.tensor([priority], dtype=torch.float64))
            expected[position] = priority
        assert torch.equal(tree.priorities[:200], expected)
        assert float(tree.total()) == pytest.approx(float(expected.sum()))


@pytest.mark.parametrize("on_host", [False, True])
def test_a_position_named_twice_counts_once(on_host):
    tree = tree_of([1.0, 1.0], on_host=on_host)
    tree.set(torch.tensor([1, 1]), torch.tensor([3.0, 3.0]))
    assert float(tree.total()) == 4.0


def test_sums_do_not_tell_in_what_order_priorities_came():
    priority = torch.rand(300, generator=generator(), dtype=torch.float64)
    for at_once, one_by_one in zip(trees(300), trees(300), strict=True):
        at_once.set(torch.arange(300), priority)
        for position in torch.randperm(300, generator=generator()).split(1):
            one_by_one.set(position, priority[position])
        assert torch.equal(at_once.total(), one_by_one.total())
        ours, theirs = (tree.draw(64, generator(1)) for tree in (at_once, one_by_one))
        assert torch.equal(ours[0], theirs[0])


def test_both_trees_draw_the_same_out_of_many():
    size = 200_000
    priority = torch.rand(size, generator=generator(), dtype=torch.float64)
    priority[torch.rand(size, generator=generator(1)) < 0.5] = 0.0
    changed = torch.randint(size, (500,), generator=generator(2))
    drawn = []
    for tree in trees(size):
        tree.set(torch.arange(size), priority)
        tree.set(changed, torch.full((500,), 5.0, dtype=torch.float64))
        expected = priority.index_fill(0, changed, 5.0)
        assert float(tree.total()) == pytest.approx(float(expected.sum()))
        drawn.append(tree.draw(1000, generator(3)))
    assert len(trees(size)[True]._groups) == 2
    assert torch.equal(drawn[0][0], drawn[1][0])
    assert torch.equal(drawn[0][1], drawn[1][1])


def test_weights_undo_the_preference():
    priority = torch.tensor([1.0, 2.0, 4.0])
    assert importance_weights(priority, 1.0).tolist() == [1.0, 0.5, 0.25]
    assert importance_weights(priority, 0.5).tolist() == pytest.approx([1.0, 0.5**0.5, 0.5])
    assert importance_weights(priority, 0.0).tolist() == [1.0, 1.0, 1.0]
    # The textbook's form: (N P)^-beta over its largest.
    full = (3 * priority / priority.sum()) ** -0.4
    assert torch.allclose(importance_weights(priority, 0.4), full / full.max())


def test_the_correction_grows_to_its_end():
    config = PriorityConfig(beta=0.4, final_beta=1.0, beta_batches=10)
    assert [config.beta_at(n) for n in (0, 5, 10, 99)] == pytest.approx([0.4, 0.7, 1.0, 1.0])


@pytest.mark.parametrize(
    "settings_",
    [{"alpha": 2.0}, {"beta": -0.1}, {"beta": 0.9, "final_beta": 0.5}, {"epsilon": 0.0}],
)
def test_settings_out_of_range_are_refused(settings_):
    with pytest.raises(ConfigError):
        PriorityConfig(**settings_)


def prioritised(count: int, capacity: int = 64) -> tuple[ReplayBuffer, list]:
    config = PriorityConfig(alpha=0.5, beta=1.0, epsilon=1e-12)
    buffer = ReplayBuffer(capacity=capacity, gamma=0.9, priority=config)
    steps = Stream(num_envs=1, num_agents=1, end_probability=0.3).steps(count)
    for step in steps:
        buffer.add(step)
    return buffer, steps


def test_errors_become_priorities_and_new_steps_get_the_largest():
    buffer, steps = prioritised(4)
    buffer.update_priorities(torch.arange(4), torch.tensor([0.0, -1.0, 4.0, 16.0]))
    assert buffer.state_dict()["priority"].tolist() == pytest.approx([1e-6, 1.0, 2.0, 4.0, 0.0])
    buffer.add(steps[3]._replace(observation=steps[3].next_observation))
    assert buffer.state_dict()["priority"][4] == pytest.approx(4.0)


def mean_estimate(buffer: ReplayBuffer, *, weighted: bool) -> float:
    """Estimate the mean of the indices from one large prioritised batch."""
    batch = buffer.sample(20_000, generator())
    weight = batch.weight if weighted else torch.ones_like(batch.weight)
    return float((weight * batch.index).sum() / weight.sum())


def test_weights_make_averages_those_of_uniform_draws():
    buffer, _ = prioritised(32)
    buffer.update_priorities(torch.arange(32), torch.arange(1, 33).square().float())
    mean = sum(range(32)) / 32
    assert mean_estimate(buffer, weighted=True) == pytest.approx(mean, abs=0.1)
    forgotten = mean_estimate(buffer, weighted=False)
    assert abs(forgotten - mean) > 3.0, "planted fault: importance weights forgotten"


def test_overwritten_steps_lose_their_priority_and_the_unfinished_one_has_none():
    buffer, steps = prioritised(20, capacity=5)
    first = buffer.sample(50, generator())
    assert len(set(first.index.tolist())) == 5
    buffer.update_priorities(first.index, torch.full((50,), 1e6))
    extra = Stream(num_envs=1, num_agents=1, end_probability=0.3, seed=1).steps(3)
    for step in extra:
        buffer.add(step)
    # What was drawn before may now be the row whose step is still to come.
    buffer.update_priorities(first.index, torch.full((50,), 1e6))
    assert int((buffer.state_dict()["priority"] == 0.0).sum()) == 1
    kept = {float(s.observation[0, 0, 0]) for s in [*steps[-2:], *extra]}
    batch = buffer.sample(100, generator())
    assert set(batch.observation[:, 0, 0].tolist()) == kept


def test_uniform_replay_ignores_errors():
    buffer = ReplayBuffer(capacity=5, gamma=0.9)
    buffer.add(Stream().steps(1)[0])
    batch = buffer.sample(3, generator())
    buffer.update_priorities(batch.index, torch.ones(3))
    assert batch.weight.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_errors_that_are_not_finite_keep_draws_within_the_tree(broken):
    """On a device a draw out of bounds would end the process before the loss can be looked at."""
    tree = PriorityTree(100, torch.device("cpu"))
    tree.set(torch.arange(100), torch.ones(100))
    tree.set(torch.tensor([70, 99]), torch.tensor([broken, broken]))
    position, priority = tree.draw(64, generator())
    assert position.max() < 99
    assert torch.equal(priority, torch.ones(64, dtype=torch.float64))
    tree.set(torch.arange(100), torch.full((100,), broken))
    assert (tree.draw(64, generator())[0] < 100).all()
