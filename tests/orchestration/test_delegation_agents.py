"""Delegation through the orchestrator: agents asked by the patterns, every decision recorded."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections import Counter

import anyio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_agents.allocation_schema import AllocationRequest
from ai_agents.allocation_translation import AllocationTranslator
from ai_agents.base_agent import AgentNotReadyError, RequestError
from orchestration.app import Settings, open_application
from orchestration.delegation.agent_calls import AllocationMean, hand_down
from orchestration.delegation.calls import Call, Limits
from orchestration.delegation.combination import mean_distance, vote
from orchestration.delegation.decision_shelf import DecisionFilter
from orchestration.delegation.patterns import Step
from rl.deployment.guardrails import FallbackReason
from tests.orchestration.house import AGENT, REQUEST, open_house
from tests.serving import NAMES, WORLD, make_ranges
from utils.clock import ManualClock
from utils.persistence.errors import DatabaseError

pytestmark = pytest.mark.anyio
RESOURCES = WORLD.resources


@pytest.fixture(scope="module")
def furnished(tmp_path_factory):
    """A folder with three versions of an agent, to be copied."""
    folder = tmp_path_factory.mktemp("furnished")

    async def furnish():
        async with open_house(folder, versions=3):
            pass

    anyio.run(furnish)
    return folder


@pytest.fixture
async def house(tmp_path, furnished):
    shutil.copytree(furnished, tmp_path / "var")
    async with open_house(tmp_path / "var") as application:
        yield application


@pytest.fixture
async def timed(tmp_path, furnished):
    shutil.copytree(furnished, tmp_path / "var")
    settings, clock = Settings(var=tmp_path / "var"), ManualClock()
    async with open_application(settings, with_worker=False, clock=clock) as application:
        application.orchestrator.clock = clock
        application.orchestrator.metrics = application.metrics
        yield application.orchestrator


async def records(application, **wishes):
    orchestrator = getattr(application, "orchestrator", application)
    await orchestrator._parts.decision_log.flush()
    return await orchestrator.decisions.find(DecisionFilter(**wishes))


def open_circuits(orchestrator):
    found = [one for one in orchestrator.metrics.collect() if one.name == "agent_circuit_open"]
    return [sample.value for one in found for sample in one.samples]


def total(decision, resource):
    return math.fsum(one.allocation[resource] for one in decision.services)


async def test_every_request_leaves_a_record(house):
    orchestrator = house.orchestrator
    decision = await orchestrator.invoke(AGENT, REQUEST, request_id="mine")
    far = {**REQUEST, "capacity": {"compute": 5000.0, "memory": 60.0}}
    await orchestrator.invoke(AGENT, far, version=2)
    with pytest.raises(RequestError):
        await orchestrator.invoke(AGENT, '{"services": 3}')
    agent = await orchestrator.registry.resolve(AGENT)
    await agent.aclose()
    with pytest.raises(AgentNotReadyError):
        await orchestrator.invoke(AGENT, REQUEST)
    by_outcome = {one.outcome: one for one in await records(house)}
    plain, fallback = by_outcome["decision"], by_outcome["fallback"]
    refused, error = by_outcome["refused"], by_outcome["error"]
    assert (error.request_sha256, error.fallback_reason) == (plain.request_sha256, None)
    assert (plain.agent, plain.version, plain.request_id) == (AGENT, "1", "mine")
    assert (fallback.version, fallback.fallback_reason) == ("2", "outside_validated_range")
    assert refused.request_sha256 == hashlib.sha256(b'{"services": 3}').hexdigest()
    assert plain.latency_seconds >= decision.duration_seconds > 0


async def test_a_request_without_a_name_has_that_of_its_record(house):
    decision = await house.orchestrator.invoke(AGENT, REQUEST)
    told = await house.orchestrator.decisions.report_outcome(
        decision.request_id, {"served_work": 70.0}
    )
    assert told.id == told.request_id == decision.request_id
    await house.orchestrator.invoke(AGENT, REQUEST, request_id="again")
    await house.orchestrator.invoke(AGENT, REQUEST, request_id="again")
    assert len(await records(house, request_id="again")) == 2


async def test_the_hash_is_that_of_the_request_however_it_is_written(house):
    turned = {key: REQUEST[key] for key in reversed(REQUEST)}
    agent = await house.orchestrator.registry.resolve(AGENT)
    for form in (REQUEST, json.dumps(turned), json.dumps(REQUEST).encode(), agent.parse(REQUEST)):
        await house.orchestrator.invoke(AGENT, form, request_id="same")
    await house.orchestrator.invoke(AGENT, {**REQUEST, "time_of_day": 0.5}, request_id="other")
    same = {one.request_sha256 for one in await records(house, request_id="same")}
    (other,) = await records(house, request_id="other")
    assert len(same) == 1
    assert other.request_sha256 not in same


async def test_odd_request_ids_are_stored_as_far_as_a_database_can(house):
    await house.orchestrator.invoke(AGENT, REQUEST, request_id="a\0b\ud800" + "x" * 300)
    (record,) = await records(house)
    assert record.request_id == "a?b?" + "x" * 196


async def test_deciding_needs_no_database(house, monkeypatch):
    await house.orchestrator.invoke(AGENT, REQUEST)

    def away(*, durable=False):
        raise DatabaseError("away")

    with monkeypatch.context() as patch:
        patch.setattr(house.database, "write", away)
        await house.orchestrator.invoke(AGENT, REQUEST)
        assert not await house.decision_log.flush()
    assert len(await records(house)) == 2


async def test_records_are_written_when_the_application_ends(tmp_path):
    async with open_house(tmp_path, versions=1) as application:
        await application.orchestrator.invoke(AGENT, REQUEST, request_id="last")

    async def end_in_an_error():
        async with open_house(tmp_path) as application:
            await application.orchestrator.invoke(AGENT, REQUEST, request_id="sudden")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await end_in_an_error()
    async with open_house(tmp_path) as application:
        assert [one.request_id for one in await records(application)] == ["sudden", "last"]


async def test_the_background_writes_while_the_application_runs(house):
    async with anyio.create_task_group() as group:
        group.start_soon(house.run)
        await house.orchestrator.invoke(AGENT, REQUEST)
        with anyio.fail_after(120):
            while not await house.orchestrator.decisions.find():  # noqa: ASYNC110  another task
                await anyio.sleep(0.01)
        group.cancel_scope.cancel()


async def test_a_policy_that_keeps_failing_is_left_alone_for_a_while(timed, monkeypatch):
    agent = await timed.registry.resolve(AGENT)
    asked = []

    def broken(view):
        asked.append(view)
        raise ZeroDivisionError

    sound = agent.domain.plan
    monkeypatch.setattr(agent.domain, "plan", broken)
    reasons = [(await timed.invoke(AGENT, REQUEST)).fallback_reason for _ in range(8)]
    assert reasons == [FallbackReason.ERROR] * 5 + [FallbackReason.CIRCUIT_OPEN] * 3
    assert len(asked) == 5
    assert open_circuits(timed) == [1]
    decision = await timed.invoke(AGENT, REQUEST)
    assert (decision.fallback_used, decision.decided_by) == (True, agent.domain.expert_name)
    assert total(decision, "compute") <= REQUEST["capacity"]["compute"]
    monkeypatch.setattr(agent.domain, "plan", sound)
    assert (await timed.invoke(AGENT, REQUEST)).fallback_used
    timed.clock.advance(30)
    assert not (await timed.invoke(AGENT, REQUEST)).fallback_used
    assert not (await timed.invoke(AGENT, REQUEST)).fallback_used
    assert open_circuits(timed) == [0]
    counted = Counter(one.fallback_reason for one in await records(timed))
    assert counted == {None: 2, "circuit_open": 5, "error": 5}


async def test_bad_requests_are_not_the_policy_s_fault(timed):
    for _ in range(10):
        with pytest.raises(RequestError):
            await timed.invoke(AGENT, {})
        far = {**REQUEST, "capacity": {"compute": 5000.0, "memory": 60.0}}
        await timed.invoke(AGENT, far)
    assert not (await timed.invoke(AGENT, REQUEST)).fallback_used


async def test_late_policies_open_the_circuit_too(timed, monkeypatch):
    agent = await timed.registry.resolve(AGENT)

    async def late(policy, deadline_seconds):
        return FallbackReason.DEADLINE

    monkeypatch.setattr("ai_agents.policy_agent.attempt", late)
    for _ in range(5):
        assert (await timed.invoke(AGENT, REQUEST)).fallback_reason is FallbackReason.DEADLINE
    assert (await timed.invoke(AGENT, REQUEST)).fallback_reason is FallbackReason.CIRCUIT_OPEN
    assert agent.version == "1"


async def test_agents_are_asked_side_by_side(house):
    orchestrator = house.orchestrator
    calls = [
        orchestrator.call(AGENT, REQUEST, version=2),
        orchestrator.call(AGENT, REQUEST),
        orchestrator.call("nobody", REQUEST),
        orchestrator.call(AGENT, {}, name="empty"),
    ]
    results = await orchestrator.parallel(calls)
    assert [result.name for result in results] == [
        f"{AGENT}@2",
        f"{AGENT}@champion",
        "nobody@champion",
        "empty",
    ]
    assert [result.outcome for result in results] == ["answered", "answered", "failed", "failed"]
    assert [result.version for result in results] == ["2", "1", None, None]
    assert results[0].answer.version == "2"
    assert "UnknownAgentError" in results[2].error
    assert "RequestError" in results[3].error


async def test_the_fastest_decision_wins(house):
    orchestrator = house.orchestrator

    async def never(request):
        await anyio.sleep_forever()

    calls = [
        Call(name="stuck", ask=never, request=REQUEST),
        orchestrator.call("nobody", REQUEST),
        orchestrator.call(AGENT, REQUEST),
    ]
    race = await orchestrator.first(calls, accept=lambda decision: not decision.fallback_used)
    assert (race.winner.name, race.winner.version) == (f"{AGENT}@champion", "1")
    assert [result.outcome for result in race.results] == ["cancelled", "failed", "answered"]


async def test_what_is_left_over_is_shared_by_the_next(house):
    orchestrator = house.orchestrator

    def shape(answers):
        if not answers:
            return REQUEST
        return {**REQUEST, "capacity": answers[-1].leftover}

    ask = orchestrator.call(AGENT, REQUEST).ask
    steps = [Step(name=name, ask=ask, shape=shape) for name in ("first", "rest")]
    first, rest = await orchestrator.sequential(steps)
    for resource in RESOURCES:
        assert total(rest.answer, resource) <= first.answer.leftover[resource]


async def test_versions_average_and_their_disagreement_is_reported(house):
    orchestrator = house.orchestrator
    calls = [orchestrator.call(AGENT, REQUEST, version=version) for version in (1, 2, 3)]
    averaging = await orchestrator.averaging(AGENT, REQUEST)
    council = await orchestrator.consensus(calls, combine=averaging)
    turned = await orchestrator.consensus(calls[::-1], combine=averaging)
    mean, voices = council.answer, [result.answer for result in council.results]
    assert mean.services == turned.answer.services
    assert 0 < council.disagreement == turned.disagreement <= 1
    assert (mean.agent, mean.version) == ("consensus", "1+2+3")
    for place, service in enumerate(mean.services):
        for resource in RESOURCES:
            granted = [voice.services[place].allocation[resource] for voice in voices]
            assert service.allocation[resource] == pytest.approx(sum(granted) / 3, rel=1e-5)
    for resource in RESOURCES:
        assert total(mean, resource) <= REQUEST["capacity"][resource]
    alone = await orchestrator.consensus(calls[:1], combine=averaging)
    assert alone.disagreement is None
    same = [orchestrator.call(AGENT, REQUEST, name=name) for name in "ab"]
    assert (await orchestrator.consensus(same, combine=averaging)).disagreement == 0


async def test_versions_vote(house):
    orchestrator = house.orchestrator
    voices = [("a", 1), ("b", 2), ("c", 1)]
    calls = [orchestrator.call(AGENT, REQUEST, version=v, name=name) for name, v in voices]
    how = vote(lambda decision: json.dumps([one.allocation for one in decision.services]))
    council = await orchestrator.consensus(calls, combine=how)
    assert (council.answer.version, council.disagreement) == ("1", pytest.approx(2 / 3))


async def test_a_budget_is_split_and_handed_down(house):
    orchestrator = house.orchestrator
    known = await orchestrator.registry.resolve(AGENT)
    below = {name: known.parse(REQUEST) for name in NAMES}

    def split(decision):
        requests = hand_down(decision, below)
        return [orchestrator.call(AGENT, one, name=name) for name, one in requests.items()]

    result = await orchestrator.hierarchical(orchestrator.call(AGENT, REQUEST), split)
    assert [one.outcome for one in result.below] == ["answered"] * 4
    grants = {one.name: one.allocation for one in result.top.answer.services}
    for resource in RESOURCES:
        for one in result.below:
            used = total(one.answer, resource)
            assert used + one.answer.leftover[resource] == pytest.approx(grants[one.name][resource])
        spent = math.fsum(total(one.answer, resource) for one in result.below)
        assert spent <= REQUEST["capacity"][resource]
    assert len(await records(house)) == 5


async def test_grants_without_a_taker_are_refused(house):
    decision = await house.orchestrator.invoke(AGENT, REQUEST)
    with pytest.raises(RequestError, match="telemetry"):
        hand_down(decision, dict.fromkeys(NAMES[:-1]))


async def test_calls_have_the_deadline_that_they_were_given(house):
    call = house.orchestrator.call(AGENT, REQUEST, deadline_seconds=2)
    assert call.deadline_seconds == 2
    assert call.ask.keywords["deadline_seconds"] == pytest.approx(1.6)
    usual = house.orchestrator.call(AGENT, REQUEST)
    assert usual.deadline_seconds is None
    assert usual.ask.keywords["deadline_seconds"] == pytest.approx(0.8 * Limits().call_seconds)


def situation(capacity):
    translator = AllocationTranslator(WORLD, make_ranges(WORLD))
    request = {**REQUEST, "capacity": dict(zip(RESOURCES, capacity, strict=True))}
    parsed = translator.read(AllocationRequest.model_validate(request))
    return AllocationMean(translator=translator, situation=parsed)


@settings(max_examples=60, deadline=None)
@given(
    capacity=st.tuples(*[st.sampled_from([0.0, 1e-9, 0.1, 60.0, 1e9 / 3, 1e9]) for _ in RESOURCES]),
    seed=st.integers(0, 2**32 - 1),
    number=st.integers(1, 6),
    is_full=st.booleans(),
)
def test_means_are_feasible_and_disagreement_lies_between_0_and_1(capacity, seed, number, is_full):
    mean = situation(capacity)
    generator = np.random.default_rng(seed)
    drawn = generator.dirichlet([0.3] * (len(NAMES) + 1), size=(number, len(RESOURCES)))
    shares = [one.T[:-1] / (one.T[:-1].sum(0) if is_full else 1) for one in drawn]
    decision = mean.to_decision(np.mean(shares, axis=0), [_Voice()] * number)
    for index, resource in enumerate(RESOURCES):
        assert total(decision, resource) <= capacity[index]
        assert all(one.allocation[resource] >= 0 for one in decision.services)
    distance = mean_distance(shares, mean.distance)
    assert distance is None if number == 1 else 0 <= distance <= 1 + 1e-12
    back = mean.to_shares(decision)
    assert back == pytest.approx(
        np.where(np.asarray(capacity) > 0, np.mean(shares, axis=0), 0), abs=1e-5
    )


class _Voice:
    agent, version, decided_by, request_id, decision_id = "a", "1", "policy", "r", "d"
    fallback_used, fallback_reason, duration_seconds = False, None, 0.0


def test_disagreement_is_the_share_that_goes_elsewhere():
    mean = situation((60.0, 0.0))
    all_to_first, all_to_second, none = np.zeros((3, len(NAMES), 2))
    all_to_first[0, 0] = all_to_second[1, 0] = 1.0
    assert mean.distance(all_to_first, all_to_second) == 1
    assert mean.distance(all_to_first, none) == 1
    assert mean.distance(all_to_first, all_to_first / 2) == 0.5
    assert mean.distance(none, none) == 0


async def test_decisions_about_another_world_have_no_mean(house):
    decision = await house.orchestrator.invoke(AGENT, REQUEST)
    fewer = decision.model_copy(update={"services": decision.services[1:]})
    with pytest.raises(RequestError, match="another world"):
        situation((60.0, 60.0)).to_shares(fewer)


async def test_a_batch_leaves_a_record_of_each_decision(house):
    decisions = await house.orchestrator.invoke_batch(AGENT, [REQUEST, REQUEST], request_id="both")
    kept = await records(house, request_id="both")
    assert {one.id for one in kept} == {one.decision_id for one in decisions}
    assert len({one.id for one in kept}) == 2
    assert len({one.request_sha256 for one in kept}) == 1
