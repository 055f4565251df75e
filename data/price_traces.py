"""Real daily prices: twenty shares of the S&P 500 and the index itself, and one share with volume.

Files are read from the folder that `data.traces.locate_traces` returns and never copied.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.traces import TraceError

PRICE_SOURCES = (
    "github.com/skfolio/skfolio src/skfolio/datasets/data (BSD-3, as .csv.gz); "
    "github.com/AminHP/gym-anytrading gym_anytrading/datasets/data (MIT)"
)
STOCKS_FILE = "skfolio_sp500_20stocks.csv.gz"
INDEX_FILE = "skfolio_sp500_index.csv.gz"
GOOGLE_FILE = "anytrading_STOCKS_GOOGL.csv"
_ROWS = {STOCKS_FILE: 8313, INDEX_FILE: 8313, GOOGLE_FILE: 2335}


@dataclass(frozen=True, kw_only=True)
class PriceTable:
    """Prices of the same days for each symbol."""

    symbols: tuple[str, ...]
    dates: NDArray[np.datetime64]
    """`[time]`, ascending."""
    price: NDArray[np.float64]
    """`[time, symbol]`: at the close, splits and dividends adjusted; above 0."""
    volume: NDArray[np.float64] | None = None
    """`[time, symbol]`: shares traded, where the source says."""

    def __post_init__(self) -> None:
        """Check what everything that reads prices relies on."""
        shape = (len(self.dates), len(self.symbols))
        if self.price.shape != shape or 0 in shape:
            raise TraceError(f"price has shape {self.price.shape}; give {shape}, not empty")
        if self.volume is not None and self.volume.shape != shape:
            raise TraceError(f"volume has shape {self.volume.shape}; give {shape}")
        if len(set(self.symbols)) < len(self.symbols):
            raise TraceError(f"symbols are {', '.join(self.symbols)}; give each once")
        if (np.diff(self.dates) <= np.timedelta64(0)).any():
            raise TraceError("dates must ascend and not repeat; sort the rows by date")
        if not (np.isfinite(self.price).all() and (self.price > 0).all()):
            row, column = np.argwhere(~(np.isfinite(self.price) & (self.price > 0)))[0]
            raise TraceError(
                f"price of {self.symbols[column]} on {self.dates[row]} is "
                f"{self.price[row, column]}; give finite prices above 0 or drop that day"
            )
        if self.volume is not None and not (np.isfinite(self.volume) & (self.volume >= 0)).all():
            raise TraceError("volume must be finite and not negative; give shares per day")

    @property
    def log_return(self) -> NDArray[np.float64]:
        """Change of the logarithm of the price from row to row, `[time - 1, symbol]`."""
        returns: NDArray[np.float64] = np.diff(np.log(self.price), axis=0)
        return returns

    def select(self, symbols: Sequence[str]) -> PriceTable:
        """Return the table of some symbols, in the order given.

        Args:
            symbols: Their names.

        Raises:
            TraceError: One of them is not in the table.
        """
        unknown = [symbol for symbol in symbols if symbol not in self.symbols]
        if unknown or not symbols:
            raise TraceError(f"unknown symbols {unknown}; there are {', '.join(self.symbols)}")
        index = [self.symbols.index(symbol) for symbol in symbols]
        return PriceTable(
            symbols=tuple(symbols),
            dates=self.dates,
            price=self.price[:, index],
            volume=None if self.volume is None else self.volume[:, index],
        )

    def split(self, first_held_out: date) -> tuple[PriceTable, PriceTable]:
        """Cut in two by date: days before it train, the rest are held out.

        Args:
            first_held_out: First day of the second part.

        Raises:
            TraceError: One part would be empty.
        """
        cut = int(np.searchsorted(self.dates, np.datetime64(first_held_out, "D")))
        if not 0 < cut < len(self.dates):
            raise TraceError(
                f"first_held_out {first_held_out} leaves a part empty; choose a day after "
                f"{self.dates[0]}, at the latest {self.dates[-1]}"
            )
        return self._rows(slice(None, cut)), self._rows(slice(cut, None))

    def _rows(self, rows: slice) -> PriceTable:
        return PriceTable(
            symbols=self.symbols,
            dates=self.dates[rows],
            price=self.price[rows],
            volume=None if self.volume is None else self.volume[rows],
        )


def load_stocks(folder: Path, symbols: Sequence[str] | None = None) -> PriceTable:
    """Read twenty shares that were in the S&P 500 from 1990 to 2022, so survivors all.

    Args:
        folder: Where the file lies.
        symbols: Which; all by default.

    Raises:
        TraceError: The file is missing, cut short or malformed, or a symbol unknown.
    """
    table = _load(folder / STOCKS_FILE)
    return table if symbols is None else table.select(symbols)


def load_index(folder: Path) -> PriceTable:
    """Read the S&P 500 from 1990 to 2022, dividends not counted.

    Args:
        folder: Where the file lies.

    Raises:
        TraceError: The file is missing, cut short or malformed.
    """
    return _load(folder / INDEX_FILE)


def load_google(folder: Path) -> PriceTable:
    """Read the adjusted closing price and the volume of Alphabet's share from 2009 to 2018.

    Args:
        folder: Where the file lies.

    Raises:
        TraceError: The file is missing, cut short or malformed.
    """
    path = folder / GOOGLE_FILE
    header, dates, values = _read(path)
    if header[4:] != ["Adj Close", "Volume"]:
        raise TraceError(f"{path} has columns {header}; get it again: {PRICE_SOURCES}")
    return _check(path, ("GOOGL",), dates, values[:, 4:])


def _load(path: Path) -> PriceTable:
    header, dates, values = _read(path)
    return _check(path, tuple(header), dates, values)


def _check(
    path: Path,
    symbols: tuple[str, ...],
    dates: NDArray[np.datetime64],
    values: NDArray[np.float64],
) -> PriceTable:
    """Make the table, prices first and volume, if any, behind; complain in the file's name."""
    price, volume = np.split(values, [len(symbols)], axis=1)
    try:
        return PriceTable(
            symbols=symbols, dates=dates, price=price, volume=volume if volume.size else None
        )
    except TraceError as error:
        raise TraceError(f"{path}: {error} (or get it again: {PRICE_SOURCES})") from error


def _read(path: Path) -> tuple[list[str], NDArray[np.datetime64], NDArray[np.float64]]:
    """Return names of the columns, dates `[time]` and numbers `[time, column]`."""
    header, *rows = _read_lines(path)
    if header[:1] != ["Date"] or len(header) < 2:
        raise TraceError(f"{path} does not begin with Date and a column; get it: {PRICE_SOURCES}")
    if len(rows) != _ROWS[path.name] or {len(row) for row in rows} != {len(header)}:
        raise TraceError(
            f"{path} is cut short or damaged: {len(rows)} of {_ROWS[path.name]} rows of "
            f"{len(header)} columns; get it again: {PRICE_SOURCES}"
        )
    dates, values = [], []
    for number, row in enumerate(rows, start=2):
        try:
            dates.append(date.fromisoformat(row[0]))
            values.append([float(text) for text in row[1:]])
        except ValueError as error:
            raise TraceError(f"{path}, line {number}: {error}; get it: {PRICE_SOURCES}") from error
    return header[1:], np.asarray(dates, dtype="datetime64[D]"), np.asarray(values)


def _read_lines(path: Path) -> list[list[str]]:
    """Read a CSV file, packed or not."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        lines = content.decode("utf-8").splitlines()
    except FileNotFoundError as error:
        raise TraceError(f"cannot read {path}: no such file; get it: {PRICE_SOURCES}") from error
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise TraceError(f"{path} is damaged: {error}; get it again: {PRICE_SOURCES}") from error
    if not lines:
        raise TraceError(f"{path} is empty; get it again: {PRICE_SOURCES}")
    try:
        return list(csv.reader(lines))
    except csv.Error as error:
        raise TraceError(f"{path} is damaged: {error}; get it again: {PRICE_SOURCES}") from error
