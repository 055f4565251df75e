"""What a run of the shared-services world plays: training, validation and held-out scenarios."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.scenario import MixedSource, ScenarioSource, WorkloadScenarios
from data.traces import (
    TraceWorkload,
    cut_held_out,
    load_burst_profiles,
    load_service_traces,
    locate_traces,
)
from data.workload import SyntheticWorkload
from rl.domains.shared_services import SharedServices, shared_services
from utils.seeding import make_generator

NUM_VALIDATION_WINDOWS = 96
NUM_TUNING_WINDOWS = 128
NUM_SYNTHETIC_BLOCKS = 10
SYNTHETIC_PER_BLOCK = 10
FIXED_SEED = 20_140_214
"""Validation, tuning and held-out sets are the same for every run."""


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Windows that nothing was trained, tuned or chosen on."""

    scenarios: WorkloadScenarios
    days: NDArray[np.intp]
    """`[episode]`: day, or block of synthetic episodes, of each window."""
    data: str
    """What it is, for people."""


@dataclass(frozen=True, kw_only=True)
class AllocationWorld:
    """One preset with everything that is played in it."""

    preset: SharedServices
    training: ScenarioSource[WorkloadScenarios]
    validation: WorkloadScenarios
    """Training days; watched during training and used to choose the best policy."""
    tuning: WorkloadScenarios
    """Training days; the experts are tuned on these."""
    held_out: HeldOut
    held_out_bursts: HeldOut | None
    """Synthetic demand with the unseen bursts of a real source, if there is one."""
    training_data: str
    """What is trained on, for people."""


def build_world(
    num_agents: int,
    *,
    use_synthetic_data: bool = True,
    real_share: float = 0.8,
    traces: str | None = None,
) -> AllocationWorld:
    """Find the data and build every set.

    Args:
        num_agents: Services that share the capacities.
        use_synthetic_data: Mix synthetic demand into the real one.
        real_share: Share of real windows in the mix.
        traces: Folder of the trace files; None looks where `data.traces.locate_traces` says.

    Raises:
        TraceError: A trace file is damaged, or the folder given does not hold the files.
    """
    preset = shared_services(num_agents)
    folder = Path(traces) if traces else locate_traces()
    if folder is None:
        return _synthetic_world(preset)
    train, held_out = load_service_traces(folder).split()
    bursts, unseen_bursts = load_burst_profiles(folder)
    real = TraceWorkload(train, preset.training_world)
    synthetic = SyntheticWorkload(preset.synthetic, preset.training_world, bursts)
    training: ScenarioSource[WorkloadScenarios] = real
    training_data = "real demand of days 1-9"
    if use_synthetic_data:
        share = real_share
        training = MixedSource((real, synthetic), (share, 1.0 - share))
        training_data = f"{share:.0%} {training_data}, {1 - share:.0%} synthetic demand"
    windows, days = cut_held_out(held_out, preset.world)
    return AllocationWorld(
        preset=preset,
        training=training,
        validation=_draw(TraceWorkload(train, preset.world), NUM_VALIDATION_WINDOWS, "validation"),
        tuning=_draw(TraceWorkload(train, preset.world), NUM_TUNING_WINDOWS, "tuning"),
        held_out=HeldOut(
            scenarios=windows,
            days=days,
            data="real demand of the held-out days 10-14, capacity failures drawn",
        ),
        held_out_bursts=_held_out_synthetic(
            SyntheticWorkload(preset.synthetic, preset.world, unseen_bursts),
            "synthetic demand with the bursts of the held-out 17 minutes of the LLM trace",
        ),
        training_data=training_data,
    )


def _synthetic_world(preset: SharedServices) -> AllocationWorld:
    plain = SyntheticWorkload(preset.synthetic, preset.world)
    return AllocationWorld(
        preset=preset,
        training=SyntheticWorkload(preset.synthetic, preset.training_world),
        validation=_draw(plain, NUM_VALIDATION_WINDOWS, "validation"),
        tuning=_draw(plain, NUM_TUNING_WINDOWS, "tuning"),
        held_out=_held_out_synthetic(plain, "held-out synthetic demand (no traces found)"),
        held_out_bursts=None,
        training_data="synthetic demand only (no traces found)",
    )


def _held_out_synthetic(source: SyntheticWorkload, data: str) -> HeldOut:
    blocks = np.repeat(np.arange(NUM_SYNTHETIC_BLOCKS), SYNTHETIC_PER_BLOCK)
    return HeldOut(scenarios=_draw(source, len(blocks), "held-out"), days=blocks, data=data)


def _draw(source: ScenarioSource[WorkloadScenarios], count: int, stream: str) -> WorkloadScenarios:
    return source.draw(count, make_generator(FIXED_SEED, stream))
