"""Files of arrivals and run times are read to the row, and damaged ones refused by name."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest

from data.arrival_traces import (
    REQUESTS,
    RUN_TIME_FILE,
    RUN_TIMES,
    load_request_times,
    load_run_times,
    load_web_requests,
)
from data.traces import AZURE_FILE, TraceError, locate_traces


def request_lines():
    start = datetime.fromisoformat("2023-11-16 18:17:03.5")
    stamps = (start + timedelta(seconds=0.25 * row) for row in range(REQUESTS))
    rows = (f"{stamp:%Y-%m-%d %H:%M:%S.%f}0,10,7" for stamp in stamps)
    return ["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]


def run_time_lines():
    return ["runtime", *(f"{row / 2}" for row in range(RUN_TIMES))]


def write(path, lines):
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / AZURE_FILE, request_lines())
    write(tmp_path / RUN_TIME_FILE, run_time_lines())
    return tmp_path


def test_requests_count_from_the_first(folder):
    times = load_request_times(folder)
    assert times[:3] == pytest.approx([0.0, 0.25, 0.5])
    assert len(times) == REQUESTS


def test_run_times_are_read_in_seconds(folder):
    seconds = load_run_times(folder)
    assert seconds[[0, 1, -1]] == pytest.approx([0.0, 0.5, (RUN_TIMES - 1) / 2])


@pytest.mark.parametrize(
    ("load", "message"),
    [
        (load_request_times, "AzurePublicDataset"),
        (load_run_times, "alibaba/clusterdata"),
        (load_web_requests, "numenta/NAB"),
    ],
)
def test_a_missing_file_is_named_with_where_to_get_it(tmp_path, load, message):
    with pytest.raises(TraceError, match=message):
        load(tmp_path)


REQUEST_DAMAGES = {
    "empty": lambda _: [],
    "header only": lambda lines: lines[:1],
    "truncated at a line": lambda lines: lines[:-5],
    "truncated in a line": lambda lines: [*lines[:-1], lines[-1][:9]],
    "no date": lambda lines: [*lines[:9], "noon,1,2", *lines[10:]],
    "out of order": lambda lines: [lines[0], *lines[9:], *lines[1:9]],
}
RUN_TIME_DAMAGES = {
    "empty": lambda _: [],
    "other header": lambda lines: ["seconds", *lines[1:]],
    "truncated": lambda lines: lines[:-5],
    "NaN": lambda lines: [*lines[:-1], "nan"],
    "negative": lambda lines: [*lines[:-1], "-2.0"],
    "word": lambda lines: [*lines[:-1], "long"],
    "blank line": lambda lines: [*lines[:-1], "", lines[-1]],
}


@pytest.mark.parametrize("damage", REQUEST_DAMAGES.values(), ids=REQUEST_DAMAGES)
def test_damaged_requests_are_refused(folder, damage):
    write(folder / AZURE_FILE, damage(request_lines()))
    with pytest.raises(TraceError, match=AZURE_FILE):
        load_request_times(folder)


@pytest.mark.parametrize("damage", RUN_TIME_DAMAGES.values(), ids=RUN_TIME_DAMAGES)
def test_damaged_run_times_are_refused(folder, damage):
    write(folder / RUN_TIME_FILE, damage(run_time_lines()))
    with pytest.raises(TraceError, match=RUN_TIME_FILE):
        load_run_times(folder)


@pytest.mark.skipif(locate_traces() is None, reason="the trace files are not on this machine")
def test_the_real_files_are_read():
    folder = locate_traces()
    assert load_request_times(folder)[-1] == pytest.approx(3436, abs=1)
    assert np.median(load_run_times(folder)) == pytest.approx(1186, abs=1)
    readings, first_slot = load_web_requests(folder)
    # The series begin where the last of them does, at 14:30.
    assert first_slot == 174
    assert readings.mean() == pytest.approx(61.6, abs=0.5)
