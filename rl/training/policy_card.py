"""Fills in the card of a policy that a run exports."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from rl.artifacts import Baseline, Evaluation, PolicyCard
from rl.evaluation.comparison import BOUND, EvaluationTable
from rl.training.problem import Parameters, Problem
from rl.training.provenance import read_provenance
from rl.training.trainer import TrainOutcome
from rl.training.training_config import TrainingConfig
from utils.errors import ConfigError
from utils.seeding import make_generator

NUM_RANGE_EPISODES = 512


def make_card(
    config: TrainingConfig,
    problem: Problem,
    experts: Mapping[str, Parameters],
    table: EvaluationTable,
    *,
    run_id: str,
    outcome: TrainOutcome,
) -> PolicyCard:
    """Write down lineage, evaluation, baseline, ranges and limits.

    Args:
        config: The run.
        problem: What it was trained and judged on; has an exporter.
        experts: What each was tuned to.
        table: Of the held-out scenarios; holds a row named after the algorithm.
        run_id: The run.
        outcome: How training ended.

    Raises:
        ConfigError: Policies of this problem cannot be exported.
    """
    if problem.exporter is None:
        raise ConfigError(f"policies of {problem.name} cannot be exported yet")
    agent, best = table.row(config.algorithm), table.row(table.baseline)
    bound = [row.kpi.mean for row in table.rows if row.name == BOUND]
    seen = problem.training.draw(NUM_RANGE_EPISODES, make_generator(config.seed, "ranges"))
    return PolicyCard(
        agent=problem.agent,
        run_id=run_id,
        checkpoint_sha256=outcome.checkpoint.sha256 if outcome.checkpoint else "",
        commit=read_provenance().code_commit or "unknown",
        data=problem.training_data,
        evaluation=Evaluation(
            scenarios=problem.held_out.about,
            num_episodes=table.num_episodes,
            kpi=agent.kpi.mean,
            kpi_low=agent.kpi.low,
            kpi_high=agent.kpi.high,
        ),
        baseline=Baseline(
            expert=best.name, parameters=experts.get(best.name, ()), kpi=best.kpi.mean
        ),
        validated_for=problem.exporter.ranges([seen, problem.held_out.scenarios]),
        limits=problem.exporter.limits,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        bound=bound[0] if bound else None,
    )
