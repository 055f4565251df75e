"""Fills in the card of a policy that a run of the shared-services world exports."""

from __future__ import annotations

from datetime import UTC, datetime

from rl.artifacts import Baseline, Evaluation, Figure, PolicyCard
from rl.deployment.exporters import validated_ranges
from rl.evaluation.comparison import EvaluationTable
from rl.evaluation.tuning import TunedExpert
from rl.training.allocation_world import AllocationWorld
from rl.training.provenance import read_provenance
from rl.training.trainer import TrainOutcome
from rl.training.training_config import TrainingConfig
from utils.config import to_json
from utils.seeding import make_generator

AGENT_NAME = "resource_allocator"
NUM_RANGE_EPISODES = 512
LIMITS = (
    "Trained and judged in a simulated world; real demand, drawn capacity failures.",
    "Advises on shares of capacity; a person should watch over consequential use.",
    "Outside the validated ranges the tuned expert answers instead.",
)


def make_card(
    config: TrainingConfig,
    world: AllocationWorld,
    expert: TunedExpert,
    table: EvaluationTable,
    *,
    run_id: str,
    outcome: TrainOutcome,
) -> PolicyCard:
    """Write down lineage, evaluation, baseline, ranges and limits.

    Args:
        config: The run.
        world: What it was trained and judged on.
        expert: The best one on the held-out windows.
        table: The evaluation; holds a row named after the algorithm.
        run_id: The run.
        outcome: How training ended.
    """
    agent, best = table.row(config.algorithm), table.row(table.best_expert)
    parameters = to_json(expert.parameters)
    seen = world.training.draw(NUM_RANGE_EPISODES, make_generator(config.seed, "ranges"))
    return PolicyCard(
        agent=AGENT_NAME,
        run_id=run_id,
        checkpoint_sha256=outcome.checkpoint.sha256 if outcome.checkpoint else "",
        commit=read_provenance().code_commit or "unknown",
        data=world.training_data,
        evaluation=Evaluation(
            scenarios=world.held_out.data,
            num_episodes=table.num_windows,
            kpi=agent.kpi.mean,
            kpi_low=agent.kpi.low,
            kpi_high=agent.kpi.high,
        ),
        baseline=Baseline(
            expert=expert.name,
            parameters=tuple(
                Figure(name=name, value=float(value)) for name, value in parameters.items()
            ),
            kpi=best.kpi.mean,
        ),
        validated_for=validated_ranges(world.preset.allocation, [seen, world.held_out.scenarios]),
        limits=LIMITS,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        bound=table.row("bound").kpi.mean,
    )
