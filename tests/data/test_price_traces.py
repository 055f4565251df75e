"""Published prices are read to the row; a damaged file is refused with its name and a remedy."""

from __future__ import annotations

import gzip
from datetime import date, timedelta

import numpy as np
import pytest

from data import price_traces
from data.price_traces import (
    GOOGLE_FILE,
    INDEX_FILE,
    STOCKS_FILE,
    PriceTable,
    load_google,
    load_index,
    load_stocks,
)
from data.traces import TraceError, locate_traces

DAYS = 30
GOOGLE_HEADER = "Date,Open,High,Low,Close,Adj Close,Volume"


def stock_lines(days=DAYS):
    first = date.fromisoformat("1990-01-02")
    rows = (f"{first + timedelta(days=day)},{10 + day},{20 + day}" for day in range(days))
    return ["Date,AAPL,JPM", *rows]


def google_lines():
    first = date.fromisoformat("2009-05-22")
    rows = (f"{first + timedelta(days=d)},1,2,3,4,{50 + d},{1000 + d}" for d in range(DAYS))
    return [GOOGLE_HEADER, *rows]


def write(path, lines):
    content = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(
        price_traces, "_ROWS", dict.fromkeys((STOCKS_FILE, INDEX_FILE, GOOGLE_FILE), DAYS)
    )
    write(tmp_path / STOCKS_FILE, stock_lines())
    write(tmp_path / INDEX_FILE, [line.rsplit(",", 1)[0] for line in stock_lines()])
    write(tmp_path / GOOGLE_FILE, google_lines())
    return tmp_path


def test_prices_and_dates_are_read_to_the_row(folder):
    table = load_stocks(folder)
    assert table.symbols == ("AAPL", "JPM")
    assert table.dates[[0, -1]].tolist() == [date(1990, 1, 2), date(1990, 1, 31)]
    assert table.price[[0, -1]].tolist() == [[10, 20], [39, 49]]
    assert table.log_return[0] == pytest.approx([np.log(11 / 10), np.log(21 / 20)])
    assert table.volume is None
    assert load_index(folder).price.shape == (DAYS, 1)


def test_google_brings_adjusted_close_and_volume(folder):
    table = load_google(folder)
    assert table.symbols == ("GOOGL",)
    assert table.price[:2, 0].tolist() == [50, 51]
    assert table.volume[:2, 0].tolist() == [1000, 1001]


def test_symbols_come_in_the_order_asked(folder):
    table = load_stocks(folder, ["JPM", "AAPL"])
    assert table.price[0].tolist() == [20, 10]
    assert load_google(folder).select(["GOOGL"]).volume.shape == (DAYS, 1)


@pytest.mark.parametrize("symbols", [["JPM", "GOOG"], []])
def test_an_unknown_symbol_is_refused_with_those_there_are(folder, symbols):
    with pytest.raises(TraceError, match=r"unknown symbols.*AAPL, JPM"):
        load_stocks(folder, symbols)


def test_the_split_is_at_the_date(folder):
    train, held_out = load_google(folder).split(date(2009, 5, 25))
    assert train.dates.tolist() == [date(2009, 5, day) for day in (22, 23, 24)]
    assert held_out.dates[0] == np.datetime64("2009-05-25")
    assert len(train.dates) + len(held_out.dates) == DAYS
    assert held_out.volume[0] == 1003


@pytest.mark.parametrize("day", [date(1989, 1, 1), date(1990, 1, 2), date(1990, 2, 1)])
def test_a_split_that_leaves_a_part_empty_is_refused(folder, day):
    with pytest.raises(TraceError, match="first_held_out"):
        load_stocks(folder).split(day)


def replace_line(number, line):
    return lambda lines: [*lines[:number], line, *lines[number + 1 :]]


DAMAGES = {
    "empty": (lambda _: [], "empty"),
    "header only": (lambda lines: lines[:1], "cut short"),
    "other header": (replace_line(0, "Day,AAPL,JPM"), "Date"),
    "no columns": (lambda lines: [line.split(",")[0] for line in lines], "Date"),
    "cut at a line": (lambda lines: lines[:-1], "29 of 30 rows"),
    "cut in a line": (lambda lines: [*lines[:-1], lines[-1][:12]], "cut short"),
    "longer": (lambda lines: [*lines, "2020-01-01,1,2"], "31 of 30 rows"),
    "NaN": (replace_line(5, "1990-01-06,NaN,24"), "AAPL on 1990-01-06 is nan"),
    "infinite": (replace_line(5, "1990-01-06,14,inf"), "JPM on 1990-01-06 is inf"),
    "zero": (replace_line(5, "1990-01-06,14,0.0"), "JPM on 1990-01-06 is 0"),
    "negative": (replace_line(5, "1990-01-06,-14,24"), "AAPL on 1990-01-06 is -14"),
    "word": (replace_line(5, "1990-01-06,none,24"), "line 6"),
    "no date": (replace_line(5, "yesterday,14,24"), "line 6"),
    "unsorted": (replace_line(5, "1990-03-06,14,24"), "dates must ascend"),
    "day twice": (replace_line(5, "1990-01-05,14,24"), "dates must ascend"),
    "blank line": (replace_line(5, ""), "cut short"),
    "open quote": (replace_line(5, '"1990-01-06' + "9" * 140_000), "is damaged"),
    "symbol twice": (replace_line(0, "Date,AAPL,AAPL"), "AAPL, AAPL; give each once"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_refused_with_its_path(folder, damage, message):
    path = folder / STOCKS_FILE
    write(path, damage(stock_lines()))
    with pytest.raises(TraceError, match=message) as caught:
        load_stocks(folder)
    assert str(path) in str(caught.value)
    assert "github.com/skfolio" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(b"Date,AAPL\n" * 50)[:-9],
        gzip.compress(b"Date,AAPL\n" * 50)[:5],
        b"Date,AAPL\n1990-01-02,1.0\n",
        gzip.compress(b"\xff\xfe\x00"),
        gzip.compress(b"Date,AAPL\n" * 50)[:10] + b"\xff" * 20,
        b"",
    ],
)
def test_a_damaged_archive_is_refused_with_its_path(folder, content):
    (folder / STOCKS_FILE).write_bytes(content)
    with pytest.raises(TraceError, match=STOCKS_FILE):
        load_stocks(folder)


@pytest.mark.parametrize(
    ("name", "load"),
    [(STOCKS_FILE, load_stocks), (INDEX_FILE, load_index), (GOOGLE_FILE, load_google)],
)
def test_a_missing_file_is_named_with_where_to_get_it(folder, name, load):
    (folder / name).unlink()
    with pytest.raises(TraceError, match=f"{name}.*github.com/skfolio"):
        load(folder)


def test_google_with_other_columns_or_bad_volume_is_refused(folder):
    write(folder / GOOGLE_FILE, [GOOGLE_HEADER.replace("Adj Close", "Mean"), *google_lines()[1:]])
    with pytest.raises(TraceError, match="columns"):
        load_google(folder)
    write(folder / GOOGLE_FILE, [*google_lines()[:-1], "2009-06-20,1,2,3,4,5,-1"])
    with pytest.raises(TraceError, match="volume"):
        load_google(folder)


@pytest.mark.parametrize(
    ("price", "volume", "message"),
    [(np.ones((2, 2)), None, "price has shape"), (np.ones((2, 1)), np.ones(2), "volume has shape")],
)
def test_tables_of_wrong_shape_are_refused(price, volume, message):
    dates = np.asarray(["2020-01-01", "2020-01-02"], dtype="datetime64[D]")
    with pytest.raises(TraceError, match=message):
        PriceTable(symbols=("A",), dates=dates, price=price, volume=volume)


@pytest.mark.skipif(locate_traces() is None, reason="the trace files are not on this machine")
def test_the_real_files_are_read():
    folder = locate_traces()
    stocks, index, google = load_stocks(folder), load_index(folder), load_google(folder)
    assert len(stocks.symbols) == 20
    assert (stocks.dates == index.dates).all()
    assert stocks.select(["AAPL"]).price[-1] == 125.674
    assert index.price[[0, -1], 0].tolist() == [359.69, 3783.22]
    assert google.volume[0] == 3_433_700
    assert google.dates[-1] == np.datetime64("2018-08-29")
