"""Shop files are read to the cell, closed days included, and damaged ones refused by name."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest

from data.retail_traces import (
    PRICE_FILE,
    RETAIL_DAYS,
    RETAIL_FILE,
    RETAIL_PRODUCTS,
    load_retail_demand,
    load_retail_prices,
)
from data.traces import TraceError, locate_traces

CODES = [f"P{number}" for number in range(RETAIL_PRODUCTS)]


def retail_lines():
    open_days = [day for day in range(400) if day % 7 != 3][:RETAIL_DAYS]
    lines = [",".join(["date", *CODES])]
    for row, day in enumerate(open_days):
        cells = (str(row + 1000 * number) for number in range(RETAIL_PRODUCTS))
        lines.append(",".join([str(date(2010, 12, 1) + timedelta(days=day)), *cells]))
    return lines


def price_lines():
    return ["StockCode,UnitPrice", *(f"{code},{k + 0.5}" for k, code in enumerate(CODES))]


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / RETAIL_FILE, retail_lines())
    write(tmp_path / PRICE_FILE, price_lines())
    return tmp_path


def write(path, lines):
    path.write_text("\n".join(lines) + "\n")


def test_units_lie_on_the_calendar_and_closed_days_are_known(folder):
    history = load_retail_demand(folder)
    assert history.names == tuple(CODES)
    assert history.is_open[:8].tolist() == [True, True, True, False, True, True, True, True]
    assert history.units[:5, 2].tolist() == [2000, 2001, 2002, 0, 2003]
    assert history.is_open.sum() == RETAIL_DAYS
    assert history.take(slice(1, None, 2)).names == tuple(CODES[1::2])


def test_prices_by_code(folder):
    prices = load_retail_prices(folder)
    assert len(prices) == RETAIL_PRODUCTS
    assert prices["P3"] == 3.5


@pytest.mark.parametrize("load", [load_retail_demand, load_retail_prices])
def test_a_missing_file_is_named_with_where_to_get_it(tmp_path, load):
    with pytest.raises(TraceError, match=r"uci_online_retail.*github.com/databricks"):
        load(tmp_path)


def cell(text):
    return lambda lines: [*lines[:9], lines[9].rsplit(",", 1)[0] + "," + text, *lines[10:]]


DAMAGES = {
    "empty": lambda _: [],
    "header only": lambda lines: lines[:1],
    "other header": lambda lines: ["day" + lines[0][4:], *lines[1:]],
    "truncated at a line": lambda lines: lines[:-3],
    "truncated in a line": lambda lines: [*lines[:-1], lines[-1][:2]],
    "NaN": cell("NaN"),
    "infinite": cell("inf"),
    "negative": cell("-4"),
    "word": cell("closed"),
    "no value": cell(""),
    "huge": cell("9" * 200_000),
    "open quote": cell('"4'),
}
DAY_DAMAGES = {
    "no date": lambda lines: [*lines[:9], "x" + lines[9], *lines[10:]],
    "out of order": lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
    "twice": lambda lines: [*lines[:-1], lines[-2]],
    "far future": lambda lines: [*lines[:-1], "9" + lines[-1][1:]],
    "a product less": lambda lines: [line.rsplit(",", 1)[0] for line in lines],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize(
    ("load", "file"), [(load_retail_demand, RETAIL_FILE), (load_retail_prices, PRICE_FILE)]
)
def test_a_damaged_file_is_refused_with_its_path(folder, load, file, damage):
    path = folder / file
    write(path, damage(path.read_text().splitlines()))
    with pytest.raises(TraceError, match=file):
        load(folder)


@pytest.mark.parametrize(
    ("load", "file"), [(load_retail_demand, RETAIL_FILE), (load_retail_prices, PRICE_FILE)]
)
def test_a_file_cut_within_its_last_number_is_refused(folder, load, file):
    path = folder / file
    path.write_text(path.read_text()[:-2])
    with pytest.raises(TraceError, match=f"{file} is cut short"):
        load(folder)


@pytest.mark.parametrize("damage", DAY_DAMAGES.values(), ids=DAY_DAMAGES)
def test_damaged_days_are_refused(folder, damage):
    path = folder / RETAIL_FILE
    write(path, damage(path.read_text().splitlines()))
    with pytest.raises(TraceError, match=RETAIL_FILE):
        load_retail_demand(folder)


def test_bytes_that_are_no_text_are_refused(folder):
    (folder / RETAIL_FILE).write_bytes(b"\xff\xfe\x00" * 9)
    with pytest.raises(TraceError, match="not text"):
        load_retail_demand(folder)


@pytest.mark.skipif(locate_traces() is None, reason="the trace files are not on this machine")
def test_the_real_file_has_the_published_figures():
    history = load_retail_demand(locate_traces())
    shown = history.units[history.is_open]
    # reference/domains.md 3.4: variance over mean 67 at mean 21, 18 % days without a sale.
    assert np.median(shown.mean(0)) == pytest.approx(21, abs=0.5)
    assert np.median(shown.var(0) / shown.mean(0)) == pytest.approx(67, abs=1)
    assert (shown == 0).mean() == pytest.approx(0.18, abs=0.005)
    assert set(load_retail_prices(locate_traces())) == set(history.names)
