"""What a run of the shared-services world plays: training, validation and held-out scenarios."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.scenario import MixedSource, ScenarioSource, WorkloadScenarios
from data.traces import (
    ServiceTraces,
    TraceWorkload,
    cut_held_out,
    load_burst_profiles,
    load_service_traces,
    locate_traces,
)
from data.workload import SyntheticWorkload
from rl.domains.shared_services import SharedServices, shared_services
from rl.training.training_config import TrainingConfig
from utils.seeding import make_generator

NUM_VALIDATION_WINDOWS = 96
NUM_TUNING_WINDOWS = 128
NUM_SYNTHETIC_BLOCKS = 10
SYNTHETIC_PER_BLOCK = 10
FIXED_SEED = 20_140_214
"""Validation, tuning and held-out sets are the same for every run."""


@dataclass(frozen=True, kw_only=True)
class AllocationWorld:
    """One preset with everything that is played in it."""

    preset: SharedServices
    training: ScenarioSource
    validation: WorkloadScenarios
    """Training days; watched during training and used to choose the best policy."""
    tuning: WorkloadScenarios
    """Training days; the experts are tuned on these."""
    held_out: WorkloadScenarios
    days: NDArray[np.intp]
    """`[episode]`: day, or block of synthetic episodes, of each held-out window."""
    training_data: str
    """What is trained on, for people."""
    held_out_data: str


def build_world(config: TrainingConfig) -> AllocationWorld:
    """Find the data and build every set.

    Args:
        config: The run.

    Raises:
        TraceError: A trace file is damaged, or the folder given does not hold the files.
    """
    preset = shared_services(config.num_agents)
    folder = Path(config.traces) if config.traces else locate_traces()
    if folder is None:
        return _synthetic_world(preset)
    train, held_out = load_service_traces(folder).split()
    bursts, _ = load_burst_profiles(folder)
    real = TraceWorkload(train, preset.training_world)
    synthetic = SyntheticWorkload(preset.synthetic, preset.training_world, bursts)
    training: ScenarioSource = real
    training_data = "real demand of days 1-9"
    if config.use_synthetic_data:
        share = config.real_share
        training = MixedSource((real, synthetic), (share, 1.0 - share))
        training_data = f"{share:.0%} {training_data}, {1 - share:.0%} synthetic demand"
    return _real_world(preset, train, held_out, training=training, training_data=training_data)


def _real_world(
    preset: SharedServices,
    train: ServiceTraces,
    held_out: ServiceTraces,
    *,
    training: ScenarioSource,
    training_data: str,
) -> AllocationWorld:
    plain = TraceWorkload(train, preset.world)
    windows, days = cut_held_out(held_out, preset.world)
    return AllocationWorld(
        preset=preset,
        training=training,
        validation=plain.draw(NUM_VALIDATION_WINDOWS, make_generator(FIXED_SEED, "validation")),
        tuning=plain.draw(NUM_TUNING_WINDOWS, make_generator(FIXED_SEED, "tuning")),
        held_out=windows,
        days=days,
        training_data=training_data,
        held_out_data="real demand of the held-out days 10-14, capacity failures drawn",
    )


def _synthetic_world(preset: SharedServices) -> AllocationWorld:
    plain = SyntheticWorkload(preset.synthetic, preset.world)
    blocks = np.repeat(np.arange(NUM_SYNTHETIC_BLOCKS), SYNTHETIC_PER_BLOCK)

    def draw(count: int, stream: str) -> WorkloadScenarios:
        return plain.draw(count, make_generator(FIXED_SEED, stream))

    return AllocationWorld(
        preset=preset,
        training=SyntheticWorkload(preset.synthetic, preset.training_world),
        validation=draw(NUM_VALIDATION_WINDOWS, "validation"),
        tuning=draw(NUM_TUNING_WINDOWS, "tuning"),
        held_out=draw(len(blocks), "held-out"),
        days=blocks,
        training_data="synthetic demand only (no traces found)",
        held_out_data="held-out synthetic demand (no traces found)",
    )
