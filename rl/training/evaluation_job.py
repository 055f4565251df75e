"""A run's policy against the champion and the best expert, as a job: same episodes, paired."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import torch

from rl.artifacts import PolicyArtifact
from rl.deployment.view_policy import scores_choices
from rl.evaluation.comparison import EvaluationTable, evaluate
from rl.evaluation.contest import ScenarioSet
from rl.evaluation.entrants import Entrant
from rl.evaluation.players import Player
from rl.evaluation.recorded_play import record_play
from rl.training.artifact_policy import artifact_player
from rl.training.job import JobContext
from rl.training.job_places import open_artifacts
from rl.training.problem import Problem
from rl.training.problems import make_problem
from rl.training.promotion import Evidence, Interval, Rival
from rl.training.scenario_files import unpack_scenarios
from rl.training.training_config import TrainingConfig
from utils.config import from_json, to_json
from utils.errors import ConfigError
from utils.persistence.artifact_store import ArtifactStore

CANDIDATE, CHAMPION = "candidate", "champion"


class StepContext(JobContext, Protocol):
    """What a step of a pipeline is given besides."""

    @property
    def inputs(self) -> Mapping[str, Any]:
        """Results of the steps that it needs, by their names."""
        ...


def judge_policy(spec: Mapping[str, Any], context: StepContext) -> dict[str, Any]:
    """Let candidate, champion and the candidate's best expert play the same episodes.

    Args:
        spec: `config` of the run, `candidate` (a sha256, or the name of the step that trained it),
            `champions` by agent as of the submission, `scenarios` (the name of the step that
            generated them, or None for the held-out set), `episodes`, `artifact_root`.
        context: Of the attempt.

    Returns:
        The evidence that `promote` weighs, and the table.

    Raises:
        ConfigError: There is no policy to judge, or champion and candidate are of different worlds.
        ArtifactCorruptError: A policy or the scenarios are damaged.
    """
    torch.set_num_threads(1)
    problem = make_problem(from_json(TrainingConfig, spec["config"], "config."))
    store = open_artifacts(spec, context)
    sha256 = _candidate_of(spec, context)
    candidate = PolicyArtifact.from_bytes(store.get(sha256))
    episodes = _episodes_of(problem, spec, context, store)
    known = spec["champions"].get(candidate.card.agent)
    champion = None if known is None else PolicyArtifact.from_bytes(store.get(known["sha256"]))
    if champion is not None:
        _check_same_world(candidate, champion, known["version"])
    table, violations = _play(problem, episodes, candidate, champion)
    row = table.row(CANDIDATE)
    to_champion = None if champion is None else row.to_rival
    evidence = Evidence(
        agent=candidate.card.agent,
        sha256=sha256,
        data=episodes.about,
        data_sha256=episodes.sha256,
        episodes=len(episodes.blocks),
        violation=violations[CANDIDATE],
        expert=Rival(
            name=table.baseline,
            difference=None if row.difference is None else _interval(row.difference),
            violation=violations[table.baseline],
        ),
        champion=None
        if known is None or to_champion is None
        else Rival(
            name=f"version {known['version']}",
            version=known["version"],
            sha256=known["sha256"],
            difference=_interval(to_champion),
            violation=violations[CHAMPION],
        ),
    )
    return {"evidence": to_json(evidence), "table": to_json(table)}


def _candidate_of(spec: Mapping[str, Any], context: StepContext) -> str:
    name = str(spec["candidate"])
    if name not in context.inputs:
        return name
    sha256 = context.inputs[name]["artifact_sha256"]
    if sha256 is None:
        raise ConfigError(f"step {name} made no artifact: there is no policy to judge")
    return str(sha256)


def _episodes_of(
    problem: Problem,
    spec: Mapping[str, Any],
    context: StepContext,
    store: ArtifactStore,
) -> ScenarioSet:
    if spec["scenarios"] is None:
        return problem.held_out.first(spec["episodes"])
    content = store.get(context.inputs[spec["scenarios"]]["sha256"])
    return unpack_scenarios(content, problem.held_out.scenarios).first(spec["episodes"])


def _check_same_world(candidate: PolicyArtifact, champion: PolicyArtifact, version: int) -> None:
    asks_apart = scores_choices(candidate) or scores_choices(champion)
    # Who is asked for every choice apart observes and acts otherwise, in the same world.
    sizes = () if asks_apart else ("observation_size", "action")
    for what in ("domain", "domain_config", *sizes):
        if getattr(candidate, what) != getattr(champion, what):
            raise ConfigError(
                f"champion version {version} of {champion.card.agent} is of another world than "
                f"the candidate ({what} differs): they cannot play the same episodes; promote "
                "by hand if that is meant"
            )


def _play(
    problem: Problem,
    episodes: ScenarioSet,
    candidate: PolicyArtifact,
    champion: PolicyArtifact | None,
) -> tuple[EvaluationTable, dict[str, float]]:
    plays = problem.contest.policy_player
    agents: dict[str, Callable[[], Player]] = {
        CANDIDATE: partial(artifact_player, candidate, plays)
    }
    if champion is not None:
        agents[CHAMPION] = partial(artifact_player, champion, plays)
    best = candidate.card.baseline
    if best.expert not in problem.experts:
        raise ConfigError(f"the card names the expert {best.expert}, which {problem.name} has not")

    def expert() -> Player:
        return problem.experts[best.expert].player(best.parameters)

    entrants = [Entrant(name=best.expert, kind="expert", players=(expert,))]
    entrants += [Entrant(name=name, kind="agent", players=(make,)) for name, make in agents.items()]
    table = evaluate(
        problem.contest, episodes, entrants, rival=None if champion is None else CHAMPION
    )
    violations = {
        name: float(record_play(problem.contest, make(), episodes).violation.sum(1).mean())
        for name, make in {**agents, best.expert: expert}.items()
    }
    return table, violations


def _interval(estimate: Any) -> Interval:
    return Interval(mean=estimate.mean, low=estimate.low, high=estimate.high)
