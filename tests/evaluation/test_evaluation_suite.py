"""The suite judges everybody alike, and nothing that learns is changed by it."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch

from rl.evaluation.disturbances import SightConfig
from rl.evaluation.entrants import Entrant, play_runs
from rl.evaluation.evaluation_suite import RLEvaluationSuite, SuiteConfig
from rl.evaluation.generalisation import generalisation_grid, stress_set
from rl.evaluation.judging import JudgingConfig
from rl.evaluation.opponents import Opponents
from rl.evaluation.players import undisturbed
from rl.evaluation.resampling import Resampling
from rl.evaluation.suite_markdown import format_evaluation
from rl.evaluation.suite_results import EvaluationReport
from tests.evaluation.portfolio_suite import (
    CASH,
    CHANCE,
    CONTEST,
    EQUAL,
    make_environment,
    make_ppo,
    make_set,
)
from utils.config import from_json, to_json
from utils.errors import ConfigError

CONFIG = SuiteConfig(
    judging=JudgingConfig(resampling=Resampling(num_resamples=200), success_kpi=0.0),
    sight=SightConfig(noise_levels=(0.1, 3.0), dropped_shares=(0.25,)),
)


@pytest.fixture(scope="module")
def agents():
    return Entrant(name="learner", kind="agent", policies=(make_ppo(0), make_ppo(1)))


@pytest.fixture(scope="module")
def report(agents):
    held_out = make_set()
    suite = RLEvaluationSuite(CONTEST, (agents, EQUAL, CASH, CHANCE), CONFIG)
    return suite.run(
        held_out,
        stress=(stress_set(held_out, "crisis_volatility"),),
        grid=generalisation_grid(held_out, (0.5, 2.0)),
        opponents=(Opponents(entrant=CHANCE, judged_seats=(1,)),),
    )


def test_rows_say_what_a_single_play_says(report, agents):
    played = [CONTEST.play_policy(policy, make_set()).kpi for policy in agents.policies]
    row = report.standard.row("learner")
    assert row.num_runs == 2
    assert row.kpi.mean.value == pytest.approx(np.mean(played), abs=1e-12)
    assert row.cvar_95.value is not None
    assert row.cvar_99.value is None
    share = row.success.share
    assert share.value == pytest.approx(np.mean(np.stack(played) >= 0))
    assert share.num_episodes == 24


def test_the_best_expert_is_the_reference_and_leads_are_paired(report):
    standard = report.standard
    experts = {name: standard.row(name).kpi.mean.value for name in ("equal", "cash")}
    assert standard.reference == max(experts, key=experts.get)
    assert standard.row(standard.reference).lead is None
    for row in standard.rows:
        if row.lead is not None:
            gap = row.kpi.mean.value - experts[standard.reference]
            assert row.lead.difference.value == pytest.approx(gap)
            assert 0 <= row.lead.probability_of_improvement.value <= 1
    means = [row.kpi.mean.value for row in standard.rows]
    assert means == sorted(means)


def test_cash_earns_nothing_in_any_trouble_and_holders_lose_in_a_crisis(report):
    for cell in report.grid:
        changes = {change.name: change.difference.value for change in cell.changes}
        assert changes["cash"] == 0.0
        gap = cell.result.row("equal").kpi.mean.value - report.standard.row("equal").kpi.mean.value
        assert changes["equal"] == pytest.approx(gap)
    worse = [one.difference.value for cell in report.grid for one in cell.changes[1:2]]
    assert worse[1] < worse[0] < 0


def test_sight_is_disturbed_for_policies_only_and_more_noise_does_more(report):
    assert {one.change.name for one in report.sight} == {"learner"}
    low, high, dropped = report.sight
    assert (low.noise_level, high.noise_level, dropped.noise_level) == (0.1, 3.0, 0.0)
    width = [one.change.difference.high - one.change.difference.low for one in (low, high)]
    assert 0 < width[0] < width[1]
    assert dropped.dropped_features
    assert dropped.change.difference.value != 0.0


def test_sight_can_be_left_clear(agents):
    suite = RLEvaluationSuite(CONTEST, (agents,), replace(CONFIG, sight=None))
    assert suite.run(make_set(4)).sight == ()


def test_the_report_is_frozen_json_and_readable(report):
    with pytest.raises(FrozenInstanceError):
        report.level = 0.5
    text = json.dumps(to_json(report), allow_nan=False)
    assert from_json(EvaluationReport, json.loads(text)) == report
    page = format_evaluation(report, "Who invests best?")
    for words in (
        "# Who invests best?",
        "## Stress: held_out/crisis_volatility@1",
        "crisis volatility | 2 |",
        "## Against chance, on seats 1",
        "KPI: mean return of the agents per episode.",
        "CVaR 99: 24 episodes hold no worst 1%; play 100 or more.",
        "constraints: the world has no constraints.",
    ):
        assert words in page
    assert "nan" not in page
    for line in page.splitlines():
        if line.startswith("| "):
            assert line.endswith(" |")


def test_the_same_suite_finds_the_same_again(report, agents):
    held_out = make_set()
    again = RLEvaluationSuite(CONTEST, (agents, EQUAL, CASH, CHANCE), CONFIG).run(
        held_out,
        stress=(stress_set(held_out, "crisis_volatility"),),
        grid=generalisation_grid(held_out, (0.5, 2.0)),
        opponents=(Opponents(entrant=CHANCE, judged_seats=(1,)),),
    )
    assert again == report


def assert_same(before, after):
    assert set(before) == set(after)
    for name in before:
        assert torch.equal(before[name], after[name]), name


@pytest.mark.parametrize("memory", [0, 6])
def test_nothing_that_learns_is_changed(memory):
    """Bit for bit: weights, normaliser, generators, memory, the world in mid-episode, chance."""
    policy, opponent = make_ppo(0, memory), make_ppo(1, memory)
    training = make_environment(make_set(4, seed=9).scenarios)
    record = training.reset()
    for _ in range(5):
        sample = policy.act(record.observation, record.action_mask, deterministic=False)
        record = training.step(sample.action)
    before = policy.state_dict(), opponent.state_dict(), training.state_dict()
    chance = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    held_out = make_set(6)
    hashed = held_out.sha256
    suite = RLEvaluationSuite(
        CONTEST, (Entrant(name="learner", kind="agent", policies=(policy,)), EQUAL), CONFIG
    )
    other = Entrant(name="other", kind="agent", policies=(opponent,))
    suite.run(
        held_out,
        grid=generalisation_grid(held_out, (1.0,)),
        opponents=(Opponents(entrant=other, judged_seats=(0,)),),
    )
    after = policy.state_dict(), opponent.state_dict(), training.state_dict()
    for one, two in zip(before, after, strict=True):
        assert_same(one, two)
    assert torch.equal(chance[0], torch.get_rng_state())
    assert np.array_equal(chance[1], np.random.get_state()[1])  # noqa: NPY002
    assert replace(held_out).sha256 == hashed


def test_a_policy_with_a_memory_begins_every_set_without_one():
    policy = make_ppo(0, memory=6)
    entrant = Entrant(name="learner", kind="agent", policies=(policy,))
    held_out = make_set(6)
    first, again = (play_runs(CONTEST, entrant, held_out)[0].kpi for _ in range(2))
    assert np.array_equal(first, again)
    player = CONTEST.policy_player(policy)
    with undisturbed(policy, 6):
        carried = [CONTEST.play(player, held_out).kpi for _ in range(2)]
    assert np.array_equal(carried[0], first)
    assert not np.array_equal(carried[1], first), "the memory of the first play is seen"


def test_a_memory_of_training_is_neither_seen_nor_lost_by_a_contest():
    """Nor by a set of another size, which the memory of training does not even fit."""
    policy, fresh = make_ppo(0, memory=6), make_ppo(0, memory=6)
    world = make_environment(make_set(5).scenarios)
    policy.act(world.reset().observation, None, deterministic=False)
    kept = policy.memory.clone()
    for episodes in (make_set(6), make_set(5), make_set(6)):
        expected = CONTEST.play_policy(fresh, episodes).kpi
        assert np.array_equal(CONTEST.play_policy(policy, episodes).kpi, expected)
    assert torch.equal(policy.memory, kept)
    assert fresh.memory is None


def test_opponents_play_their_seats_and_only_the_judged_ones_count():
    """Investors do not touch one another, so a seat's score tells who sat on it."""
    suite = RLEvaluationSuite(CONTEST, (EQUAL, CASH), CONFIG)
    held_out = make_set()
    alone = suite.judge(held_out)
    against = suite.judge_against(Opponents(entrant=CHANCE, judged_seats=(1,)), held_out)
    for name in ("equal", "cash"):
        row = against.result.row(name)
        assert row.kpi.mean.value == pytest.approx(alone.row(name).kpi.mean.value)
        figures = {figure.name: figure.mean.value for figure in row.figures}
        assert figures["kpi_of_all"] != pytest.approx(row.kpi.mean.value)
    swapped = suite.judge_against(Opponents(entrant=CASH, judged_seats=(0,)), held_out)
    figures = {f.name: f.mean.value for f in swapped.result.row("equal").figures}
    assert figures["kpi_of_all"] == pytest.approx(alone.row("equal").kpi.mean.value / 2)


def test_every_run_meets_an_opponent_with_a_memory_afresh():
    opponent = Entrant(name="other", kind="agent", policies=(make_ppo(1, memory=6),))
    same = make_ppo(0)
    twice = Entrant(name="learner", kind="agent", policies=(same, same))
    suite = RLEvaluationSuite(CONTEST, (twice,), CONFIG)
    result = suite.judge_against(Opponents(entrant=opponent, judged_seats=(0,)), make_set(6))
    once = RLEvaluationSuite(
        CONTEST, (Entrant(name="learner", kind="agent", policies=(same,)),), CONFIG
    ).judge_against(Opponents(entrant=opponent, judged_seats=(0,)), make_set(6))
    rows = [one.result.row("learner") for one in (result, once)]
    assert rows[0].figures == rows[1].figures


def test_what_does_not_fit_is_refused(agents):
    suite = RLEvaluationSuite(CONTEST, (agents, EQUAL), CONFIG)
    for seats in ((), (0, 1), (2,), (0, 0)):
        with pytest.raises(ConfigError, match="judged_seats"):
            suite.judge_against(Opponents(entrant=CASH, judged_seats=seats), make_set(4))
    with pytest.raises(ConfigError, match="would meet itself"):
        suite.judge_against(Opponents(entrant=agents, judged_seats=(0,)), make_set(4))
    with pytest.raises(ConfigError, match="every one another name"):
        RLEvaluationSuite(CONTEST, (EQUAL, EQUAL))
    with pytest.raises(ConfigError, match="at least one entrant"):
        RLEvaluationSuite(CONTEST, ())
    with pytest.raises(ConfigError, match="not both"):
        Entrant(name="nobody", kind="agent")
    with pytest.raises(ConfigError, match="no policy"):
        play_runs(CONTEST, EQUAL, make_set(2), wrap_policy=lambda policy: policy)
    with pytest.raises(ConfigError, match="in trouble"):
        suite.run(make_set(4), grid=generalisation_grid(make_set(6), (1.0,)))
    with pytest.raises(ConfigError, match="noise_levels"):
        SightConfig(noise_levels=(0.0,))
    with pytest.raises(ConfigError, match="dropped_shares"):
        SightConfig(dropped_shares=(1.5,))
