"""Promotion, regression, hysteresis, criteria, words and exact resumption of a curriculum."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.training.curriculum import (
    AdaptiveCurriculumScheduler,
    Criterion,
    CurriculumManager,
    CurriculumScheduler,
    CurriculumStage,
    CurriculumStateError,
    DifficultyLevel,
    Parameter,
    Place,
)
from rl.training.curriculum_scheduler import MIN_SCORES, Scored, find_trend, weigh_scores
from utils.config import from_json, to_json
from utils.errors import ConfigError


def make_stage(name="first", **changes):
    defaults = {
        "difficulty": DifficultyLevel.EASY,
        "min_episodes": 20,
        "max_episodes": 60,
        "stability_window": 10,
    }
    return CurriculumStage(name=name, **(defaults | changes))


def make_stages(count=3, **changes):
    return tuple(make_stage(name, **changes) for name in ("first", "second", "third")[:count])


def feed(manager, scores, **info):
    """Return at which of the scores the stage changed."""
    return [n for n, score in enumerate(scores, 1) if manager.update(score, info)]


def around(mean, spread, count):
    """So many scores of a given mean and scatter."""
    return [mean + spread * (-1) ** n for n in range(count)]


def test_a_stage_goes_through_json_unchanged():
    stage = make_stage(
        parameters=(Parameter(name="fee", value=0.1), Parameter(name="regime", choice="mixed")),
        success_criteria=(Criterion(figure="loss", at_most=0.2),),
    )
    assert from_json(CurriculumStage, json.loads(json.dumps(to_json(stage)))) == stage
    assert stage.number("fee") == 0.1
    assert stage.choice("regime") == "mixed"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": " "}, "name is empty"),
        ({"min_episodes": 0}, "min_episodes=0"),
        ({"stability_window": 0}, "stability_window=0"),
        ({"max_episodes": 19}, "max_episodes=19"),
        ({"regression_threshold": 0.8}, "regression_threshold"),
        ({"advancement_threshold": float("nan")}, "advancement_threshold"),
        ({"parameters": (Parameter(name="fee", value=0.1),) * 2}, "twice"),
        ({"success_criteria": (Criterion(figure="loss", at_most=1.0),) * 2}, "twice"),
    ],
)
def test_stages_that_make_no_sense_are_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        make_stage(**changes)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Parameter(name="fee"),
        lambda: Parameter(name="fee", value=1.0, choice="low"),
        lambda: Parameter(name="fee", value=float("inf")),
        lambda: Criterion(figure="loss"),
        lambda: Criterion(figure="loss", at_least=2.0, at_most=1.0),
        lambda: Criterion(figure="loss", at_most=float("nan")),
        lambda: CurriculumScheduler(confidence=0.5),
        lambda: AdaptiveCurriculumScheduler(adaptation_rate=0.0),
        lambda: CurriculumManager(()),
        lambda: CurriculumManager((make_stage(), make_stage())),
        lambda: make_stage().number("fee"),
        lambda: make_stage(parameters=(Parameter(name="fee", value=1.0),)).choice("fee"),
    ],
)
def test_parts_that_say_nothing_are_refused(make):
    with pytest.raises(ConfigError):
        make()


def test_bounds_are_students_t():
    scores = [Scored(score=value, episodes=1) for value in (0.5, 0.7, 0.6, 0.8)]
    evidence = weigh_scores(scores, 0.95)
    # mean 0.65, deviation sqrt(0.05 / 3), and the quantile 0.95 of t with 3 degrees is 2.3534.
    half = 2.353363 * np.sqrt(0.05 / 3 / 4)
    np.testing.assert_allclose(
        [evidence.mean, evidence.low, evidence.high], [0.65, 0.65 - half, 0.65 + half], rtol=1e-6
    )


def test_a_good_score_is_promoted_at_the_first_moment_allowed():
    manager = CurriculumManager(make_stages())
    assert feed(manager, [0.9] * 25) == [20]
    assert manager.current_stage.name == "second"
    assert not manager.is_final_stage


def test_the_mean_alone_does_not_promote():
    """A mean of 0.85 over the bar of 0.8 whose lower bound is below it stays."""
    manager = CurriculumManager(make_stages())
    assert feed(manager, around(0.85, 0.2, 50)) == []
    evidence = manager.get_progress_info().evidence
    assert evidence.mean > 0.8 > evidence.low
    assert "only known to be above" in manager.get_progress_info().note


def test_the_mean_alone_does_not_regress():
    manager = CurriculumManager(make_stages())
    manager.set_stage("second")
    assert feed(manager, around(0.35, 0.2, 50)) == []
    assert len(feed(manager, around(0.35, 0.02, 10))) == 1


@pytest.mark.parametrize("number", [1, 2])
def test_every_stage_but_the_first_can_be_lost(number):
    manager = CurriculumManager(make_stages())
    manager.set_stage(number)
    assert feed(manager, [0.1] * 20) == [20]
    assert manager.place == Place(stage=number - 1)


def test_the_first_stage_cannot_be_lost():
    manager = CurriculumManager(make_stages())
    assert feed(manager, [-1.0] * 100) == []
    assert manager.place == Place(stage=0)


def test_the_history_is_cleared_on_a_change():
    """Old good scores must not carry the next stage, nor old bad ones the stage below."""
    easy, hard = make_stage("first"), make_stage("second", min_episodes=1, stability_window=8)
    manager = CurriculumManager((easy, hard, make_stage("third")))
    feed(manager, [0.95] * 20)
    assert manager.current_stage is hard
    assert feed(manager, [0.95] * 7) == []
    assert manager.get_progress_info().evidence is None
    assert feed(manager, [0.95]) == [1]


def test_nothing_changes_before_min_episodes():
    manager = CurriculumManager(make_stages())
    manager.set_stage(1)
    assert feed(manager, [0.0] * 19) == []
    assert "19 of 20 episodes" in manager.get_progress_info().note


def test_a_stage_fallen_back_into_takes_longer_to_leave():
    manager = CurriculumManager(make_stages(2))
    assert feed(manager, [0.9] * 20) == [20]
    assert feed(manager, [0.1] * 20) == [20]
    assert feed(manager, [0.9] * 40) == [40]
    assert feed(manager, [0.1] * 20) == [20]
    assert feed(manager, [0.9] * 60) == [60]


def test_nobody_is_promoted_by_time():
    manager = CurriculumManager(make_stages())
    assert feed(manager, [0.6] * 500) == []
    info = manager.get_progress_info()
    assert info.is_overdue
    assert "max_episodes=60" in info.note
    assert "nobody is promoted by time" in info.note
    report = manager.get_completion_report()
    assert not report.is_mastered
    assert report.stages[0].is_overdue
    assert "has not qualified beyond stage 1 of 3, first" in report.summary
    assert "first took 500 episodes without being left upwards" in report.summary


def test_a_criterion_that_is_not_met_holds_the_stage():
    stage = make_stage(success_criteria=(Criterion(figure="loss", at_most=0.2),))
    manager = CurriculumManager((stage, make_stage("second")))
    assert feed(manager, [0.9] * 40, loss=0.3) == []
    assert "loss is 0.3, wanted loss at most 0.2" in manager.get_progress_info().note
    assert feed(manager, [0.9] * 20, loss=0.1) != []


def test_the_figures_of_a_criterion_must_be_given():
    stage = make_stage(success_criteria=(Criterion(figure="loss", at_most=0.2),))
    manager = CurriculumManager((stage,))
    with pytest.raises(ConfigError, match="judged by loss: give it in info, which has lost"):
        manager.update(0.5, {"lost": 0.1})
    assert manager.get_progress_info().total_episodes == 0


@pytest.mark.parametrize(
    ("score", "loss", "episodes"),
    [(float("nan"), 0.1, 1), (0.5, float("inf"), 1), (0.5, 0.1, 0)],
)
def test_bad_scores_are_refused_and_change_nothing(score, loss, episodes):
    stage = make_stage(success_criteria=(Criterion(figure="loss", at_most=0.2),))
    manager = CurriculumManager((stage,))
    before = manager.state_to_json()
    with pytest.raises(ConfigError):
        manager.update(score, {"loss": loss}, episodes=episodes)
    assert manager.state_to_json() == before


def test_a_score_of_many_episodes_counts_for_them_but_not_alone():
    manager = CurriculumManager(make_stages())
    moved = [n for n in range(1, 20) if manager.update(0.9, episodes=64)]
    assert moved[0] == MIN_SCORES
    assert manager.get_progress_info().total_episodes == 19 * 64


def test_the_last_stage_is_mastered_and_stays():
    manager = CurriculumManager(make_stages(1))
    assert manager.is_final_stage
    assert feed(manager, [0.9] * 40) == []
    report = manager.get_completion_report()
    assert report.is_mastered
    assert report.summary.startswith("All stages are mastered")
    assert not report.stages[0].is_overdue


def test_the_report_tells_every_move():
    manager = CurriculumManager(make_stages(2))
    feed(manager, [0.9] * 20 + [0.1] * 20)
    report = manager.get_completion_report()
    assert [(one.stage, one.reason, one.episode) for one in report.changes] == [
        ("second", "promoted", 20),
        ("first", "regressed", 40),
    ]
    assert report.changes[0].low == pytest.approx(0.9)
    first, second = report.stages
    assert (first.episodes, first.times_promoted, second.times_regressed) == (20, 1, 1)
    assert "fell back in second" in report.summary


def test_trends():
    def scores(values):
        return [Scored(score=value, episodes=10) for value in values]

    noise = np.tile([0.01, -0.01], 10)
    rising = find_trend(scores(np.linspace(0, 1, 20) + noise), 0.95)
    # From 0 to 1 in 190 episodes.
    assert rising.slope == pytest.approx(100 / 190, rel=0.02)
    assert rising.low < rising.slope < rising.high
    assert rising.direction == "rising"
    assert find_trend(scores(np.linspace(1, 0, 20) + noise), 0.95).direction == "falling"
    assert find_trend(scores(0.5 + noise), 0.95).direction == "level"
    manager = CurriculumManager(make_stages())
    feed(manager, list(np.linspace(0.0, 0.7, 10)))
    assert manager.get_progress_info().trend.direction == "rising"


def test_adaptive_difficulty_climbs_in_steps_and_forgets_at_each():
    scheduler = AdaptiveCurriculumScheduler(adaptation_rate=0.25)
    manager = CurriculumManager(make_stages(2), scheduler)
    seen = []
    for _ in range(60):
        has_changed = manager.update(0.9)
        if not seen or manager.place != seen[-1][0]:
            seen.append((manager.place, has_changed))
    assert seen == [
        (Place(stage=0), False),
        (Place(stage=0, difficulty=0.25), False),
        (Place(stage=0, difficulty=0.5), False),
        (Place(stage=0, difficulty=0.75), False),
        (Place(stage=1), True),
    ]
    moves = [change.episode for change in manager.get_completion_report().changes]
    assert moves == [20, 30, 40, 50]


def test_adaptive_difficulty_is_lowered_again():
    scheduler = AdaptiveCurriculumScheduler(adaptation_rate=0.4)
    manager = CurriculumManager(make_stages(3), scheduler)
    manager.set_stage(1)
    places = []
    for _ in range(70):
        manager.update(0.1)
        if not places or manager.place != places[-1]:
            places.append(manager.place)
    # 0.8 is the hardest mixture below the stage in steps of 0.4.
    assert [(one.stage, one.difficulty) for one in places] == [
        (1, 0.0), (0, 0.8), (0, 0.4), (0, 0.0),
    ]  # fmt: skip


@given(
    scores=st.lists(st.floats(-2, 2), min_size=1, max_size=160),
    rate=st.floats(0.01, 1.0),
    cut=st.integers(0, 160),
)
@settings(max_examples=40, deadline=None)
def test_a_round_trip_changes_no_decision(scores, rate, cut):
    """And wherever it goes, it moves by one stage at most, with a difficulty in [0, 1)."""
    scheduler = AdaptiveCurriculumScheduler(adaptation_rate=rate)
    stages = make_stages(3, min_episodes=3, stability_window=8, regression_threshold=0.0,
                         advancement_threshold=0.1)  # fmt: skip
    whole, halves = (CurriculumManager(stages, scheduler) for _ in range(2))
    for number, score in enumerate(scores):
        if number == cut:
            saved = json.loads(json.dumps(halves.state_to_json()))
            halves = CurriculumManager(stages, scheduler)
            halves.load_state_json(saved)
        before = whole.place
        assert whole.update(score) == halves.update(score)
        assert whole.place == halves.place
        assert abs(whole.place.stage - before.stage) <= 1
        assert 0 <= whole.place.difficulty < 1
    assert whole.state_to_json() == halves.state_to_json()


def test_state_in_a_file_with_a_bare_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    manager = CurriculumManager(make_stages())
    feed(manager, [0.9] * 33)
    manager.save_state("curriculum.json")
    other = CurriculumManager(make_stages())
    other.load_state("curriculum.json")
    assert other.state_to_json() == manager.state_to_json()
    other.reset()
    assert other.state_to_json() == CurriculumManager(make_stages()).state_to_json()


@pytest.mark.parametrize(
    "alter",
    [
        lambda state: state | {"fingerprint": "other"},
        lambda state: state | {"place": {"stage": 3, "difficulty": 0.0}},
        lambda state: state | {"place": {"stage": 0, "difficulty": 1.0}},
        lambda state: state | {"place": [0, 0.0]},
        lambda state: state | {"falls": [0]},
        lambda state: state | {"played": [-1, 0, 0]},
        lambda state: state | {"total_episodes": "many"},
        lambda state: state | {"more": 1},
        lambda state: {name: state[name] for name in ("fingerprint", "place")},
        lambda state: state | {"window": [{"score": float("nan"), "episodes": 1, "figures": []}]},
        lambda state: state | {"window": [{"score": 0.5, "episodes": 0, "figures": []}]},
        lambda state: (
            state
            | {"window": [{"score": 0.5, "episodes": 1, "figures": [{"name": "x", "value": 1.0}]}]}
        ),
    ],
)
def test_damaged_states_are_refused_and_lose_nothing(alter):
    manager = CurriculumManager(make_stages())
    feed(manager, [0.9] * 5)
    before = manager.state_to_json()
    with pytest.raises(CurriculumStateError):
        manager.load_state_json(alter(before))
    assert manager.state_to_json() == before


@pytest.mark.parametrize("content", ["", "{", "[]", '"text"', "\udcff"])
def test_damaged_files_are_refused(tmp_path, content):
    path = tmp_path / "curriculum.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(CurriculumStateError):
        CurriculumManager(make_stages()).load_state(path)
    with pytest.raises(CurriculumStateError, match="cannot read"):
        CurriculumManager(make_stages()).load_state(tmp_path / "absent.json")


def test_states_of_other_stages_and_schedulers_are_refused():
    saved = CurriculumManager(make_stages()).state_to_json()
    first, *rest = make_stages()
    harder = (replace(first, advancement_threshold=0.81), *rest)
    for other in (
        CurriculumManager(harder),
        CurriculumManager(make_stages(2)),
        CurriculumManager(make_stages(), CurriculumScheduler(confidence=0.9)),
        CurriculumManager(make_stages(), AdaptiveCurriculumScheduler()),
    ):
        with pytest.raises(CurriculumStateError, match="other stages or another scheduler"):
            other.load_state_json(saved)


def test_stages_by_hand():
    manager = CurriculumManager(make_stages())
    manager.set_stage("third")
    assert manager.is_final_stage
    manager.set_stage(0)
    assert manager.current_stage.name == "first"
    for unknown in ("fourth", 3, -1):
        with pytest.raises(ConfigError, match="there are first, second, third"):
            manager.set_stage(unknown)


def test_current_parameters():
    stage = make_stage(
        parameters=(Parameter(name="fee", value=0.0), Parameter(name="regime", choice="crisis"))
    )
    assert CurriculumManager((stage,)).get_current_parameters() == {"fee": 0.0, "regime": "crisis"}
