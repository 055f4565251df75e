"""Judging and generating as jobs, without a process: same episodes for all, nothing on trust."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from rl.artifacts import PolicyArtifact
from rl.training import evaluation_job, generation_job
from rl.training.evaluation_job import judge_policy
from rl.training.generation_job import generate
from rl.training.problems import make_problem
from rl.training.scenario_files import pack_scenarios, unpack_scenarios
from rl.training.training_config import TrainingConfig
from tests.serving import make_artifact
from utils.config import to_json
from utils.errors import ConfigError
from utils.persistence.artifact_store import DirectoryArtifactStore
from utils.persistence.errors import ArtifactCorruptError

CONFIG = TrainingConfig(num_agents=4)


@pytest.fixture(scope="module")
def problem(tmp_path_factory):
    """Shared services without traces, built once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rl.training.allocation_world.locate_traces", lambda: None)
        return make_problem(CONFIG)


@pytest.fixture
def house(tmp_path, problem, monkeypatch):
    for module in (evaluation_job, generation_job):
        monkeypatch.setattr(module, "make_problem", lambda _: problem)
    return SimpleNamespace(store=DirectoryArtifactStore(tmp_path), root=str(tmp_path))


def put(house, seed=0, **how):
    how = {"action": "coverage", **how}
    return house.store.put(make_artifact(seed, **how).to_bytes())


def context(inputs=None, var=None, artifacts=None):
    return SimpleNamespace(inputs=inputs or {}, var=var, artifacts=artifacts)


def judge(house, candidate, *, inputs=None, champion=None, scenarios=None, episodes=6, **places):
    champions = {"resource_allocator": {"version": 7, "sha256": champion}} if champion else {}
    spec = {
        "config": to_json(CONFIG),
        "candidate": candidate,
        "champions": champions,
        "scenarios": scenarios,
        "episodes": episodes,
        "artifact_root": house.root,
    }
    return judge_policy(spec, context(inputs, **places))


def test_candidate_champion_and_expert_play_the_same_episodes(house, problem):
    candidate, champion = put(house, 0), put(house, 1)
    found = judge(
        house, "train", inputs={"train": {"artifact_sha256": candidate}}, champion=champion
    )
    evidence, table = found["evidence"], found["table"]
    kpi = {row["name"]: row["kpi"]["mean"] for row in table["rows"]}
    assert set(kpi) == {"candidate", "champion", "urgent_value"}
    assert evidence["episodes"] == table["num_episodes"] == 6
    to_champion = evidence["champion"]["difference"]
    assert to_champion["mean"] == pytest.approx(kpi["candidate"] - kpi["champion"])
    assert to_champion["low"] <= to_champion["mean"] <= to_champion["high"]
    to_expert = evidence["expert"]["difference"]
    assert to_expert["mean"] == pytest.approx(kpi["candidate"] - kpi["urgent_value"])
    assert (evidence["champion"]["version"], evidence["sha256"]) == (7, candidate)
    assert evidence["data_sha256"] == problem.held_out.first(6).sha256
    swapped = judge(house, champion, champion=candidate)["evidence"]
    assert swapped["champion"]["difference"]["mean"] == pytest.approx(-to_champion["mean"])


def test_an_exported_policy_is_no_better_than_itself(house):
    candidate = put(house)
    found = judge(house, candidate, champion=candidate)["evidence"]["champion"]["difference"]
    assert found == {"mean": 0.0, "low": 0.0, "high": 0.0}


def test_on_another_machine_policies_come_from_the_shared_store(house, tmp_path):
    candidate = put(house)
    elsewhere = {"var": tmp_path / "elsewhere", "artifacts": house.root}
    house.root = "/nowhere"
    assert judge(house, candidate, **elsewhere)["evidence"]["sha256"] == candidate


def test_without_a_champion_the_expert_alone_is_the_bar(house):
    assert judge(house, put(house))["evidence"]["champion"] is None


def test_what_cannot_be_judged_is_refused(house):
    with pytest.raises(ConfigError, match="made no artifact"):
        judge(house, "train", inputs={"train": {"artifact_sha256": None}})
    other = put(house, 3, action="shares")
    with pytest.raises(ConfigError, match=r"another world .*action differs"):
        judge(house, put(house), champion=other)
    damaged = put(house, 5)
    house.store.path(damaged).write_bytes(b"x")
    with pytest.raises(ArtifactCorruptError):
        judge(house, damaged)


def test_generated_episodes_are_fresh_stored_and_played(house, problem):
    def make(seed):
        spec = {
            "config": to_json(CONFIG),
            "episodes": 5,
            "seed": seed,
            "artifact_root": house.root,
        }
        return generate(spec, context())

    one, again, other = make(1), make(1), make(2)
    assert one == again
    assert one["sha256"] != other["sha256"]
    drawn = unpack_scenarios(house.store.get(one["sha256"]), problem.held_out.scenarios)
    assert drawn.sha256 == one["scenarios_sha256"]
    assert drawn.scenarios.num_episodes == 5
    inputs = {"fresh": one}
    found = judge(house, put(house), inputs=inputs, scenarios="fresh", episodes=None)
    assert found["evidence"]["data_sha256"] == one["scenarios_sha256"]
    assert found["evidence"]["episodes"] == 5


def test_sets_survive_packing_and_damage_is_seen(problem):
    content = pack_scenarios(problem.held_out)
    back = unpack_scenarios(content, problem.validation.scenarios)
    assert back.sha256 == problem.held_out.sha256
    assert (back.name, back.about) == (problem.held_out.name, problem.held_out.about)
    assert np.array_equal(back.blocks, problem.held_out.blocks)
    assert pack_scenarios(back) == content
    for broken in (b"", content[:-9], make_artifact().to_bytes()):
        with pytest.raises(ArtifactCorruptError):
            unpack_scenarios(broken, problem.held_out.scenarios)
    foreign = make_problem(TrainingConfig(environment="execution")).held_out
    with pytest.raises(ConfigError, match="same environment"):
        unpack_scenarios(content, foreign.scenarios)


def test_the_exported_policy_acts_as_the_runtime_does():
    import torch

    from rl.deployment.policy_runtime import PolicyRuntime
    from rl.training.artifact_policy import artifact_policy

    artifact: PolicyArtifact = make_artifact(2)
    seen = torch.randn(3, 1, artifact.observation_size, generator=torch.Generator().manual_seed(0))
    sample = artifact_policy(artifact).act(seen, None, deterministic=True)
    assert sample.action.shape == (3, 1, artifact.action.size)
    assert np.array_equal(sample.action.numpy(), PolicyRuntime(artifact).act(seen.numpy()))
