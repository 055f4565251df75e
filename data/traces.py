"""Real demand: the NAB cloud series as services, the Azure LLM trace as a source of bursts.

Files are read from a folder and never copied; `locate_traces` says which, `SOURCES` where to get
them.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from data.scenario import Array, WorkloadScenarios
from data.workload import STEPS_PER_DAY, WorldConfig, finish_scenarios
from utils.errors import ConfigError, QuartermasterError
from utils.seeding import make_generator

TRACES_SETTING = "QUARTERMASTER_TRACES"
SOURCES = (
    "github.com/numenta/NAB data/realAWSCloudwatch (MIT); "
    "github.com/Azure/AzurePublicDataset data/AzureLLMInferenceTrace_code.csv (CC-BY-4.0)"
)
TRAIN_DAYS = 9
NAB_ROWS = 4032
AZURE_FILE = "AzureLLMInferenceTrace_code.csv"
AZURE_BIN_SECONDS = 10
AZURE_TRAIN_MINUTES = 40
AZURE_HELD_OUT_MINUTES = 17


class TraceError(QuartermasterError):
    """A trace file is missing, cut short or not in the published format."""


@dataclass(frozen=True, kw_only=True)
class NabSeries:
    """One published series and what a reading of it means in work units per step."""

    file: str
    work_per_reading: float


NAB_SERIES = (
    NabSeries(file="nab_elb_request_count_8c0756.csv", work_per_reading=0.4),
    NabSeries(file="nab_ec2_cpu_utilization_5f5533.csv", work_per_reading=0.7),
    NabSeries(file="nab_ec2_cpu_utilization_77c1ca.csv", work_per_reading=0.7),
    NabSeries(file="nab_ec2_cpu_utilization_53ea38.csv", work_per_reading=11.0),
)
"""Requests count 0.4 work units each; CPU percentages are of fleets of 70, 70 and 1100 units."""


def locate_traces() -> Path | None:
    """Return the folder of the trace files: the setting, `../shared/data`, or `var/traces`.

    Raises:
        TraceError: The setting names a folder that does not hold the files.
    """
    setting = os.environ.get(TRACES_SETTING)
    if setting:
        folder = Path(setting)
        if not (folder / NAB_SERIES[0].file).is_file():
            raise TraceError(
                f"{TRACES_SETTING}={setting} does not hold {NAB_SERIES[0].file}; get it: {SOURCES}"
            )
        return folder
    root = Path(__file__).resolve().parent.parent
    for folder in (root.parent / "shared" / "data", root / "var" / "traces"):
        if (folder / NAB_SERIES[0].file).is_file():
            return folder
    return None


@dataclass(frozen=True, kw_only=True)
class ServiceTraces:
    """Aligned demand of the four services, one row per five minutes."""

    demand: Array
    """`[time, service]`, work units per step."""
    first_slot: int
    """Step of the day at which row 0 lies."""

    def split(self) -> tuple[ServiceTraces, ServiceTraces]:
        """Return days 1-9 for training and the rest, days 10-14, held out."""
        cut = TRAIN_DAYS * STEPS_PER_DAY
        return (
            ServiceTraces(demand=self.demand[:cut], first_slot=self.first_slot),
            ServiceTraces(demand=self.demand[cut:], first_slot=self.first_slot),
        )


def load_service_traces(folder: Path) -> ServiceTraces:
    """Read the four series and align them by time of day.

    Day 1 of each series is its first calendar day. Rows start at the first time of day that all
    series have reached and end where the first of them ends; a missing reading repeats the last.

    Args:
        folder: Where the files lie.

    Raises:
        TraceError: A file is missing, cut short or malformed.
    """
    series = [_load_nab(folder / item.file) for item in NAB_SERIES]
    start = max(slot for slot, _ in series)
    end = min(slot + len(values) for slot, values in series)
    columns = [
        values[start - slot : end - slot] * item.work_per_reading
        for (slot, values), item in zip(series, NAB_SERIES, strict=True)
    ]
    return ServiceTraces(demand=np.stack(columns, axis=-1).astype(np.float32), first_slot=start)


def load_burst_profiles(folder: Path) -> tuple[Array, Array]:
    """Read the Azure trace as request counts per ten seconds, mean one.

    Args:
        folder: Where the file lies.

    Returns:
        The first 40 minutes (training) and the last 17 (held out), `[bin]` each.

    Raises:
        TraceError: The file is missing, cut short or malformed.
    """
    path = folder / AZURE_FILE
    stamps = [stamp for stamp, _ in _read_rows(path, "TIMESTAMP")]
    seconds = np.asarray([(stamp - stamps[0]).total_seconds() for stamp in stamps])
    bins = (seconds // AZURE_BIN_SECONDS).astype(int)
    per_minute = 60 // AZURE_BIN_SECONDS
    needed = (AZURE_TRAIN_MINUTES + AZURE_HELD_OUT_MINUTES) * per_minute
    if bins[-1] + 1 < needed:
        raise TraceError(f"{path} covers {bins[-1] + 1} of {needed} bins; get it again: {SOURCES}")
    if (np.diff(seconds) < 0).any():
        raise TraceError(f"{path} is not in time order; get it again: {SOURCES}")
    counts = np.bincount(bins[bins < needed], minlength=needed).astype(np.float32)
    train, held_out = np.split(counts, [AZURE_TRAIN_MINUTES * per_minute])
    return train / train.mean(), held_out / held_out.mean()


class TraceWorkload:
    """A scenario source that cuts windows out of real demand at random times."""

    def __init__(self, traces: ServiceTraces, world: WorldConfig) -> None:
        """Keep the rows.

        Args:
            traces: The rows that may be used.
            world: Priorities, capacities, prices; its services beyond four take the same
                series again, a day later each round.

        Raises:
            ConfigError: The rows are fewer than one window.
        """
        self._traces = traces
        self._world = world
        self._window = world.lookback + world.max_steps
        if len(traces.demand) < self._window:
            raise ConfigError(f"{len(traces.demand)} rows do not fill a window of {self._window}")

    def draw(self, num_episodes: int, generator: np.random.Generator) -> WorkloadScenarios:
        """Cut windows at random.

        Args:
            num_episodes: How many.
            generator: The only source of chance.
        """
        last = len(self._traces.demand) - self._window
        return self.cut(generator.integers(last + 1, size=num_episodes), generator)

    def cut(self, starts: np.ndarray, generator: np.random.Generator) -> WorkloadScenarios:
        """Cut windows at given rows.

        Args:
            starts: `[episode]`: row of the first step of each look-back.
            generator: Draws capacity failures (the traces have none) and jitter.
        """
        rows = starts[:, None] + np.arange(self._window)
        length, kinds = self._traces.demand.shape
        columns = [
            self._traces.demand[(rows + service // kinds * STEPS_PER_DAY) % length, service % kinds]
            for service in range(len(self._world.priority))
        ]
        time_of_day = (self._traces.first_slot + rows) % STEPS_PER_DAY / STEPS_PER_DAY
        return finish_scenarios(np.stack(columns, axis=-1), time_of_day, self._world, generator)


def cut_held_out(
    traces: ServiceTraces, world: WorldConfig, *, stride: int = 12, seed: int = 20_140_214
) -> tuple[WorkloadScenarios, np.ndarray]:
    """Cut the held-out days into the fixed windows of the evaluation.

    Args:
        traces: The held-out rows.
        world: Priorities, capacities, prices; its jitter should be zero.
        stride: Steps between window starts.
        seed: Seed of the capacity failures.

    Returns:
        The windows, and the day (0 for the first held-out one) each begins in, `[episode]`.
    """
    source = TraceWorkload(traces, world)
    window = world.lookback + world.max_steps
    starts = np.arange(0, len(traces.demand) - window + 1, stride)
    scenarios = source.cut(starts, make_generator(seed, "held-out failures"))
    return scenarios, (starts + world.lookback) // STEPS_PER_DAY


def _load_nab(path: Path) -> tuple[int, np.ndarray]:
    """Return the first slot of the day and readings without gaps."""
    rows = _read_rows(path, "timestamp")
    if len(rows) != NAB_ROWS:
        raise TraceError(f"{path} has {len(rows)} of {NAB_ROWS} rows; get it again: {SOURCES}")
    midnight = datetime.combine(rows[0][0].date(), datetime.min.time())
    slots = np.asarray([int((stamp - midnight).total_seconds() // 300) for stamp, _ in rows])
    values = np.asarray([value for _, value in rows])
    if not np.isfinite(values).all() or (values < 0).any() or (np.diff(slots) < 0).any():
        raise TraceError(f"{path} holds negative or non-finite readings, or is not in time order")
    if np.diff(slots).max() > STEPS_PER_DAY:
        raise TraceError(f"{path} lacks more than a day; get it again: {SOURCES}")
    grid = np.arange(slots[0], slots[-1] + 1)
    return int(slots[0]), values[np.searchsorted(slots, grid, side="right") - 1]


def _read_rows(path: Path, first_column: str) -> list[tuple[datetime, float]]:
    """Read time stamp and second column, checking every line."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise TraceError(f"cannot read {path}: {error.strerror}; get it: {SOURCES}") from error
    except UnicodeDecodeError as error:
        raise TraceError(f"{path} is not text; get it again: {SOURCES}") from error
    try:
        rows = list(csv.reader(text.splitlines(), strict=True))
    except csv.Error as error:
        raise TraceError(f"{path} is damaged: {error}; get it again: {SOURCES}") from error
    if len(rows) < 2 or rows[0][:1] != [first_column]:
        raise TraceError(f"{path} is not the published file; get it again: {SOURCES}")
    if len({len(row) for row in rows}) != 1:
        raise TraceError(f"{path} is cut short or damaged; get it again: {SOURCES}")
    parsed = []
    for number, row in enumerate(rows[1:], start=2):
        try:
            stamp = datetime.fromisoformat(row[0][:26]).replace(tzinfo=None)
            parsed.append((stamp, float(row[1])))
        except (IndexError, ValueError) as error:
            raise TraceError(f"{path}, line {number}: {row!r} is not a reading") from error
    return parsed
