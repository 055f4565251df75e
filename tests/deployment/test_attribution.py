"""Attribution adds up, agrees with finite differences, and finds the fields that matter."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from rl.artifacts import ActionSpec, Layer
from rl.deployment.attribution import (
    answer_of,
    attribute,
    blend_columns,
    integrate_gradients,
    occlude,
    output_gradient,
)
from rl.deployment.policy_runtime import PolicyRuntime
from tests.serving import make_artifact

SIZE = 12


def make_policy(*, activation="tanh", kind="continuous", clip=10.0, seed=0):
    base, rng = make_artifact(), np.random.default_rng(seed)
    sizes = [SIZE, 16, 16, 3]
    layers = tuple(
        Layer(
            (rng.standard_normal((i, o)) * 0.4).astype(np.float32),
            (rng.standard_normal(o) * 0.2).astype(np.float32),
        )
        for i, o in itertools.pairwise(sizes)
    )
    normalizer = base.normalizer._replace(
        mean=rng.standard_normal(SIZE).astype(np.float32),
        std=(0.5 + rng.random(SIZE)).astype(np.float32),
        clip=clip,
    )
    return replace(
        base,
        layers=layers,
        activation=activation,
        normalizer=normalizer,
        action=ActionSpec(kind=kind, size=3),
    )


def make_points(seed=1, rows=4):
    return np.random.default_rng(seed).standard_normal((rows, SIZE))


def columns(observation, reference):
    return blend_columns(observation, reference, [[j] for j in range(SIZE)])


@pytest.mark.parametrize("activation", ["tanh", "relu", "silu"])
def test_the_gradient_is_that_of_finite_differences(activation):
    policy, points = make_policy(activation=activation), make_points()
    output, gradient = output_gradient(policy, points)
    np.testing.assert_allclose(
        output, PolicyRuntime(policy).output(points.astype(np.float32)), atol=1e-4
    )
    for column in range(SIZE):
        step = np.zeros(SIZE)
        step[column] = 1e-6
        ahead, behind = (output_gradient(policy, points + s)[0] for s in (step, -step))
        np.testing.assert_allclose(gradient[..., column], (ahead - behind) / 2e-6, atol=1e-4)


def test_where_the_normaliser_clips_nothing_depends_on_the_input():
    policy, points = make_policy(clip=0.5), make_points()
    _, gradient = output_gradient(policy, points)
    scaled = (points - policy.normalizer.mean) / policy.normalizer.std
    is_clipped = np.abs(scaled) > 0.5
    assert is_clipped.any()
    assert not is_clipped.all()
    assert (np.abs(gradient).max(1)[is_clipped] == 0).all()
    assert (np.abs(gradient).max(1)[~is_clipped] > 0).all()


@pytest.mark.parametrize("activation", ["tanh", "relu", "silu"])
@pytest.mark.parametrize("clip", [10.0, 1.0])
def test_contributions_add_up_to_the_difference_of_outputs(activation, clip):
    policy = make_policy(activation=activation, clip=clip)
    observation, reference = 3.0 * make_points(rows=2)
    found, gap = integrate_gradients(policy, columns(observation, reference), SIZE)
    ends, _ = output_gradient(policy, np.stack([observation, reference]))
    assert np.abs(ends[0] - ends[1]).max() > 0.1
    np.testing.assert_allclose(found.sum(-1), ends[0] - ends[1], atol=1e-4)
    assert gap < 1e-4


def test_contributions_add_up_where_fields_share_columns():
    policy, start = make_policy(), make_points(rows=1)[0]

    def blend(shares):  # a product, a ratio and a sum of three fields
        one, two, three = (0.5 + shares).T
        mixed = np.repeat(start[None], len(shares), axis=0)
        mixed[:, 0], mixed[:, 1], mixed[:, 2] = one * two, two / three, one + three
        return mixed

    found, gap = integrate_gradients(policy, blend, 3)
    ends, _ = output_gradient(policy, blend(np.repeat([[1.0], [0.0]], 3, axis=1)))
    np.testing.assert_allclose(found.sum(-1), ends[0] - ends[1], atol=1e-4)
    assert gap < 1e-4
    assert (np.abs(found).max(0) > 1e-3).all()


def test_a_linear_policy_gives_weight_times_distance():
    policy = make_policy()
    weight = policy.layers[0].weight[:, :3]
    policy = replace(policy, layers=(Layer(weight, np.zeros(3, np.float32)),))
    observation, reference = make_points(rows=2)
    found, _ = integrate_gradients(policy, columns(observation, reference), SIZE)
    expected = ((observation - reference) / policy.normalizer.std)[:, None] * weight
    np.testing.assert_allclose(found, expected.T, atol=1e-6)


def test_a_field_at_its_reference_contributes_nothing():
    policy = make_policy()
    observation, reference = make_points(rows=2)
    reference[5] = observation[5]
    found, _ = integrate_gradients(policy, columns(observation, reference), SIZE)
    moved = occlude(answer_of(policy, columns(observation, reference)), SIZE)
    assert (found[:, 5] == 0).all()
    assert (moved[:, 5] == 0).all()


def test_the_field_that_the_policy_looks_at_comes_first():
    policy = make_policy()
    weight = np.zeros_like(policy.layers[0].weight)
    weight[7], weight[3] = 1.0, 0.05
    policy = replace(policy, layers=(Layer(weight, policy.layers[0].bias), *policy.layers[1:]))
    observation, reference = make_points(rows=2)
    groups = [[0, 1, 2], [3], [7], [8, 9]]
    found = attribute(
        policy, blend_columns(observation, reference, groups), ["a", "small", "large", "b"]
    )
    assert [one.field for one in found.effects] == ["large", "small", "a", "b"]
    assert found.effects[0].contributed > found.effects[1].contributed > 0
    assert (found.effects[2].moved, found.effects[2].contributed) == (0.0, 0.0)


def test_a_discrete_policy_moves_probabilities():
    policy = make_policy(kind="discrete")
    observation, reference = make_points(rows=2)
    moved = occlude(answer_of(policy, columns(observation, reference)), SIZE)
    np.testing.assert_allclose(moved.sum(0), 0.0, atol=1e-9)
    assert np.abs(moved).max() > 1e-3
