"""Published files are read to the row, damaged ones refused, and held-out days stay held out."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest

from data import traces
from data.scenario import hash_scenarios
from data.traces import (
    AZURE_FILE,
    NAB_ROWS,
    NAB_SERIES,
    ServiceTraces,
    TraceError,
    TraceWorkload,
    cut_held_out,
    load_burst_profiles,
    load_service_traces,
    locate_traces,
)
from data.workload import STEPS_PER_DAY, FailureConfig, WorldConfig
from utils.errors import ConfigError

WORLD = WorldConfig(
    priority=(1.0, 2.0, 3.0, 4.0),
    capacity=(50.0,),
    price=(0.1,),
    failures=FailureConfig(failures_per_day=0.0),
)
FIRST_MINUTES = (4, 14, 24, 0)


def nab_lines(first_minute, value=float):
    start = datetime.fromisoformat("2014-04-10") + timedelta(minutes=first_minute)
    stamps = (start + timedelta(minutes=5 * row) for row in range(NAB_ROWS))
    return ["timestamp,value", *(f"{stamp},{value(row)}" for row, stamp in enumerate(stamps))]


def azure_lines(minutes=57, per_bin=lambda index: 1 + index % 3):
    start = datetime.fromisoformat("2023-11-16 18:17:03")
    lines = ["TIMESTAMP,ContextTokens,GeneratedTokens"]
    for index in range(minutes * 6):
        stamp = start + timedelta(seconds=10 * index)
        lines += [f"{stamp}.0000000,{100 + index},7"] * per_bin(index)
    return lines


def write(path, lines):
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def folder(tmp_path):
    for item, minute in zip(NAB_SERIES, FIRST_MINUTES, strict=True):
        write(tmp_path / item.file, nab_lines(minute))
    write(tmp_path / AZURE_FILE, azure_lines())
    return tmp_path


def test_series_are_aligned_by_time_of_day(folder):
    loaded = load_service_traces(folder)
    # The third series begins 24 minutes after midnight, in slot 4; row r of each is in slot
    # r + its first slot, so slot 4 is row 4, 2, 0 and 4.
    scale = [item.work_per_reading for item in NAB_SERIES]
    assert loaded.first_slot == 4
    assert loaded.demand[0] == pytest.approx(np.asarray([4, 2, 0, 4]) * scale)
    assert loaded.demand.shape == (NAB_ROWS - 4, 4)
    assert loaded.demand[-1] == pytest.approx(np.asarray([4031, 4029, 4027, 4031]) * scale)


def test_missing_readings_repeat_the_last(folder):
    lines = nab_lines(0)
    lines[11:14] = []
    last = datetime.fromisoformat(lines[-1].split(",")[0])
    lines += [f"{last + timedelta(minutes=5 * (k + 1))},{5000 + k}" for k in range(3)]
    write(folder / NAB_SERIES[3].file, lines)
    column = load_service_traces(folder).demand[:, 3] / NAB_SERIES[3].work_per_reading
    # Rows 10, 11 and 12 are gone; row 0 of the aligned series is slot 4.
    assert column[4:10] == pytest.approx([8, 9, 9, 9, 9, 13])


def test_time_zones_are_ignored(folder):
    expected = load_service_traces(folder).demand
    path = folder / NAB_SERIES[1].file
    lines = path.read_text().splitlines()
    lines[50] = lines[50].replace(",", "+00:00,")
    write(path, lines)
    assert np.array_equal(load_service_traces(folder).demand, expected)


@pytest.mark.parametrize("item", NAB_SERIES, ids=lambda item: item.file)
def test_a_missing_file_is_named_with_where_to_get_it(folder, item):
    (folder / item.file).unlink()
    with pytest.raises(TraceError, match=rf"{item.file}.*github.com/numenta/NAB"):
        load_service_traces(folder)


def damage_reading(text):
    return lambda lines: [*lines[:100], lines[100].split(",")[0] + "," + text, *lines[101:]]


def damage_line(line):
    return lambda lines: [*lines[:100], line, *lines[101:]]


DAMAGES = {
    "empty": lambda _: [],
    "blank first line": lambda lines: ["", *lines],
    "header only": lambda lines: lines[:1],
    "other header": lambda lines: ["time,value", *lines[1:]],
    "truncated at a line": lambda lines: lines[:-10],
    "truncated in a line": lambda lines: [*lines[:-1], lines[-1][:8]],
    "longer": lambda lines: [*lines, lines[-1]],
    "NaN": damage_reading("NaN"),
    "infinite": damage_reading("inf"),
    "negative": damage_reading("-1.0"),
    "word": damage_reading("offline"),
    "no value": damage_reading(""),
    "no comma": damage_line("2014-04-10 00:04:00"),
    "no date": damage_line("yesterday,5.0"),
    "blank line": damage_line(""),
    "out of order": lambda lines: [lines[0], *lines[2:50], lines[1], *lines[50:]],
    "far future": lambda lines: [*lines[:-1], "9014-04-10 08:19:00,5.0"],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_series_is_refused_with_its_path(folder, damage):
    path = folder / NAB_SERIES[1].file
    write(path, damage(path.read_text().splitlines()))
    with pytest.raises(TraceError, match=path.name):
        load_service_traces(folder)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00\x01" * 50, b"timestamp,value\n\x00\x00,1\n"])
def test_bytes_that_are_no_text_are_refused(folder, content):
    path = folder / NAB_SERIES[0].file
    path.write_bytes(content)
    with pytest.raises(TraceError, match=path.name):
        load_service_traces(folder)


def test_burst_profiles_are_split_in_time_and_have_mean_one(folder):
    write(folder / AZURE_FILE, azure_lines(per_bin=lambda index: 2 if index < 240 else 4))
    train, held_out = load_burst_profiles(folder)
    assert (len(train), len(held_out)) == (240, 102)
    assert train == pytest.approx(1)
    assert held_out == pytest.approx(1)


def test_empty_bins_count_as_zero_and_shape_is_kept(folder):
    write(folder / AZURE_FILE, azure_lines(58, per_bin=lambda index: 0 if index % 2 else 3))
    train, _ = load_burst_profiles(folder)
    assert train[:4] == pytest.approx([2, 0, 2, 0])


def test_requests_long_after_the_trace_do_not_count(folder):
    expected = load_burst_profiles(folder)
    write(folder / AZURE_FILE, [*azure_lines(), "9023-11-16 18:19:00.0000000,5,7"])
    for profile, same in zip(load_burst_profiles(folder), expected, strict=True):
        assert np.array_equal(profile, same)


AZURE_DAMAGES = {
    "empty": lambda _: [],
    "header only": lambda lines: lines[:1],
    "too short": lambda _: azure_lines(minutes=40),
    "cut in a line": lambda lines: [*lines[:-1], lines[-1][:12]],
    "no number": lambda lines: [*lines[:50], "2023-11-16 18:19:00.0000000,x,7", *lines[51:]],
    "out of order": lambda lines: [lines[0], *lines[50:], *lines[1:50]],
}


@pytest.mark.parametrize("damage", AZURE_DAMAGES.values(), ids=AZURE_DAMAGES)
def test_a_damaged_burst_source_is_refused_with_its_path(folder, damage):
    path = folder / AZURE_FILE
    write(path, damage(path.read_text().splitlines()))
    with pytest.raises(TraceError, match=AZURE_FILE):
        load_burst_profiles(folder)


def test_the_setting_says_where_and_a_wrong_one_is_refused(folder, monkeypatch, tmp_path):
    monkeypatch.setenv(traces.TRACES_SETTING, str(folder))
    assert locate_traces() == folder
    monkeypatch.setenv(traces.TRACES_SETTING, str(tmp_path / "nowhere"))
    with pytest.raises(TraceError, match=traces.TRACES_SETTING):
        locate_traces()


def test_without_setting_and_files_there_are_no_traces(monkeypatch, tmp_path):
    monkeypatch.delenv(traces.TRACES_SETTING, raising=False)
    monkeypatch.setattr(traces, "__file__", str(tmp_path / "house" / "data" / "traces.py"))
    assert locate_traces() is None
    beside = tmp_path / "shared" / "data"
    beside.mkdir(parents=True)
    write(beside / NAB_SERIES[0].file, ["x"])
    assert locate_traces() == beside


def numbered(rows=NAB_ROWS - 4, first_slot=4):
    """Return traces whose every reading says where it lies: row + 0.1 * service."""
    demand = np.arange(rows)[:, None] + 0.1 * np.arange(4)
    return ServiceTraces(demand=demand.astype(np.float32), first_slot=first_slot)


def test_days_one_to_nine_train_and_the_rest_is_held_out():
    train, held_out = numbered().split()
    assert train.demand[[0, -1], 0].tolist() == [0, 9 * STEPS_PER_DAY - 1]
    assert held_out.demand[[0, -1], 0].tolist() == [9 * STEPS_PER_DAY, NAB_ROWS - 5]


def test_no_held_out_row_is_ever_in_a_training_window_nor_the_reverse():
    train, held_out = numbered().split()
    cut = 9 * STEPS_PER_DAY
    drawn = TraceWorkload(train, WORLD).draw(3000, np.random.default_rng(0))
    seen = np.concatenate([drawn.history.ravel(), drawn.demand.ravel()])
    assert seen.min() < 1
    assert cut - 1 <= seen.max() < cut
    fixed, _ = cut_held_out(held_out, WORLD)
    assert fixed.history.min() == cut
    assert fixed.demand.min() == cut + WORLD.lookback
    assert fixed.demand.max() <= NAB_ROWS - 5 + 0.3 + 1e-3


def test_services_beyond_four_stay_inside_the_split():
    train, _ = numbered().split()
    eight = WorldConfig(priority=(1.0,) * 8, capacity=(50.0,), price=(0.1,))
    demand = TraceWorkload(train, eight).draw(2000, np.random.default_rng(0)).demand
    assert demand.max() < 9 * STEPS_PER_DAY
    later = (demand[..., 4] - demand[..., 0]) % (9 * STEPS_PER_DAY)
    assert np.allclose(later, STEPS_PER_DAY)


def test_windows_are_whole_and_keep_their_time_of_day():
    scenarios = TraceWorkload(numbered(), WORLD).cut(np.asarray([0, 300]), np.random.default_rng(0))
    assert scenarios.history[0, :, 0].tolist() == list(range(12))
    assert scenarios.demand[0, :, 0].tolist() == list(range(12, 84))
    slots = np.round(scenarios.time_of_day[:, 0] * STEPS_PER_DAY)
    assert slots.tolist() == [16, (300 + 12 + 4) % STEPS_PER_DAY]


def test_the_last_window_can_be_drawn():
    rows = WORLD.lookback + WORLD.max_steps
    drawn = TraceWorkload(numbered(rows), WORLD).draw(3, np.random.default_rng(0))
    assert (drawn.demand[:, -1, 0] == rows - 1).all()
    with pytest.raises(ConfigError, match=f"{rows - 1} rows"):
        TraceWorkload(numbered(rows - 1), WORLD)


def test_held_out_windows_are_fixed_and_know_their_day():
    _, held_out = numbered().split()
    failing = WorldConfig(priority=(1.0,) * 4, capacity=(50.0,), price=(0.1,))
    first, days = cut_held_out(held_out, failing)
    again, _ = cut_held_out(held_out, failing)
    other, _ = cut_held_out(held_out, failing, seed=1)
    assert hash_scenarios(first) == hash_scenarios(again) != hash_scenarios(other)
    assert (other.demand == first.demand).all()
    assert days.tolist() == sorted(days)
    rows = first.demand[:, 0, 0] - 9 * STEPS_PER_DAY
    assert (days == rows // STEPS_PER_DAY).all()
    assert (np.diff(rows) == 12).all()
    assert (first.priority == 1).all()


@pytest.mark.skipif(locate_traces() is None, reason="the trace files are not on this machine")
def test_the_real_files_are_read_and_carry_the_world():
    folder = locate_traces()
    loaded = load_service_traces(folder)
    assert loaded.demand.shape[1] == 4
    assert len(loaded.demand) > 13 * STEPS_PER_DAY
    assert (loaded.demand.mean(0) > 1).all()
    train, held_out = load_burst_profiles(folder)
    assert train.std() > 0.1
    assert held_out.mean() == pytest.approx(1)
