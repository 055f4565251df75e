"""Every world with a view: the agent acts as the trained policy does, and only what is feasible."""

from __future__ import annotations

import json
from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_agents.base_agent import InvocationContext, RequestError
from ai_agents.cards import describe
from ai_agents.domains import DOMAINS
from ai_agents.policy_agent import PolicyAgent
from ai_agents.view_domain import ViewDecisions
from rl.artifacts import PolicyArtifact, ValidRange
from rl.deployment.view_policy import ViewPolicy
from rl.domains.view_worlds import REFUSED, VIEW_WORLDS
from rl.environments.catalog import PRESETS
from rl.environments.torch_tools import view_to_numpy
from rl.evaluation.players import random_player
from rl.training.catalog_problem import catalog_problem
from rl.training.conclusion import Places
from rl.training.recorder import NullRecorder
from rl.training.training_config import TrainingConfig
from rl.training.training_run import train_problem
from tests.cards import make_card, make_header
from tests.views import make_artifact, make_world
from utils.errors import ConfigError
from utils.persistence.artifact_store import DirectoryArtifactStore

pytestmark = pytest.mark.anyio
CONTEXT = InvocationContext(request_id="r")
STEPS = 12


def test_every_world_of_the_catalogue_is_wrapped_or_refused_with_a_reason():
    assert set(VIEW_WORLDS) | set(REFUSED) == set(PRESETS)
    assert not set(VIEW_WORLDS) & set(REFUSED)
    assert all(REFUSED.values())
    assert set(VIEW_WORLDS) <= set(DOMAINS)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_what_is_said_of_a_world_is_so(name):
    world = PRESETS[name].make(1, 0)
    world.reset()
    view = getattr(world, "view", None)
    is_flat = view is not None and all(isinstance(one, torch.Tensor) for one in vars(view).values())
    if name in VIEW_WORLDS:
        assert is_flat
        assert type(view) is VIEW_WORLDS[name].view
        problem = catalog_problem(name, "ppo")
        assert problem.exporter is not None
        assert set(problem.experts) == set(VIEW_WORLDS[name].experts)
    else:
        assert ("other dataclasses" in REFUSED[name]) == (not is_flat)


def requests_of(domain, view):
    """One request for each copy of a world."""
    rows = vars(view)
    copies = len(next(iter(rows.values())))
    whole = {one.name for one in domain._policy.fields if one.kind == "whole"}
    whole |= domain._policy.world.flags
    return [
        domain.request_type.model_validate_json(
            json.dumps(
                {
                    name: (values[copy].astype(int) if name in whole else values[copy]).tolist()
                    for name, values in rows.items()
                }
            )
        )
        for copy in range(copies)
    ]


@pytest.mark.parametrize("name", sorted(VIEW_WORLDS))
def test_the_same_view_gives_the_action_of_the_trained_policy(name):
    _, environment, agent = make_world(name)
    domain = ViewDecisions(make_artifact(name))
    play, record = random_player(1), environment.reset(seed=0)
    seen = []
    for _ in range(STEPS):
        view = view_to_numpy(environment.view)
        situations = [domain.read(request) for request in requests_of(domain, view)]
        plan = domain.plan(situations)
        acted = agent.act(record.observation, record.action_mask, deterministic=True).action
        wanted = acted.numpy() if acted.ndim == plan.actions.ndim else acted[:, 0].numpy()
        assert plan.is_usable.all()
        if plan.actions.dtype.kind == "f":
            spec = environment.groups[0].action
            wanted = np.clip(wanted, spec.low, spec.high)
        if "skills" in vars(view):
            wanted = np.where(view.skills.any(-2), wanted, plan.actions)
        np.testing.assert_allclose(plan.actions, wanted, atol=1e-6)
        seen.append(plan.actions)
        record = environment.step(play(environment, record))
    assert len(np.unique(np.stack(seen))) > 1 or name == "job_scheduling"


@pytest.mark.parametrize("name", sorted(VIEW_WORLDS))
async def test_a_batch_is_its_singles_and_the_example_is_answered_by_the_policy(name):
    artifact = make_artifact(name)
    async with PolicyAgent(artifact, ViewDecisions(artifact)) as agent:
        _, environment, _ = make_world(name)
        environment.reset(seed=0)
        first = requests_of(agent.domain, view_to_numpy(environment.view))
        requests = [
            one.model_copy(update={"compare": True}) for one in (*first, agent.example_request())
        ]
        batch = await agent.invoke_batch(requests, CONTEXT)
        singles = [await agent.invoke(request, CONTEXT) for request in requests]
    for one, other in zip(batch, singles, strict=True):
        assert one.decided_by == "policy"
        np.testing.assert_allclose(one.action, other.action, atol=1e-6)
        assert one.expert == other.expert
        assert one.expert.name in VIEW_WORLDS[name].experts


async def test_a_run_becomes_an_agent_without_code(tmp_path):
    config = TrainingConfig(
        environment="market_making", algorithm="ppo", total_episodes=16, eval_frequency=16
    )
    store = DirectoryArtifactStore(tmp_path / "artifacts")
    places = Places(folder=tmp_path, artifacts=store)
    result = train_problem(config, NullRecorder(), places, run_id="r")
    artifact = PolicyArtifact.from_bytes(store.get(result.artifact_sha256))
    assert artifact.card.baseline.expert == result.tables[0].baseline == "avellaneda_stoikov"
    ranges = {one.field: one for one in artifact.card.validated_for}
    assert set(ranges) == {one.name for one in fields(VIEW_WORLDS["market_making"].view)}
    assert ranges["steps_left"].low == 1.0
    assert ranges["inventory"].low < 0 < ranges["inventory"].high
    async with PolicyAgent(artifact, DOMAINS[artifact.domain](artifact)) as agent:
        decision = await agent.invoke(agent.example_request(), CONTEXT)
        assert describe(agent).fallback_expert == "avellaneda_stoikov"
    assert decision.decided_by == "policy"
    assert len(decision.action) == 2


def test_a_request_says_what_its_fields_are():
    schema = ViewDecisions(make_artifact("market_making")).request_type.model_json_schema()
    assert schema["properties"]["inventory"]["description"] == (
        "Shares held; negative if short. One number."
    )
    nodes = ViewDecisions(make_artifact("distributed_nodes")).request_type.model_json_schema()
    assert "`[node, resource]`" in nodes["properties"]["usage"]["description"]
    assert nodes["properties"]["usage"]["maxItems"] == 10


def example(name):
    return ViewDecisions(make_artifact(name)).example_request().model_dump(mode="json")


@pytest.mark.parametrize("name", sorted(VIEW_WORLDS))
def test_a_malformed_request_names_its_field(name):
    agent = PolicyAgent(make_artifact(name), ViewDecisions(make_artifact(name)))
    good = example(name)
    agent.parse(json.dumps(good))
    first = fields(VIEW_WORLDS[name].view)[0].name
    for value in (float("nan"), 1e300, [], [[1.0] * 999], "much", None):
        with pytest.raises(RequestError) as caught:
            agent.parse(good | {first: value})
        assert all(problem.field.startswith(first) for problem in caught.value.problems)
    missing = {key: value for key, value in good.items() if key != first}
    for wrong, field in ((missing, first), (good | {"colour": 1}, "colour")):
        with pytest.raises(RequestError) as caught:
            agent.parse(wrong)
        assert caught.value.problems[0].field == field


def test_where_nothing_is_active_there_is_nothing_to_decide():
    domain = ViewDecisions(make_artifact("traffic_shares"))
    request = domain.request_type.model_validate(
        example("traffic_shares") | {"resource_active": [0, 0, 0, 0]}
    )
    with pytest.raises(RequestError) as caught:
        domain.read(request)
    assert caught.value.problems[0].field == "resource_active"


async def test_outside_the_validated_range_the_expert_answers():
    valid = ValidRange(field="volatility", low=1.0, high=3.0)
    artifact = make_artifact("market_making", valid)
    async with PolicyAgent(artifact, ViewDecisions(artifact)) as agent:
        request = agent.parse(example("market_making") | {"volatility": 4.0, "compare": True})
        decision = await agent.invoke(request, CONTEXT)
    assert decision.decided_by == "avellaneda_stoikov"
    assert decision.fallback_reason == "outside_validated_range"
    assert decision.action == decision.expert.action
    assert decision.warnings == ["volatility = 4: validated for 1 to 3 only"]
    assert "stood in" in decision.reason


def test_a_choice_that_there_is_not_is_cut_to_the_one_that_changes_nothing():
    domain = ViewDecisions(make_artifact("job_scheduling"))
    empty = domain.request_type.model_validate(
        example("job_scheduling") | {"length": [0] * len(example("job_scheduling")["length"])}
    )
    situation = domain.read(empty)
    decision = domain.decide(situation, np.int64(0), header=make_header(), expert=None)
    assert decision.action == len(example("job_scheduling")["length"])
    assert decision.guardrails == ["allowed"]
    by_expert = domain.decide(situation, np.int64(0), header=make_header("tetris"), expert=None)
    assert (by_expert.action, by_expert.guardrails) == (decision.action, [])


def is_feasible(name, action, request, config):
    action = np.asarray(action)
    read = {key: np.asarray(value, float) for key, value in request.items()}
    if name == "market_making":
        return ((action >= config.lowest_distance) & (action <= config.highest_distance)).all()
    if name == "constrained_allocation":
        exists = read["task_active"][:, None] * read["resource_active"]
        most = config.max_allocation_per_resource * exists
        return ((action >= 0) & (action <= most)).all()
    if name == "traffic_shares":
        return (action >= 0).all() and action.sum() <= 1.0
    if name == "capacity_planning":
        whole = (action == np.rint(action)).all()
        stands = read["lumps"] + read["coming"][:, 0]
        return (
            whole
            and (action >= -stands * read["active"]).all()
            and (np.abs(action) <= config.max_lumps).all()
        )
    if name == "workforce":
        return ((action >= 0) & (action <= read["skills"].sum(0))).all()
    if name == "job_scheduling":
        empty = np.append(read["length"], 1.0) == 0
        return 0 <= action < len(empty) and not empty[int(action)]
    free = 1.0 - read["usage"]
    return ((action >= 0) & (action <= free)).all()


@pytest.mark.parametrize("name", sorted(set(VIEW_WORLDS) - {"distributed_nodes_deadlines"}))
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([0.0, 1.0, 40.0, 1e9]))
def test_whatever_is_asked_the_answer_is_feasible_and_finite(name, seed, scale):
    artifact = make_artifact(name)
    domain = ViewDecisions(artifact)
    world, generator = VIEW_WORLDS[name], np.random.default_rng(seed)
    request = {}
    for one in domain._policy.fields:
        low = -scale if one.name in world.signed else 0.0
        values = generator.uniform(low, scale, one.shape) * generator.integers(0, 2, one.shape)
        if one.name in world.flags:
            values = generator.integers(0, 2, one.shape)
            values = np.maximum(values, one.name in world.anything)
        elif one.kind == "whole":
            values = np.rint(values).astype(int)
        elif one.name == "usage":
            values = np.minimum(values, 1.0)
        request[one.name] = values.tolist()
    situation = domain.read(domain.request_type.model_validate(request))
    plan, expert = domain.plan([situation]), domain.ask_expert([situation])
    decision = domain.decide(situation, plan.actions[0], header=make_header(), expert=expert[0])
    assert plan.is_usable.all()
    json.loads(decision.model_dump_json())
    for action in (decision.action, decision.expert.action):
        assert np.isfinite(action).all()
        assert is_feasible(name, action, request, domain._policy.domain.config)


def test_an_artifact_that_does_not_fit_its_world_is_refused():
    good = make_artifact("market_making")
    config = json.loads(good.domain_config)
    swapped = config | {"fields": config["fields"][::-1]}
    for changes in (
        {"domain": "trading"},
        {"domain": "execution"},
        {"domain": "traffic_shares"},
        {"domain_config": json.dumps(swapped)},
    ):
        with pytest.raises((ConfigError, TypeError)):
            ViewPolicy(PolicyArtifact(**{**vars(good), **changes}))


def test_an_unknown_expert_gives_way_to_the_first_of_the_world():
    artifact = make_artifact("market_making").with_card(make_card(agent="a", expert="random"))
    assert ViewPolicy(artifact).expert_name == "avellaneda_stoikov"
