"""The kinds of steps: what a declared step becomes when it is submitted, checked on the way."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ai_agents.registry import CHAMPION
from orchestration.executors.binding import TaskDefinition
from orchestration.pipelines.declaration import Pipeline, PipelineError, Step
from orchestration.tasks import TRAIN, find_start_point, make_train_spec
from rl.training.training_config import TrainingConfig
from utils.config import from_json, to_json
from utils.errors import ConfigError
from utils.persistence.alias_log import list_aliased
from utils.persistence.run_queries import get_run

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from utils.clock import Clock

GENERATE = TaskDefinition(kind="generate", target="rl.training.generation_job:generate")
EVALUATE = TaskDefinition(kind="evaluate", target="rl.training.evaluation_job:judge_policy")
PROMOTE = TaskDefinition(kind="promote", target="rl.training.promotion:decide_promotion")
MOST_EPISODES = 100_000
Declared = TypeVar("Declared")


@dataclass(frozen=True, kw_only=True)
class TrainStep:
    """What a `train` step is told."""

    config: TrainingConfig = field(default_factory=TrainingConfig)


@dataclass(frozen=True, kw_only=True)
class GenerateStep:
    """What a `generate` step is told."""

    config: TrainingConfig = field(default_factory=TrainingConfig)
    """Only the settings that make the world matter."""
    episodes: int = 128
    seed: int = 0
    """Another one makes other episodes."""

    def __post_init__(self) -> None:
        """Refuse sizes that are none.

        Raises:
            ConfigError: A number is out of range.
        """
        if not 1 <= self.episodes <= MOST_EPISODES or self.seed < 0:
            raise ConfigError(f"episodes: 1 to {MOST_EPISODES}, seed: 0 or more; not {self}")


@dataclass(frozen=True, kw_only=True)
class EvaluateStep:
    """What an `evaluate` step is told; it needs the `train` step that it judges, or a run's id."""

    run: str | None = None
    """A run that has ended; None judges what the needed `train` step makes."""
    episodes: int | None = None
    """Only the first so many; None for all."""
    alias: str = CHAMPION
    """Whom to beat."""

    def __post_init__(self) -> None:
        """Refuse numbers that are none.

        Raises:
            ConfigError: There would be no episodes.
        """
        if self.episodes is not None and self.episodes < 1:
            raise ConfigError(f"episodes={self.episodes}: choose at least 1, or none for all")


@dataclass(frozen=True, kw_only=True)
class PromoteStep:
    """What a `promote` step is told; it needs the `evaluate` step that it goes by."""

    alias: str = CHAMPION
    most_violation: float | None = None
    """What the candidate may break of the world's limits per episode; None allows nothing where
    the best expert breaks nothing, and anything where it breaks some."""

    def __post_init__(self) -> None:
        """Refuse a bound that bounds nothing.

        Raises:
            ConfigError: It is negative or no number.
        """
        if self.most_violation is not None and not 0 <= self.most_violation < math.inf:
            raise ConfigError(f"most_violation={self.most_violation}: choose 0 or more, or none")


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What submitted steps find."""

    output_dir: Path
    clock: Clock

    @property
    def artifact_root(self) -> str:
        """Folder of the artifact store."""
        return str(self.output_dir.absolute() / "artifacts")


class Prepare(Protocol):
    """Turns a declared step into what its job is told."""

    async def __call__(
        self,
        connection: AsyncConnection,
        step: Step,
        pipeline: Pipeline,
        surroundings: Surroundings,
    ) -> Mapping[str, Any]:
        """Return the job's spec; see the kinds below.

        Args:
            connection: The transaction that submits it.
            step: As declared.
            pipeline: Whose step.
            surroundings: Of this program.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class StepKind:
    """A kind of step."""

    definition: TaskDefinition
    declared: type[Any]
    """Dataclass of what a step of it may be told."""
    prepare: Prepare

    def check(self, step: Step) -> Any:
        """Read what a step is told.

        Args:
            step: Of this kind.

        Raises:
            ConfigError: A field is unknown or wrong; it is named.
        """
        return _read(self.declared, step)


async def _prepare_train(
    connection: AsyncConnection, step: Step, pipeline: Pipeline, surroundings: Surroundings
) -> Mapping[str, Any]:
    del pipeline
    config = _read(TrainStep, step).config
    init = await find_start_point(connection, config)
    spec = make_train_spec(
        config, output_dir=surroundings.output_dir, clock=surroundings.clock, init=init
    )
    return spec.to_json()


async def _prepare_generate(
    connection: AsyncConnection, step: Step, pipeline: Pipeline, surroundings: Surroundings
) -> Mapping[str, Any]:
    del connection, pipeline
    told = _read(GenerateStep, step)
    return {
        "config": to_json(told.config),
        "episodes": told.episodes,
        "seed": told.seed,
        "artifact_root": surroundings.artifact_root,
    }


async def _prepare_evaluate(
    connection: AsyncConnection, step: Step, pipeline: Pipeline, surroundings: Surroundings
) -> Mapping[str, Any]:
    told = _read(EvaluateStep, step)
    trained = _needed(pipeline, step, TRAIN.kind)
    generated = _needed(pipeline, step, GENERATE.kind)
    if (trained is None) == (told.run is None):
        raise PipelineError(
            f"step {step.name}: judge a run by its id (run), or need one train step; not both"
        )
    if trained is not None:
        candidate, config = trained.name, to_json(_read(TrainStep, trained).config)
    else:
        candidate, config = await _find_policy(connection, str(told.run))
    champions = await list_aliased(connection, told.alias)
    return {
        "config": config,
        "candidate": candidate,
        "champions": {
            agent: {"version": version, "sha256": sha256}
            for agent, (version, sha256) in champions.items()
        },
        "scenarios": None if generated is None else generated.name,
        "episodes": told.episodes,
        "artifact_root": surroundings.artifact_root,
    }


async def _prepare_promote(
    connection: AsyncConnection, step: Step, pipeline: Pipeline, surroundings: Surroundings
) -> Mapping[str, Any]:
    del connection
    told = _read(PromoteStep, step)
    evaluation = _needed(pipeline, step, EVALUATE.kind)
    if evaluation is None:
        raise PipelineError(f"step {step.name} needs one evaluate step to go by")
    judged = _read(EvaluateStep, evaluation)
    if judged.alias != told.alias:
        raise PipelineError(
            f"step {step.name} would move {told.alias}, but {evaluation.name} judges against "
            f"{judged.alias}: name the same alias"
        )
    return {
        "evaluation": evaluation.name,
        "alias": told.alias,
        "most_violation": told.most_violation,
        "artifact_root": surroundings.artifact_root,
    }


KINDS: Mapping[str, StepKind] = {
    TRAIN.kind: StepKind(definition=TRAIN, declared=TrainStep, prepare=_prepare_train),
    GENERATE.kind: StepKind(definition=GENERATE, declared=GenerateStep, prepare=_prepare_generate),
    EVALUATE.kind: StepKind(definition=EVALUATE, declared=EvaluateStep, prepare=_prepare_evaluate),
    PROMOTE.kind: StepKind(definition=PROMOTE, declared=PromoteStep, prepare=_prepare_promote),
}


def _read(declared: type[Declared], step: Step) -> Declared:
    return from_json(declared, step.spec, f"{step.name}.")


def _needed(pipeline: Pipeline, step: Step, kind: str) -> Step | None:
    found = [one for one in pipeline.steps if one.name in step.needs and one.kind == kind]
    if len(found) > 1:
        raise PipelineError(f"step {step.name} needs several {kind} steps: take one")
    return found[0] if found else None


async def _find_policy(connection: AsyncConnection, run_id: str) -> tuple[str, dict[str, Any]]:
    run = await get_run(connection, run_id)
    if not run.models:
        raise ConfigError(f"run {run_id} registered no policy: there is nothing to judge")
    return run.models[-1].sha256, dict(run.config)
