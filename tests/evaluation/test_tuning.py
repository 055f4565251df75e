"""Tuned experts beat untuned ones, are the same every time and see only what they are given."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rl.domains.allocation_experts import EXPERTS, ExpertParameters
from rl.evaluation.evaluator import expert_decider, play
from rl.evaluation.tuning import tune_experts

FAST = ("equal", "greedy_value")


@pytest.fixture(scope="module")
def tuned(preset):
    config, scenarios = preset
    return tune_experts(scenarios, config, names=(*FAST, "max_min"))


def test_every_expert_is_tuned_and_scored_by_play(tuned, preset):
    config, scenarios = preset
    assert list(tuned) == ["equal", "greedy_value", "max_min"]
    for name, result in tuned.items():
        decide = expert_decider(EXPERTS[name], config, result.parameters)
        assert play(config, scenarios, decide).kpi.mean() == pytest.approx(result.score)


@pytest.mark.parametrize(
    "parameters",
    [
        ExpertParameters(),
        ExpertParameters(headroom=1.25, lookback=6, urgency=0.6),
        ExpertParameters(headroom=0.9, lookback=12, urgency=0.3),
    ],
)
def test_nothing_arbitrary_is_better(tuned, preset, parameters):
    config, scenarios = preset
    for name, result in tuned.items():
        decide = expert_decider(EXPERTS[name], config, parameters)
        assert play(config, scenarios, decide).kpi.mean() <= result.score * (1 + 1e-6)


def test_no_small_step_from_the_found_parameters_is_better(tuned, preset):
    config, scenarios = preset
    for name, result in tuned.items():
        found = result.parameters
        steps = [replace(found, headroom=found.headroom + step) for step in (-0.03, 0.03)]
        steps += [
            replace(found, urgency=min(1.0, max(0.0, found.urgency + step)))
            for step in (-0.05, 0.05)
        ]
        for parameters in steps:
            decide = expert_decider(EXPERTS[name], config, parameters)
            assert play(config, scenarios, decide).kpi.mean() <= result.score * (1 + 1e-6)


def test_tuning_twice_gives_the_same(tuned, preset):
    config, scenarios = preset
    again = tune_experts(scenarios, config, names=FAST)
    assert again == {name: tuned[name] for name in FAST}


def test_parameters_follow_the_scenarios(tuned, preset):
    config, scenarios = preset
    quiet = replace(scenarios, demand=scenarios.demand * 0, history=scenarios.history * 0)
    unused = tune_experts(quiet, config, names=["equal"])["equal"].parameters
    assert unused.headroom < tuned["equal"].parameters.headroom


def test_a_short_memory_limits_the_look_back(preset):
    config, scenarios = preset
    short = replace(config, lookback=4)
    few = scenarios.take(np.arange(4))
    few = replace(few, history=few.history[:, -4:])
    tuned = tune_experts(few, short, names=FAST)
    assert all(expert.parameters.lookback <= 4 for expert in tuned.values())
