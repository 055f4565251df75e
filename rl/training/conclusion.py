"""From a trained policy to tables, artifact and report: what a run comes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rl.artifacts import PolicyCard
from rl.deployment.exporters import ExportableAgent
from rl.evaluation.comparison import EvaluationTable, evaluate
from rl.evaluation.contest import ScenarioSet
from rl.evaluation.entrants import Entrant
from rl.evaluation.players import random_player, undisturbed
from rl.evaluation.plots import LearningCurve
from rl.evaluation.report import write_report
from rl.training.agents import Agent
from rl.training.curriculum_driver import CurriculumReport
from rl.training.policy_card import make_card
from rl.training.problem import Parameters, Problem
from rl.training.recorder import StopReason
from rl.training.shard_lines import OpenLines
from rl.training.shared_checkpoints import SharedCheckpoints
from rl.training.trainer import TrainOutcome
from rl.training.training_config import TrainingConfig
from utils.errors import ConfigError
from utils.persistence.artifact_store import ArtifactStore
from utils.persistence.run_facts import RunData, RunLineage

RANDOM = "random"


@dataclass(frozen=True, kw_only=True)
class ResumePoint:
    """A checkpoint to go on from."""

    path: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a run came to; a stopped run has neither artifact nor tables."""

    agent: str
    """Name of the business agent that the policy becomes."""
    env_steps: int
    updates: int
    stopped: StopReason | None
    ended: str
    """Why training is over, in words; empty if it was stopped."""
    episodes: int
    """Trained on, resumed ones included."""
    best_score: float | None
    artifact_sha256: str | None
    artifact_bytes: int
    card: PolicyCard | None
    tables: tuple[EvaluationTable, ...]
    """The held-out set first, then the stress sets."""
    curriculum: CurriculumReport | None
    lineage: RunLineage
    """Which data the numbers come from."""
    report: str


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where a run reads and writes."""

    folder: Path
    """Holds `checkpoints/` and `report/`."""
    artifacts: ArtifactStore
    """Takes the exported policy."""
    resume: ResumePoint | None = None
    """Where to go on from."""
    init: ResumePoint | None = None
    """Of another run: its best policy is what a new run begins with."""
    fence: int = 0
    """Of the lease under which checkpoints are written."""
    shared: SharedCheckpoints | None = None
    """Brings checkpoints to other machines; None where the folder is all there is."""
    ray_lines: OpenLines | None = None
    """Starts the shards of a run on a Ray cluster; None where nobody knows one."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """What a run is about."""

    config: TrainingConfig
    problem: Problem
    experts: Mapping[str, Parameters]
    """What each was tuned to."""
    places: Places
    run_id: str


def judge(
    problem: Problem,
    episodes: ScenarioSet,
    experts: Mapping[str, Parameters],
    agents: Sequence[Entrant],
) -> EvaluationTable:
    """Let random, the tuned experts and agents play the same episodes.

    Args:
        problem: The world.
        episodes: What is played.
        experts: What each was tuned to.
        agents: Who is judged.
    """
    entrants = [Entrant(name=RANDOM, kind="random", players=(partial(random_player, 0),))]
    entrants += [
        Entrant(name=name, kind="expert", players=(partial(problem.experts[name].player, tuned),))
        for name, tuned in experts.items()
    ]
    entrants += agents
    bound = None if problem.bound is None else problem.bound(episodes.scenarios)
    rival = problem.rival if problem.rival in experts else None
    return evaluate(problem.contest, episodes, entrants, bound=bound, rival=rival)


def conclude_run(
    study: Study,
    agent: Agent,
    outcome: TrainOutcome,
    curve: LearningCurve | None,
    *,
    curriculum: CurriculumReport | None = None,
) -> TrainingResult:
    """Judge a trained policy, export it and write the report.

    Args:
        study: What the run is about.
        agent: With its best policy.
        outcome: How training ended.
        curve: Evaluations during training.
        curriculum: What came of the stages.
    """
    config, problem, experts = study.config, study.problem, study.experts
    unexportable = why_not_exported(problem, agent)
    sets = (problem.held_out, *problem.stress)
    learner = Entrant(name=config.algorithm, kind="agent", policies=(agent,))
    tables = tuple(judge(problem, one, experts, [learner]) for one in sets)
    report = study.places.folder / "report"
    report.mkdir(parents=True, exist_ok=True)
    pictures: tuple[Path, ...] = ()
    if problem.illustrate is not None:
        rivals = {"agent": problem.contest.policy_player(agent)}
        if tables[0].has_expert:
            best = tables[0].baseline
            rivals[best] = problem.experts[best].player(experts[best])
        with undisturbed(agent, problem.held_out.scenarios.num_episodes):
            pictures = problem.illustrate(report, rivals)
    write_report(
        report,
        tables,
        title=problem.title,
        experts=experts,
        curve=curve,
        pictures=pictures,
        data_sha256={one.name: one.sha256 for one in (problem.validation, *sets)},
        note=f"No artifact was made: {unexportable}." if unexportable else "",
    )
    card, content = None, b""
    if problem.exporter is not None and isinstance(agent, ExportableAgent) and not unexportable:
        card = make_card(config, problem, experts, tables[0], run_id=study.run_id, outcome=outcome)
        content = problem.exporter.make(agent, card).to_bytes()
    return TrainingResult(
        agent=problem.agent,
        env_steps=outcome.env_steps,
        updates=outcome.updates,
        stopped=None,
        ended=outcome.ended,
        episodes=outcome.env_steps // problem.episode_steps,
        best_score=outcome.best_score,
        artifact_sha256=study.places.artifacts.put(content) if content else None,
        artifact_bytes=len(content),
        card=card,
        tables=tables,
        curriculum=curriculum,
        lineage=_lineage(problem),
        report=str(report),
    )


def leave_unfinished(
    problem: Problem, stopped: StopReason, outcome: TrainOutcome | None = None
) -> TrainingResult:
    """Say how far a run came that was stopped.

    Args:
        problem: What was learnt.
        stopped: Why.
        outcome: How training went, if it had begun.
    """
    return TrainingResult(
        agent=problem.agent,
        env_steps=outcome.env_steps if outcome else 0,
        updates=outcome.updates if outcome else 0,
        stopped=stopped,
        ended="",
        episodes=outcome.env_steps // problem.episode_steps if outcome else 0,
        best_score=outcome.best_score if outcome else None,
        artifact_sha256=None,
        artifact_bytes=0,
        card=None,
        tables=(),
        curriculum=None,
        lineage=_lineage(problem),
        report="",
    )


def why_not_exported(problem: Problem, agent: Agent) -> str:
    """Say why a policy could not leave as an artifact; empty if it could, or nobody expects it to.

    Args:
        problem: What is learnt.
        agent: Trained or not.
    """
    if problem.exporter is None:
        return ""
    if not isinstance(agent, ExportableAgent):
        return (
            f"{type(agent).__name__} cannot be served yet; apg, ppo without memory, sac and td3 can"
        )
    try:
        agent.export_layers()
    except ConfigError as error:
        return str(error)
    return ""


def _lineage(problem: Problem) -> RunLineage:
    sets = (problem.validation, problem.held_out, *problem.stress)
    known = [RunData(role=one.name, about=one.about, sha256=one.sha256) for one in sets]
    return RunLineage(data=(RunData(role="training", about=problem.training_data), *known))
