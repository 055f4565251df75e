"""The gate: better than champion and expert beyond doubt, no limit broken; else why not, kept."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from sqlalchemy import select

from ai_agents.registry import CHALLENGER, CHAMPION, UnknownAgentError, UnknownVersionError
from orchestration.pipelines.promoting import EvidenceSink, PromotionSink
from orchestration.rollout.gate import GateClosedError, weigh
from orchestration.rollout.plan import place_of
from rl.training.promotion import Evidence, Interval, Rival
from tests.orchestration.doors import open_doors
from tests.orchestration.house import AGENT, REQUEST, open_house
from tests.postgres import empty_tables
from tests.serving import make_artifact
from utils.clock import SystemClock
from utils.config import to_json
from utils.errors import ConfigError
from utils.persistence.alias_log import AliasMovedError
from utils.persistence.errors import ArtifactCorruptError
from utils.persistence.registry import alias_history
from utils.persistence.rollout_log import CanaryState, add_evidence

pytestmark = pytest.mark.anyio
BETTER = Interval(mean=2.0, low=0.5, high=3.5)
WORSE = Interval(mean=-0.5, low=-1.5, high=0.5)
EXPERT = Rival(name="urgent_value", difference=BETTER, violation=0.0)
OLD = Rival(name="version 1", version=1, sha256="a" * 64, difference=BETTER, violation=0.0)
SHA256 = make_artifact(1).sha256
PROOF = Evidence(
    agent=AGENT,
    sha256=SHA256,
    data="held-out days",
    data_sha256="d" * 64,
    episodes=80,
    violation=0.0,
    expert=EXPERT,
    champion=OLD,
)


def against(rival, difference=WORSE):
    return replace(rival, difference=difference)


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        (PROOF, []),
        (replace(PROOF, champion=against(OLD)), ["champion version 1: -0.5, 95 % [-1.5, +0.5]"]),
        (replace(PROOF, expert=against(EXPERT)), ["expert urgent_value: -0.5, 95 % [-1.5, +0.5]"]),
        (replace(PROOF, expert=against(EXPERT, None)), ["not compared with the expert"]),
        (replace(PROOF, violation=0.25), ["breaks limits by 0.25 per episode, 0 is allowed"]),
        (
            replace(PROOF, violation=0.25, expert=replace(EXPERT, violation=9.0)),
            ["breaks limits by 0.25 per episode, 0 is allowed"],
        ),
        (
            replace(PROOF, champion=against(OLD), expert=against(EXPERT), violation=1.0),
            ["expert", "champion", "limits"],
        ),
        (replace(PROOF, champion=replace(OLD, version=7)), ["champion is version 1 by now"]),
        (replace(PROOF, champion=None), ["judged against none"]),
    ],
)
def test_each_condition_has_its_reason_with_figures(evidence, words):
    reasons = weigh(to_json(evidence), version=2, champion=1)
    assert len(reasons) == len(words)
    for reason, word in zip(reasons, words, strict=True):
        assert word in reason


def test_who_was_never_judged_does_not_pass():
    assert "never judged" in weigh(None, version=2, champion=1)[0]
    assert weigh(to_json(replace(PROOF, champion=None)), version=2, champion=None) == []


@contextlib.asynccontextmanager
async def open_contest(var, **settings):
    async with open_house(var, versions=2, **settings) as application:
        await application.orchestrator.promote(AGENT, 2, alias=CHALLENGER, reason="new")
        yield application


@pytest.fixture(params=["file", "server"])
async def contest(request, tmp_path):
    settings = {}
    if request.param == "server":
        settings["database"] = request.getfixturevalue("server_url")
        empty_tables(settings["database"])
    async with open_contest(tmp_path, **settings) as application:
        yield application


async def prove(application, evidence=PROOF, job="judge-1"):
    async with application.database.write() as connection:
        await add_evidence(connection, job, to_json(evidence), at=SystemClock().now())


async def aliases(application):
    return (await application.orchestrator.agent(AGENT)).aliases


async def test_the_better_challenger_and_the_champion_change_places(contest):
    rollout = contest.orchestrator.rollout
    await rollout.start_canary(AGENT, share=0.5)
    await prove(contest)
    result = await rollout.promote_challenger(AGENT, reason="spring")
    assert (result.version, result.champion, result.is_passed) == (2, 1, True)
    assert await aliases(contest) == {CHAMPION: 2, CHALLENGER: 1}
    assert (await contest.orchestrator.registry.resolve(AGENT)).version == "2"
    assert (await rollout.canary(AGENT)).state is CanaryState.PROMOTED
    async with contest.database.read() as connection:
        rows = (await connection.execute(select(alias_history))).mappings().all()
    assert [(row["alias"], row["version"], row["reason"]) for row in rows][-2:] == [
        (CHAMPION, 2, "passed the gate; spring"),
        (CHALLENGER, 1, "passed the gate; spring"),
    ]
    with pytest.raises(GateClosedError, match="version 1 stays challenger: version 1 was never"):
        await rollout.promote_challenger(AGENT)


async def test_a_refusal_moves_nothing_and_is_kept(contest):
    rollout = contest.orchestrator.rollout
    await prove(contest, replace(PROOF, expert=against(EXPERT)))
    with pytest.raises(GateClosedError, match=r"expert urgent_value: -0\.5"):
        await rollout.promote_challenger(AGENT)
    assert await aliases(contest) == {CHAMPION: 1, CHALLENGER: 2}
    (kept,) = await rollout.gate_results(AGENT)
    assert (kept.version, kept.is_passed, kept.forced_because) == (2, False, None)
    assert kept.evidence == to_json(replace(PROOF, expert=against(EXPERT)))


async def test_force_passes_it_and_the_reason_is_kept(contest):
    rollout = contest.orchestrator.rollout
    for nothing in ("", "  "):
        with pytest.raises(ConfigError, match="say why"):
            await rollout.promote_challenger(AGENT, force_because=nothing)
    await rollout.promote_challenger(AGENT, force_because="the old one is for a closed site")
    assert await aliases(contest) == {CHAMPION: 2, CHALLENGER: 1}
    (kept,) = await rollout.gate_results(AGENT)
    assert not kept.is_passed
    assert kept.forced_because == "the old one is for a closed site"
    assert "never judged" in kept.reasons[0]


async def test_the_newest_evaluation_counts(contest):
    await prove(contest, replace(PROOF, violation=1.0))
    await prove(contest, job="judge-2")
    assert (await contest.orchestrator.rollout.promote_challenger(AGENT)).is_passed


async def test_a_damaged_challenger_changes_nothing(contest, tmp_path):
    await prove(contest)
    place = tmp_path / "artifacts" / SHA256[:2] / SHA256
    place.chmod(0o644)
    place.write_bytes(b"damaged")
    await contest.orchestrator.registry._loaded.aclose()
    contest.orchestrator.registry._maker._domains.clear()
    with pytest.raises(ArtifactCorruptError):
        await contest.orchestrator.rollout.promote_challenger(AGENT)
    assert await aliases(contest) == {CHAMPION: 1, CHALLENGER: 2}


async def test_without_a_challenger_nobody_passes(tmp_path):
    async with open_house(tmp_path, versions=1) as application:
        with pytest.raises(UnknownAgentError, match="no challenger"):
            await application.orchestrator.rollout.promote_challenger(AGENT)
        with pytest.raises(UnknownAgentError, match="no agent 'nobody'"):
            await application.orchestrator.rollout.promote_challenger("nobody")


# Evidence comes from evaluations, and pipelines leave what their gate said.


async def test_evaluations_leave_evidence_and_pipelines_a_result(contest):
    job, clock = JobStub("j-1"), SystemClock()
    async with contest.database.write() as connection:
        for _ in range(2):  # a report may come again
            await EvidenceSink(clock).finished(connection, job, {"evidence": to_json(PROOF)})
        verdict = {"agent": AGENT, "sha256": SHA256, "alias": CHAMPION, "judged_against": 1}
        verdict |= {"reasons": [], "because": "+2", "promote": True, "evidence": to_json(PROOF)}
        await PromotionSink(clock).finished(connection, job, verdict)
    (kept,) = await contest.orchestrator.rollout.gate_results(AGENT)
    assert (kept.version, kept.champion, kept.is_passed) == (2, 1, True)
    assert kept.evidence == to_json(PROOF)
    assert (await aliases(contest))[CHAMPION] == 2


class JobStub:
    def __init__(self, id_):
        self.id = id_


# Going back


async def test_going_back_restores_the_version_before(contest):
    orchestrator = contest.orchestrator
    await orchestrator.promote(AGENT, 2)
    record = await orchestrator.rollout.rollback(AGENT, reason="callers complain")
    assert record.version == 1
    assert (await orchestrator.registry.resolve(AGENT)).version == "1"
    async with contest.database.read() as connection:
        query = select(alias_history.c.reason).order_by(alias_history.c.seq.desc())
        assert await connection.scalar(query) == "rollback from version 2: callers complain"
    with pytest.raises(UnknownVersionError, match="none before"):
        await orchestrator.rollout.rollback(AGENT)


async def test_a_move_in_between_wins_over_a_rollback(contest):
    orchestrator, store = contest.orchestrator, contest.parts.registry_store
    await orchestrator.promote(AGENT, 2)
    meanings = store.meanings

    async def late(agent, alias):
        found = await meanings(agent, alias)
        await store.set_alias(agent, alias, 1, reason="another process")
        return found

    store.meanings = late
    with pytest.raises(AliasMovedError):
        await orchestrator.rollout.rollback(AGENT)


# Over HTTP


async def test_every_step_over_http(tmp_path):
    async with open_doors(tmp_path, versions=2) as doors, doors.caller() as client:
        place = f"/v1/agents/{AGENT}"
        assert (await client.get(f"{place}/canary")).status_code == 404
        answer = await client.put(f"{place}/canary", json={"share": 0.25, "version": 2})
        assert (answer.status_code, answer.json()["state"]) == (200, "running")
        assert answer.json()["limits"]["window"] == 200
        assert (await client.get(f"{place}/canary")).json() == answer.json()
        for wrong in ({}, {"share": 1.5}, {"share": "all"}, {"share": 0.1, "limits": {"x": 1}}):
            assert (await client.put(f"{place}/canary", json=wrong)).status_code == 422
        both = {"share": 0.1, "limits": {"fewest": 50, "window": 10}}
        answer = await client.put(f"{place}/canary", json=both)
        assert answer.status_code == 422
        assert "fewest=50" in answer.json()["detail"]
        answer = await client.post(f"{place}/promote_challenger", json={})
        assert (answer.status_code, "never judged" in answer.json()["detail"]) == (409, True)
        answer = await client.post(f"{place}/canary/stop", json={"reason": "seen enough"})
        assert (answer.json()["state"], answer.json()["reason"]) == ("off", "seen enough")
        forced = {"force_because": "a drill"}
        answer = await client.post(f"{place}/promote_challenger", json=forced)
        assert (answer.status_code, answer.json()["forced_because"]) == (200, "a drill")
        results = (await client.get(f"{place}/gate_results")).json()
        assert [one["is_passed"] for one in results] == [False, False]
        answer = await client.post(f"{place}/rollback", json={"reason": "end of the drill"})
        assert (answer.status_code, answer.json()["version"]) == (200, 1)
        assert (await client.post(f"{place}/rollback", json={})).status_code == 404
        assert (await client.get(f"{place}/second_answers")).json() == []
        assert (await client.get("/v1/agents/nobody/gate_results")).status_code == 404


async def test_moves_over_http_want_an_admin(tmp_path):
    async with open_doors(tmp_path, versions=2) as doors:
        token = await doors.make_token("t", "invoke", "train")
        async with doors.caller(token) as client:
            place = f"/v1/agents/{AGENT}"
            calls = [
                client.put(f"{place}/canary", json={"share": 0.1, "version": 2}),
                client.post(f"{place}/canary/stop", json={}),
                client.post(f"{place}/promote_challenger", json={}),
                client.post(f"{place}/rollback", json={}),
            ]
            assert {(await call).status_code for call in calls} == {403}


async def test_callers_over_http_meet_the_version_of_their_key(tmp_path):
    async with open_doors(tmp_path, versions=2) as doors, doors.caller() as client:
        place = f"/v1/agents/{AGENT}"
        await client.put(f"{place}/canary", json={"share": 0.5, "version": 2})
        for number in range(12):
            key = f"customer {number}"
            reached = "2" if place_of(AGENT, key) < 0.5 else "1"
            for verb, body in ((":invoke", REQUEST), (":batch", [REQUEST])):
                answer = await client.post(
                    f"{place}{verb}", json=body, headers={"X-Request-Key": key}
                )
                decision = answer.json() if verb == ":invoke" else answer.json()[0]
                assert decision["version"] == reached
        key = next(f"k{n}" for n in range(99) if place_of(AGENT, f"k{n}") < 0.5)
        for query in ("alias=champion", "version=1"):
            answer = await client.post(
                f"{place}:invoke?{query}", json=REQUEST, headers={"X-Request-Key": key}
            )
            assert answer.json()["version"] == "1"
