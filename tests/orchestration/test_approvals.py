"""Decisions wait for people: one verdict wins, none comes too late, an odd one changes nothing."""

from __future__ import annotations

import json
from datetime import timedelta
from types import SimpleNamespace

import anyio
import pytest
from sqlalchemy import select

from ai_agents.base_agent import RequestError
from orchestration.feedback.approvals import (
    ApprovalNotFoundError,
    Approvals,
    ApprovalState,
    Question,
    Verdict,
    VerdictKnownError,
)
from orchestration.feedback.settings import AgentSettings, SettingsShelf
from tests.orchestration.delegation_stores import KINDS, START, open_stores
from tests.orchestration.house import AGENT, REQUEST, open_house
from utils.errors import ConfigError
from utils.persistence.audit_log import list_audit
from utils.persistence.errors import DatabaseError
from utils.persistence.jobs import event

pytestmark = pytest.mark.anyio
HOUR = timedelta(hours=1)


@pytest.fixture(params=KINDS)
async def place(request, tmp_path):
    async with open_stores(request.param, request, tmp_path) as stores:
        yield SimpleNamespace(
            database=stores.database,
            clock=stores.clock,
            approvals=Approvals(stores.database, stores.clock),
            settings=SettingsShelf(stores.database, stores.clock),
        )


def question(name="d1", **changes):
    fields = {
        "decision_id": name,
        "agent": "allocator",
        "version": "1",
        "request_id": "r\0\ud800",
        "request": '{"a": 1}',
        "proposed": '{"b": "\\u0000"}',
        "seconds": 3600.0,
    }
    return Question(**{**fields, **changes})


def verdict(state="approved", by="token:ann", **more):
    return Verdict(state=ApprovalState(state), by=by, **more)


async def events(place):
    async with place.database.read() as connection:
        rows = (await connection.execute(select(event).order_by(event.c.seq))).mappings().all()
    return [(row["type"], row["payload"]) for row in rows]


async def test_a_decision_waits_and_is_approved(place):
    await place.approvals.ask([question()])
    found = await place.approvals.get("d1")
    assert (found.state, found.request, found.proposed) == ("waiting", {"a": 1}, {"b": "\0"})
    assert (found.asked_at, found.expires_at, found.given) == (START, START + HOUR, None)
    assert found.request_id == "r??"
    place.clock.advance(60)
    settled = await place.approvals.give("d1", verdict(reason="fine"))
    assert settled == await place.approvals.get("d1")
    assert (settled.state, settled.given) == ("approved", {"b": "\0"})
    assert (settled.decided_by, settled.reason) == ("token:ann", "fine")
    assert settled.decided_at == START + timedelta(seconds=60)
    (waiting, told), (given, verdict_told) = await events(place)
    assert (waiting, told["decision_id"]) == ("approval_waiting", "d1")
    assert told["expires_at"] == (START + HOUR).isoformat()
    assert (given, verdict_told["state"]) == ("approval_given", "approved")


async def test_the_first_verdict_stays(place):
    await place.approvals.ask([question()])
    first = await place.approvals.give("d1", verdict("rejected", reason="no"))
    assert await place.approvals.give("d1", verdict("rejected")) == first  # told twice
    for other in (
        verdict(),
        verdict("rejected", by="token:bob"),
        verdict("overridden", given="{}"),
    ):
        with pytest.raises(VerdictKnownError, match="rejected by token:ann"):
            await place.approvals.give("d1", other)
    assert await place.approvals.get("d1") == first
    assert len(await events(place)) == 2


async def test_of_many_verdicts_at_once_one_wins(place):
    await place.approvals.ask([question(f"d{k}") for k in range(3)])
    won = []

    async def answer(name, by, state):
        given = '{"mine": true}' if state == "overridden" else None
        try:
            settled = await place.approvals.give(name, verdict(state, by=by, given=given))
        except VerdictKnownError:
            return
        won.append((name, settled.decided_by, settled.state.value))

    async with anyio.create_task_group() as group:
        for name in ("d0", "d1", "d2"):
            for number, state in enumerate(("approved", "overridden", "rejected") * 2):
                group.start_soon(answer, name, f"token:{number}", state)
    assert sorted(name for name, _, _ in won) == ["d0", "d1", "d2"]
    for name, by, state in won:
        found = await place.approvals.get(name)
        assert (found.decided_by, found.state) == (by, state)
    assert [kind for kind, _ in await events(place)].count("approval_given") == 3


async def test_what_nobody_answers_is_rejected_by_expiry(place):
    await place.approvals.ask([question("d1"), question("d2", seconds=7200.0)])
    place.clock.advance(3600)
    late = await place.approvals.get("d1")  # nobody has written it down yet
    assert (late.state, late.decided_by, late.decided_at) == ("rejected", "expiry", START + HOUR)
    with pytest.raises(VerdictKnownError, match="rejected by expiry"):
        await place.approvals.give("d1", verdict())
    place.clock.advance(60)
    assert await place.approvals.expire() == 1
    assert await place.approvals.expire() == 0
    assert await place.approvals.get("d1") == late
    assert "expired" in late.reason
    assert (await events(place))[-1][1]["by"] == "expiry"
    assert (await place.approvals.get("d2")).state == "waiting"


async def test_decisions_are_listed_by_state_and_agent_in_pages(place):
    await place.approvals.ask([question(f"d{k}", agent="b" if k == 3 else "a") for k in range(5)])
    await place.approvals.give("d1", verdict())

    async def names(**wishes):
        return [one.decision_id for one in await place.approvals.list_all(**wishes)]

    assert await names() == ["d4", "d3", "d2", "d1", "d0"]
    assert await names(agent="a", state=ApprovalState.WAITING) == ["d4", "d2", "d0"]
    assert await names(limit=2, before="d3") == ["d2", "d1"]
    place.clock.advance(3600)
    assert await names(state=ApprovalState.WAITING) == []


async def test_odd_questions_change_nothing(place):
    with pytest.raises(ApprovalNotFoundError, match="approvals list"):
        await place.approvals.give("nobody", verdict())
    with pytest.raises(ApprovalNotFoundError):
        await place.approvals.get("nobody")
    place.database.is_away = True
    with pytest.raises(DatabaseError):
        await place.approvals.ask([question()])
    place.database.is_away = False
    assert await place.approvals.list_all() == []
    assert await events(place) == []


def needing(settings):
    return AgentSettings(**{**vars(settings), "needs_approval": True, "approval_seconds": 60.0})


async def test_settings_are_kept_with_who_made_them(place):
    assert await place.settings.find("a") == AgentSettings(agent="a")
    assert await place.settings.list_all() == []
    made = await place.settings.change("a", needing, by="cli:ann")
    assert (made.needs_approval, made.changed_by, made.changed_at) == (True, "cli:ann", START)
    assert await place.settings.find("a") == made
    assert await place.settings.list_all() == [made]
    other = SettingsShelf(place.database, place.clock)
    assert await other.find("a") == made
    async with place.database.read() as connection:
        (line,) = await list_audit(connection)
    assert (line.who, line.target, line.outcome) == (
        "cli:ann", "a", "approval 60s, keep 0, limit None",
    )  # fmt: skip


async def test_settings_outlive_an_outage_and_are_never_guessed(place):
    await place.settings.change("a", needing, by="x")
    fresh = SettingsShelf(place.database, place.clock)
    place.database.is_away = True
    assert (await place.settings.find("a")).needs_approval
    with pytest.raises(DatabaseError):
        await fresh.find("a")


@pytest.mark.parametrize(
    "wrong",
    [{"approval_seconds": 0.0}, {"approval_seconds": float("nan")}, {"keep_requests": -1},
     {"keep_requests": 10**6}, {"regret_limit": float("inf")}],
)  # fmt: skip
def test_odd_settings_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        AgentSettings(agent="a", **wrong)


async def require(application, seconds=60.0):
    def edit(settings):
        return AgentSettings(
            **{**vars(settings), "needs_approval": True, "approval_seconds": seconds}
        )

    await application.orchestrator.supervision.settings.change(AGENT, edit, by="test")


def fair(decision):
    """A person's wish: half of what the agent gave each."""
    return {
        "services": [
            {"name": one.name, "allocation": {k: v / 2 for k, v in one.allocation.items()}}
            for one in decision.services
        ]
    }


async def test_an_agent_that_needs_approval_lets_its_decisions_wait(tmp_path):
    async with open_house(tmp_path, versions=1) as application:
        orchestrator = application.orchestrator
        assert (await orchestrator.invoke(AGENT, REQUEST)).approval == "not_needed"
        await require(application)
        decision = await orchestrator.invoke(AGENT, REQUEST, request_id="mine")
        assert decision.approval == "waiting"
        found = await orchestrator.supervision.approvals.get(decision.decision_id)
        assert found.proposed == json.loads(decision.model_dump_json())
        assert found.request_id == "mine"
        batch = await orchestrator.invoke_batch(AGENT, [REQUEST, REQUEST])
        assert [one.approval for one in batch] == ["waiting", "waiting"]
        assert len(await orchestrator.supervision.approvals.list_all()) == 3


async def test_a_persons_decision_holds_if_it_is_feasible(tmp_path):
    async with open_house(tmp_path, versions=1) as application:
        orchestrator = application.orchestrator
        await require(application)
        decision = await orchestrator.invoke(AGENT, REQUEST)
        reviews, decision_id = orchestrator.reviews, decision.decision_id
        greedy = {
            "services": [
                {"name": one.name, "allocation": {"compute": 79.0}} for one in decision.services
            ]
        }
        with pytest.raises(RequestError, match="units granted, there are 80"):
            await reviews.override(decision_id, greedy, by="token:ann")
        assert (await orchestrator.supervision.approvals.get(decision_id)).state == "waiting"
        settled = await reviews.override(decision_id, fair(decision), by="token:ann", reason="half")
        assert (settled.state, settled.decided_by) == ("overridden", "token:ann")
        given = settled.given
        assert (given["decided_by"], given["approval"]) == ("token:ann", "overridden")
        for one, proposed in zip(given["services"], decision.services, strict=True):
            expected = {k: v / 2 for k, v in proposed.allocation.items()}
            assert one["allocation"] == pytest.approx(expected)
        with pytest.raises(VerdictKnownError):
            await reviews.approve(decision_id, by="token:bob")
        again = await reviews.override(decision_id, fair(decision), by="token:ann")
        assert again == settled


async def test_approving_and_rejecting(tmp_path):
    async with open_house(tmp_path, versions=1) as application:
        orchestrator = application.orchestrator
        await require(application)
        one, other = await orchestrator.invoke_batch(AGENT, [REQUEST, REQUEST])
        approved = await orchestrator.reviews.approve(one.decision_id, by="cli:x")
        assert approved.given == approved.proposed
        rejected = await orchestrator.reviews.reject(other.decision_id, by="cli:x", reason="no")
        assert (rejected.given, rejected.reason) == (None, "no")


async def test_without_the_database_nothing_that_needs_approval_is_handed_out(tmp_path):
    async with open_house(tmp_path, versions=1) as application:
        orchestrator = application.orchestrator
        await require(application)
        await orchestrator.invoke(AGENT, REQUEST)

        async def away(questions):
            raise DatabaseError("away")

        orchestrator.supervision.approvals.ask = away
        with pytest.raises(DatabaseError):
            await orchestrator.invoke(AGENT, REQUEST, request_id="lost")
        await application.decision_log.flush()
        newest = (await orchestrator.decisions.find())[0]
        assert (newest.request_id, newest.outcome) == ("lost", "error")
