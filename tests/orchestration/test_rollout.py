"""Bad challengers go to canary, are caught within the window and rolled back; good ones stay."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import anyio
import pytest
from sqlalchemy import select

from ai_agents.allocation_domain import AllocationDecisions
from ai_agents.domains import DOMAINS
from ai_agents.registry import CHALLENGER, CHAMPION, UnknownAgentError
from examples.challengers import overflowing, slow, stingy
from orchestration.app import Settings, open_application
from orchestration.rollout.plan import CanaryLimits, place_of
from orchestration.rollout.plan_store import NoCanaryError, SqlPlans
from orchestration.rollout.second_answers import MOST_WAITING
from rl.deployment.exporters import RESOURCE_ALLOCATION
from tests.orchestration.house import AGENT, REQUEST
from tests.postgres import empty_tables
from tests.serving import make_artifact
from utils.clock import ManualClock, SystemClock
from utils.errors import ConfigError
from utils.observability import exposition
from utils.persistence.errors import DatabaseError
from utils.persistence.jobs import event
from utils.persistence.rollout_log import CanaryState
from utils.persistence.rollouts import second_answer

pytestmark = pytest.mark.anyio
GOOD = make_artifact(0)
LIMITS = CanaryLimits(window=60, fewest=20)
SLOW_SECONDS = 0.05
SLOW_NOTE = "Takes its time."


class Stage:
    """An application whose champion is version 1, and which tries further versions."""

    def __init__(self, application, clock):
        self.application, self.clock = application, clock
        self.orchestrator = application.orchestrator
        self.rollout, self.second = application.orchestrator.rollout, application.second_answers

    async def add(self, artifact):
        record = await self.orchestrator.registry.register(artifact.to_bytes())
        return record.version

    async def try_out(self, artifact, *, share=0.5, limits=LIMITS):
        version = await self.add(artifact)
        return await self.rollout.start_canary(AGENT, share=share, version=version, limits=limits)

    async def ask(self, key, **how):
        decision = await self.orchestrator.invoke(AGENT, REQUEST, request_key=key, **how)
        await self.second.work()
        return int(decision.version)

    async def ask_many(self, number, *, since=0):
        return [await self.ask(f"customer {n}") for n in range(since, since + number)]

    async def told(self, type_):
        async with self.application.database.read() as connection:
            query = select(event.c.payload).where(event.c.type == type_).order_by(event.c.seq)
            return list(await connection.scalars(query))

    def figure(self, line):
        lines = exposition(self.application.metrics).decode().splitlines()
        return next((float(one.split()[-1]) for one in lines if one.startswith(line + " ")), None)


@contextlib.asynccontextmanager
async def open_stage(var, *, database=None, versions=(GOOD,)):
    clock = ManualClock()

    def make(artifact):
        domain = AllocationDecisions(artifact)
        if SLOW_NOTE in artifact.card.limits:
            plan = domain.plan

            def take_time(situations):
                clock.advance(SLOW_SECONDS)
                return plan(situations)

            domain.plan = take_time
        return domain

    settings = Settings(var=var, database=database)
    async with open_application(settings, with_worker=False, clock=clock) as application:
        registry = application.orchestrator.registry
        registry._maker._makers = {**DOMAINS, RESOURCE_ALLOCATION: make}
        stage = Stage(application, clock)
        for artifact in versions:
            await stage.add(artifact)
        if versions:
            await stage.orchestrator.promote(AGENT, 1, reason="first")
        yield stage


@pytest.fixture(params=["file", "server"])
async def stage(request, tmp_path):
    database = None
    if request.param == "server":
        database = request.getfixturevalue("server_url")
        empty_tables(database)
    async with open_stage(tmp_path, database=database) as stage:
        yield stage


@pytest.fixture
async def own_stage(tmp_path):
    async with open_stage(tmp_path) as stage:
        yield stage


def late(artifact):
    card = replace(artifact.card, limits=(SLOW_NOTE,))
    return artifact.with_card(card)


# Routing


async def test_a_key_meets_the_same_version_and_a_share_of_them_the_challenger(own_stage):
    await own_stage.try_out(make_artifact(1), share=0.3, limits=replace(LIMITS, most_regret=2.0))
    first, again = [await own_stage.ask_many(60) for _ in range(2)]
    assert first == again
    expected = [2 if place_of(AGENT, f"customer {n}") < 0.3 else 1 for n in range(60)]
    assert first == expected
    assert 8 < first.count(2) < 28
    line = f'agent_canary_requests_total{{agent="{AGENT}",arm="challenger"}}'
    assert own_stage.figure(line) == 2 * first.count(2)


async def test_who_names_a_version_or_an_alias_gets_it(own_stage):
    await own_stage.try_out(make_artifact(1), share=1.0)
    assert await own_stage.ask("k") == 2
    assert await own_stage.ask("k", version=1) == 1
    assert await own_stage.ask("k", alias=CHAMPION) == 1
    assert await own_stage.ask("k", alias=CHALLENGER) == 2
    batch = await own_stage.orchestrator.invoke_batch(AGENT, [REQUEST] * 3)
    assert {one.version for one in batch} == {"2"}


async def test_without_a_key_the_request_id_is_the_key(own_stage):
    await own_stage.try_out(make_artifact(1), share=0.5)
    for n in range(20):
        decision = await own_stage.orchestrator.invoke(AGENT, REQUEST, request_id=f"r{n}")
        assert (decision.version == "2") == (place_of(AGENT, f"r{n}") < 0.5)


# Rollback


@pytest.mark.parametrize(
    ("make", "rule"), [(overflowing, "fallbacks"), (late, "latency"), (stingy, "regret")]
)
async def test_a_bad_challenger_is_rolled_back_within_the_window(stage, make, rule):
    await stage.try_out(make(GOOD))
    answers = await stage.ask_many(3 * LIMITS.window)
    assert LIMITS.fewest <= answers.count(2) <= LIMITS.window
    stopped = max(n for n, version in enumerate(answers) if version == 2)
    assert set(answers[stopped + 1 :]) == {1}
    plan = await stage.rollout.canary(AGENT)
    assert plan.state is CanaryState.ROLLED_BACK
    assert plan.reason.startswith(f"{rule}: ")
    (told,) = await stage.told("agent_rolled_back")
    assert (told["agent"], told["version"], told["figures"]["rule"]) == (AGENT, 2, rule)
    assert told["figures"]["samples"] <= LIMITS.window
    line = f'agent_rollbacks_total{{agent="{AGENT}",rule="{rule}"}}'
    assert stage.figure(line) == 1
    assert stage.figure(f'agent_canary_share_ratio{{agent="{AGENT}"}}') == 0
    champion = (await stage.orchestrator.agent(AGENT)).champion
    assert champion == 1


async def test_a_challenger_like_the_champion_stays(own_stage):
    twin = slow(GOOD, width=GOOD.observation_size, depth=1)  # other bytes, the same decisions
    await own_stage.try_out(twin)
    assert (await own_stage.ask_many(150)).count(2) > 60
    assert (await own_stage.rollout.canary(AGENT)).state is CanaryState.RUNNING
    async with own_stage.application.database.read() as connection:
        rows = (await connection.execute(select(second_answer))).mappings().all()
    assert {(row["served_version"], row["version"]) for row in rows} == {("2", "1")}
    assert max(row["distance"] for row in rows) < 1e-3
    assert max(abs(row["regret"]) for row in rows) < 1e-3


async def test_a_rollback_survives_a_restart(tmp_path):
    async with open_stage(tmp_path) as stage:
        await stage.try_out(overflowing(GOOD), share=1.0)
        await stage.ask_many(LIMITS.fewest)
    async with open_stage(tmp_path, versions=()) as stage:
        assert set(await stage.ask_many(30)) == {1}
        assert (await stage.rollout.canary(AGENT)).state is CanaryState.ROLLED_BACK


async def test_a_trial_survives_a_restart(tmp_path):
    async with open_stage(tmp_path) as stage:
        await stage.try_out(overflowing(GOOD), share=1.0)
        await stage.ask_many(LIMITS.fewest - 1)
    async with open_stage(tmp_path, versions=()) as stage:
        answers = await stage.ask_many(LIMITS.fewest + 5)
        assert answers == [2] * LIMITS.fewest + [1] * 5


async def test_of_two_processes_that_find_the_same_one_ends_the_trial(stage):
    plan = await stage.try_out(make_artifact(1))
    plans = SqlPlans(stage.application.database, SystemClock())
    ends = []

    async def end(reason):
        ends.append(await plans.end(plan, CanaryState.ROLLED_BACK, reason=reason))

    async with anyio.create_task_group() as group:
        for n in range(4):
            group.start_soon(end, f"by {n}")
    assert sorted(ends) == [False, False, False, True]
    assert len(await stage.told("agent_rolled_back")) == 1


async def test_a_verdict_on_an_earlier_trial_does_not_end_the_next_one(stage):
    former = await stage.try_out(make_artifact(1))
    await stage.try_out(make_artifact(2))
    plans = SqlPlans(stage.application.database, SystemClock())
    assert not await plans.end(former, CanaryState.ROLLED_BACK, reason="late")
    plan = await stage.rollout.canary(AGENT)
    assert (plan.version, plan.state) == (3, CanaryState.RUNNING)


async def test_others_see_a_rollback_within_a_second(own_stage):
    plan = await own_stage.try_out(make_artifact(1), share=1.0)
    assert await own_stage.ask("k") == 2
    plans = SqlPlans(own_stage.application.database, SystemClock())
    await plans.end(plan, CanaryState.ROLLED_BACK, reason="another process")
    own_stage.clock.advance(1.0)
    assert await own_stage.ask("k") == 1


async def test_in_the_background_plans_are_followed_and_shadows_asked(own_stage):
    router = own_stage.application.parts.router
    await own_stage.add(make_artifact(1))
    await own_stage.orchestrator.promote(AGENT, 2, alias="shadow")
    plans = SqlPlans(own_stage.application.database, SystemClock())
    line = f'agent_second_answers_total{{agent="{AGENT}",outcome="different",role="shadow"}}'
    async with anyio.create_task_group() as group:
        group.start_soon(router.run)
        with anyio.fail_after(60):
            while not router._canary._is_running:  # noqa: ASYNC110  a database answers
                await anyio.sleep(0.01)
            await plans.start(AGENT, 2, share=1.0)
            own_stage.clock.advance(1.0)
            while not router._canary.tries(AGENT, "2"):  # noqa: ASYNC110  a database answers
                await anyio.sleep(0.01)
            decision = await own_stage.orchestrator.invoke(AGENT, REQUEST)
            assert decision.version == "2"
            decision = await own_stage.orchestrator.invoke(AGENT, REQUEST, alias="champion")
            await plans.end(await plans.find(AGENT), CanaryState.OFF, reason="another process")
            own_stage.clock.advance(1.0)
            while router._canary.tries(AGENT, "2"):  # noqa: ASYNC110  a database answers
                await anyio.sleep(0.01)
            assert (await own_stage.orchestrator.invoke(AGENT, REQUEST)).version == "1"
            while own_stage.figure(line) != 1:  # noqa: ASYNC110  a thread answers
                await anyio.sleep(0.01)
        group.cancel_scope.cancel()


async def test_a_verdict_holds_here_while_the_database_is_away_and_is_written_later(own_stage):
    await own_stage.try_out(overflowing(GOOD), share=1.0)
    plans = own_stage.orchestrator._parts.router._canary._plans
    working = plans.end

    async def away(*_, **__):
        raise DatabaseError("away")

    plans.end = away
    assert (await own_stage.ask_many(LIMITS.fewest + 5))[-5:] == [1] * 5
    assert (await own_stage.rollout.canary(AGENT)).state is CanaryState.RUNNING
    plans.end = working
    own_stage.clock.advance(1.0)
    assert await own_stage.ask("k") == 1
    assert (await own_stage.rollout.canary(AGENT)).state is CanaryState.ROLLED_BACK


async def test_a_challenger_that_cannot_be_set_up_here_counts_as_failing(own_stage):
    await own_stage.try_out(make_artifact(1), share=1.0)
    registry = own_stage.orchestrator.registry
    resolve = registry.resolve

    async def broken(name, *, alias=CHAMPION, version=None):
        if version == 2:
            raise DatabaseError("its file is gone")
        return await resolve(name, alias=alias, version=version)

    registry.resolve = broken
    assert set(await own_stage.ask_many(LIMITS.fewest + 2)) == {1}
    plan = await own_stage.rollout.canary(AGENT)
    assert (plan.state, plan.reason[:7]) == (CanaryState.ROLLED_BACK, "errors:")


# What may be asked for


async def test_a_canary_needs_a_challenger_and_a_champion(tmp_path):
    async with open_stage(tmp_path, versions=()) as stage:
        with pytest.raises(UnknownAgentError, match="no agent"):
            await stage.rollout.start_canary(AGENT, share=0.1)
        await stage.add(GOOD)
        with pytest.raises(UnknownAgentError, match="no champion"):
            await stage.rollout.start_canary(AGENT, share=0.1, version=1)
        await stage.orchestrator.promote(AGENT, 1)
        with pytest.raises(UnknownAgentError, match="no challenger"):
            await stage.rollout.start_canary(AGENT, share=0.1)
        with pytest.raises(ConfigError, match="is champion"):
            await stage.rollout.start_canary(AGENT, share=0.1, version=1)
        with pytest.raises(NoCanaryError, match="never had"):
            await stage.rollout.canary(AGENT)
        with pytest.raises(NoCanaryError):
            await stage.rollout.stop_canary(AGENT)


async def test_a_share_that_is_none_changes_nothing(own_stage):
    version = await own_stage.add(make_artifact(1))
    for share in (-0.1, 1.5, float("nan")):
        with pytest.raises(ConfigError, match="share"):
            await own_stage.rollout.start_canary(AGENT, share=share, version=version)
    assert CHALLENGER not in (await own_stage.orchestrator.agent(AGENT)).aliases


async def test_a_trial_is_ended_by_hand(own_stage):
    await own_stage.try_out(make_artifact(1), share=1.0)
    plan = await own_stage.rollout.stop_canary(AGENT, reason="enough seen")
    assert (plan.state, plan.reason) == (CanaryState.OFF, "enough seen")
    assert await own_stage.ask("k") == 1
    with pytest.raises(NoCanaryError, match="no canary"):
        await own_stage.rollout.stop_canary(AGENT)


async def test_a_promotion_by_hand_ends_the_trial_of_that_version(stage):
    await stage.try_out(make_artifact(1))
    await stage.orchestrator.promote(AGENT, 2, reason="good enough")
    plan = await stage.rollout.canary(AGENT)
    assert (plan.state, plan.reason) == (CanaryState.PROMOTED, "good enough")
    assert len(await stage.told("agent_canary_promoted")) == 1


# Second answers


async def test_a_shadow_answers_behind_the_callers_back(stage):
    await stage.add(make_artifact(1))
    await stage.orchestrator.promote(AGENT, 2, alias="shadow")
    await stage.orchestrator.invoke(AGENT, REQUEST)  # the alias is seen
    decision = await stage.orchestrator.invoke(AGENT, REQUEST)
    assert decision.version == "1"
    await stage.second.work()
    async with stage.application.database.read() as connection:
        rows = (await connection.execute(select(second_answer))).mappings().all()
    row = next(row for row in rows if row["decision_id"] == decision.decision_id)
    assert (row["version"], row["served_version"], row["outcome"]) == ("2", "1", "different")
    assert 0 < row["distance"] <= 1
    shadow = await stage.orchestrator.invoke(AGENT, REQUEST, alias="shadow")
    values = decision.expected_value, shadow.expected_value
    assert row["regret"] == pytest.approx((values[1] - values[0]) / max(map(abs, values)))
    line = f'agent_second_answers_total{{agent="{AGENT}",outcome="different",role="shadow"}}'
    assert stage.figure(line) == len(rows)


async def test_a_full_queue_drops_and_counts_and_delays_nobody(own_stage):
    await own_stage.add(make_artifact(1))
    await own_stage.orchestrator.promote(AGENT, 2, alias="shadow")
    for _ in range(MOST_WAITING + 10):
        await own_stage.orchestrator.invoke(AGENT, REQUEST)
    line = f'agent_second_answers_total{{agent="{AGENT}",outcome="dropped",role="shadow"}}'
    assert own_stage.figure(line) == 10


async def test_a_shadow_that_breaks_harms_nobody(own_stage):
    await own_stage.add(overflowing(GOOD))
    await own_stage.orchestrator.promote(AGENT, 2, alias="shadow")
    registry = own_stage.orchestrator.registry
    assert set(await own_stage.ask_many(3)) == {1}
    line = f'agent_second_answers_total{{agent="{AGENT}",outcome="failed",role="shadow"}}'
    assert own_stage.figure(line) == 3
    agent = await registry.resolve(AGENT, alias="shadow")
    agent.domain.read = None
    assert await own_stage.ask("k") == 1
    assert own_stage.figure(line) == 4
