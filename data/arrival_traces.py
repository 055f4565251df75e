"""Real work: when requests of a language model arrive, how long jobs run, a day of web requests.

Files are read from the folder of `data.traces.locate_traces`, never copied.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np

from data.demand_law import Floats
from data.trace_tables import read_number, read_table
from data.traces import AZURE_FILE, NAB_SERIES, SOURCES, TraceError, load_service_traces

RUN_TIME_FILE = "philly_runtime.csv"
RUN_TIMES = 83_154
RUN_TIME_SOURCE = (
    "github.com/alibaba/clusterdata cluster-trace-gpu-v2020/analysis/philly_runtime.csv (CC-BY-4.0)"
)
REQUESTS = 8_819


def load_request_times(folder: Path) -> Floats:
    """Read the arrivals of the Azure trace, in seconds since the first, `[request]`.

    Args:
        folder: Where the file lies.

    Raises:
        TraceError: The file is missing, cut short, malformed or out of order.
    """
    path = folder / AZURE_FILE
    _, rows = read_table(path, "TIMESTAMP", SOURCES, last_line_is_open=True)
    try:
        stamps = [datetime.fromisoformat(row[0][:26]).replace(tzinfo=None) for row in rows]
    except ValueError as error:
        raise TraceError(f"{path}: {error}; get it again: {SOURCES}") from error
    if len(stamps) != REQUESTS:
        raise TraceError(
            f"{path} has {len(stamps)} of {REQUESTS} requests; get it again: {SOURCES}"
        )
    seconds = np.asarray([(stamp - stamps[0]).total_seconds() for stamp in stamps])
    if (np.diff(seconds) < 0).any():
        raise TraceError(f"{path} is not in time order; get it again: {SOURCES}")
    return seconds


def load_run_times(folder: Path) -> Floats:
    """Read the run times of the Philly jobs, in seconds, `[job]`.

    Args:
        folder: Where the file lies.

    Raises:
        TraceError: The file is missing, cut short or malformed.
    """
    path = folder / RUN_TIME_FILE
    _, rows = read_table(path, "runtime", RUN_TIME_SOURCE)
    if len(rows) != RUN_TIMES:
        raise TraceError(f"{path} has {len(rows)} of {RUN_TIMES} jobs; get it: {RUN_TIME_SOURCE}")
    return np.asarray([read_number(path, row[0], RUN_TIME_SOURCE) for row in rows])


def load_web_requests(folder: Path) -> tuple[Floats, int]:
    """Read the requests per five minutes of the NAB load balancer.

    Args:
        folder: Where the NAB files lie.

    Returns:
        The readings, `[time]`, and the step of the day of the first.

    Raises:
        TraceError: A NAB file is missing, cut short or malformed.
    """
    traces = load_service_traces(folder)
    readings = traces.demand[:, 0].astype(np.float64) / NAB_SERIES[0].work_per_reading
    return readings, traces.first_slot
