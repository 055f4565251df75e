"""Forms from schemas, decisions in figures, trials in words: plain functions."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from ai_agents.allocation_schema import EXAMPLE_REQUEST, AllocationRequest
from ai_agents.placement_schema import EXAMPLE_REQUEST as POD
from ai_agents.placement_schema import PlacementRequest
from ai_agents.portfolio_schema import PortfolioDecision, PortfolioRequest
from ai_agents.replenishment_schema import ReplenishmentRequest
from ai_agents.workforce_schema import WorkforceRequest
from console import agents_answers, agents_approvals, agents_form, agents_trials
from console.agents_form import FormError, FormField, fields_of, from_cells, read_json, to_cells
from console.agents_overview import OBJECTIVE_SECONDS, service_of
from console.agents_rollout import regret_words
from orchestration.endpoints.rollout_routes import SecondAnswer
from orchestration.feedback.regret import RegretReport
from orchestration.rollout.figures import figures_of
from orchestration.rollout.judge import Sample, Window, judge
from orchestration.rollout.plan import CanaryLimits, CanaryPlan
from utils.persistence.decisions import DecisionRecord
from utils.persistence.rollout_log import CanaryState

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HEAD = {"decided_by": "policy", "expert": None}


def kinds(model, example):
    return {one.name: one.kind for one in fields_of(model.model_json_schema(), example)}


def test_a_form_has_a_fitting_widget_for_every_field():
    assert kinds(AllocationRequest, EXAMPLE_REQUEST) == {
        "services": "rows",
        "capacity": "amounts",
        "price": "json",
        "time_of_day": "number",
    }
    assert kinds(PlacementRequest, POD) == {"pod": "part", "nodes": "rows", "snapshot": "json"}
    for model in (PortfolioRequest, ReplenishmentRequest, WorkforceRequest):
        assert set(kinds(model, {}).values()) == {"json"}  # nothing known to begin with


@pytest.mark.parametrize(
    ("model", "example"), [(AllocationRequest, EXAMPLE_REQUEST), (PlacementRequest, POD)]
)
def test_what_a_table_shows_reads_back_as_it_was(model, example):
    for one in fields_of(model.model_json_schema(), example):
        if one.kind == "rows":
            cells = json.loads(json.dumps(to_cells(one.value, one.columns)))
            read = from_cells(one.name, cells, one.columns)
            wanted = model.model_validate(example)
            assert model.model_validate({**example, one.name: read}) == wanted


def test_cells_that_cannot_be_are_named_and_empty_rows_are_left_out():
    (rows, *_) = fields_of(AllocationRequest.model_json_schema(), EXAMPLE_REQUEST)
    with pytest.raises(FormError, match=r"services\[1\].waiting: this is no JSON"):
        from_cells("services", [{"name": "a"}, {"name": "b", "waiting": "[1"}], rows.columns)
    found = from_cells(
        "services", [{"name": None, "priority": float("nan")}, {"name": "b"}], rows.columns
    )
    assert found == [{"name": "b"}]
    for text in ("NaN", "[Infinity]", "{", "[" * 100_000):
        with pytest.raises(FormError, match="field: this is no JSON"):
            read_json("field", text)
    assert read_json("field", "  ") is None


def test_every_field_of_a_schema_is_described_with_its_bounds():
    rows = {
        row["field"]: row
        for row in agents_form.describe_fields(AllocationRequest.model_json_schema())
    }
    assert rows["time_of_day"]["type"] == "number ≥ 0 < 1"
    assert rows["services[].priority"]["type"] == "number ≥ 0 ≤ 1e+09 or null"
    assert "Units held now" in rows["services[].holding"]["meaning"]
    assert agents_form.describe_fields(PortfolioDecision.model_json_schema())


PARTS = {
    "services": ({"services": [{"name": "a", "allocation": {"cpu": 3.0}}]}, ("a · cpu", 3.0)),
    "slices": ({"outlook": {"slices": [700, 300]}}, ("slice   1", 700)),
    "weights": (
        {"portfolio": {"positions": [{"symbol": "X", "target_weight": 0.4}], "cash_weight": 0.6}},
        ("cash", 0.6),
    ),
    "orders": (
        {"products": [{"name": "P", "orders": [{"place": "shop", "order": 12.0}]}]},
        ("P · shop", 12.0),
    ),
    "people": ({"staffing": [{"skill": "nurse", "wanted_people": 4}]}, ("nurse", 4)),
    "nodes": (
        {"placement": {"node": "n1", "gpus": [0, 1], "score": 5.0}, "alternatives": []},
        ("n1 (GPU 0, 1)", 5.0),
    ),
    "workloads": (
        {"placements": [{"workload": "w", "node": None, "spare_share": None}]},
        ("w → nobody", 0.0),
    ),
    "numbers": ({"action": [[0.1, -0.9]]}, ("[0][1]", -0.9)),
}


@pytest.mark.parametrize(("part", "largest"), PARTS.values(), ids=PARTS.keys())
def test_decisions_of_every_domain_have_a_picture_beside_the_experts(part, largest):
    picture = agents_answers.picture_of({**HEAD, **part, "expert": {"name": "rule", **part}})
    what, amount = largest
    assert f"largest: {what} with {amount:.4g}; they agree." in picture.summary
    assert {row["who"] for row in picture.rows} == {"policy (decision)", "rule (expert)"}
    agents_answers.draw_picture(picture).to_dict()


def test_a_difference_is_named_and_nothing_is_no_picture():
    one, other = ({"staffing": [{"skill": "nurse", "wanted_people": n}]} for n in (4, 6))
    picture = agents_answers.picture_of({**HEAD, **one, "expert": {"name": "rule", **other}})
    assert "differ most in nurse, by -2" in picture.summary
    assert agents_answers.picture_of({**HEAD, "placement": None, "alternatives": []}) is None
    assert agents_answers.picture_of(HEAD) is None


@pytest.mark.parametrize(
    ("decision", "own"),
    [
        (
            {"services": [{"name": "a", "allocation": {"cpu": 3.0}, "reason": "x"}]},
            {"services": [{"name": "a", "allocation": {"cpu": 3.0}}]},
        ),
        ({"placement": {"node": "n1"}, "alternatives": []}, {"node": "n1"}),
        ({"placement": None, "alternatives": []}, {}),
        (PARTS["orders"][0], {"products": [{"name": "P", "orders": {"shop": 12.0}}]}),
        ({"next_slice": 700}, {"next_slice": 700}),
        (PARTS["weights"][0], {"weights": {"X": 0.4}}),
        (PARTS["numbers"][0], {"action": [[0.1, -0.9]]}),
    ],
)
def test_an_override_begins_from_the_proposal_in_its_own_words(decision, own):
    assert agents_approvals.own_words(decision) == own


def plan(**limits):
    return CanaryPlan(
        agent="a",
        revision=1,
        version=2,
        share=0.25,
        state=CanaryState.RUNNING,
        limits=CanaryLimits(**limits),
        since=NOW,
        changed_at=NOW,
    )


def trial(challenger, champion=(), regrets=(), **limits):
    window = Window(challenger=challenger, champion=champion, regrets=regrets)
    return figures_of(window, judge(window, CanaryLimits(**limits)))


def test_the_figures_of_a_canary_and_its_verdict_are_said():
    good = [Sample(outcome="decision", seconds=0.001 * (1 + n)) for n in range(30)]
    found = trial(good, good, [0.0, 0.01])
    challenger, champion = agents_trials.arm_rows(found)
    assert challenger == {**champion, "who": "challenger"}
    assert (challenger["requests"], challenger["median ms"], challenger["95 % within ms"]) == (
        30,
        "15.5",
        "29",
    )
    assert "no limit is broken" in agents_trials.trial_words(plan(), found)
    assert "+0.50% value over 2" in agents_trials.trial_words(plan(), found)
    few = agents_trials.trial_words(plan(), trial(good[:5]))
    assert few == "Nothing is concluded yet: 15 more requests of the challenger are needed."
    broken = trial([Sample(outcome="error", seconds=0.0)] * 30, good)
    assert (broken.challenger.errors, broken.champion.errors) == (30, 0)
    assert "must not go on: 30 of 30 requests ended in error" in agents_trials.trial_words(
        plan(), broken
    )
    assert agents_trials.arm_rows(trial([]))[0]["median ms"] == "not asked"
    assert "25% of the request keys: running, since 2026-01-01" in agents_trials.plan_words(plan())


def second(outcome, distance, regret):
    return SecondAnswer(
        decision_id="d", version="2", served_version="1", outcome=outcome, distance=distance,
        regret=regret, latency_seconds=0.001, at=NOW,
    )  # fmt: skip


def test_agreement_and_regret_of_second_answers_are_said():
    answers = [
        second("equal", 0.0, 0.0),
        second("different", 0.2, -0.1),
        second("failed", None, None),
    ]
    words = agents_trials.agreement_words(answers)
    assert "33% agree; mean distance 10.00%; the others expect -5.00% value" in words
    assert len(agents_trials.answer_rows(answers)) == 3
    report = RegretReport(
        agent="a", num_decisions=30, num_realised=10, num_skipped=1, mean=0.5, low=0.1, high=0.9,
        limit=None, is_high=False,
    )  # fmt: skip
    assert "+0.5 a decision (95 % interval +0.1 to +0.9), over 30" in regret_words(report)


def record(outcome, seconds):
    return DecisionRecord(
        id="d", request_id="r", agent="a", version="1", request_sha256=None,
        latency_seconds=seconds, outcome=outcome, fallback_reason=None, at=NOW,
    )  # fmt: skip


def test_the_objective_is_judged_by_what_was_answered():
    fast = [record("decision", 0.001)] * 99
    kept = service_of([*fast, record("fallback", 0.5), record("refused", 9.0)])
    assert (kept.requests, kept.fallbacks, kept.verdict) == (101, 1, "kept")
    missed = service_of([*fast, *[record("error", OBJECTIVE_SECONDS * 2)] * 2])
    assert (missed.errors, missed.verdict) == (2, "missed")
    assert service_of([]).verdict == "not asked"


def test_a_whole_number_is_not_cut_to_one():
    column = FormField(name="gpus", kind="whole", value=None, about="")
    cells = [{"gpus": 2.0}, {"gpus": 2.5}, {"gpus": None}]
    assert from_cells("pods", cells, [column]) == [{"gpus": 2}, {"gpus": 2.5}]
