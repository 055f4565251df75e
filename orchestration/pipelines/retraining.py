"""The built-in pipeline: train on from the champion, judge, and promote or keep."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ai_agents.registry import CHAMPION
from orchestration.pipelines.declaration import Pipeline, PipelineError, Step
from orchestration.pipelines.kinds import EVALUATE, PROMOTE
from orchestration.tasks import TRAIN
from rl.training.training_config import TrainingConfig
from utils.config import from_json
from utils.persistence.run_queries import get_run
from utils.persistence.warm_start import find_start

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

RETRAIN = "retrain"


@dataclass(frozen=True, kw_only=True)
class Retraining:
    """Which agent is trained on, and how it differs from the training of its champion."""

    agent: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Fields of TrainingConfig that differ; a seed is drawn anew each time unless one is given."""

    def __post_init__(self) -> None:
        """Refuse an agent without a name.

        Raises:
            PipelineError: It has none.
        """
        if not self.agent.strip():
            raise PipelineError(f"{RETRAIN}: name the agent, such as agent=resource_allocator")

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {"agent": self.agent, "settings": dict(self.settings)}


async def plan_retraining(
    connection: AsyncConnection, order: Retraining, *, pipeline_id: str
) -> Pipeline:
    """Return the steps as of now: with the settings and the policy of today's champion.

    Args:
        connection: The transaction that submits them.
        order: What is wanted.
        pipeline_id: Of the pipeline; the seed comes from it.

    Raises:
        ConfigError: The agent has no champion that a run made, or a setting is wrong.
    """
    start = f"{order.agent}@{CHAMPION}"
    champion = await get_run(connection, (await find_start(connection, start)).run_id)
    seed = int(hashlib.sha256(pipeline_id.encode()).hexdigest()[:7], 16)
    values = {**champion.config, "init_from": start, "seed": seed, **order.settings}
    from_json(TrainingConfig, values, f"{RETRAIN}.settings.")
    return Pipeline(
        name=RETRAIN,
        steps=(
            Step(name="train", kind=TRAIN.kind, spec={"config": values}),
            Step(name="evaluate", kind=EVALUATE.kind, needs=("train",)),
            Step(name="promote", kind=PROMOTE.kind, needs=("evaluate",)),
        ),
    )
