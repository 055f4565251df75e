"""Real shop demand: daily units of 100 products of the UCI "Online Retail" set, and their prices.

The files are read from the folder of `data.traces.locate_traces`, never copied.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np

from data.demand_law_fit import DemandHistory
from data.trace_tables import read_number, read_table
from data.traces import TraceError

RETAIL_FILE = "uci_online_retail_daily_100sku.csv"
PRICE_FILE = "uci_online_retail_median_price.csv"
RETAIL_DAYS = 305
RETAIL_PRODUCTS = 100
RETAIL_SOURCE = (
    "github.com/databricks/Spark-The-Definitive-Guide data/retail-data/by-day/*.csv, summed per "
    "stock code and day (UCI Online Retail, CC-BY-4.0)"
)


def load_retail_demand(folder: Path) -> DemandHistory:
    """Read the units sold per day; days without a row are closed days.

    Args:
        folder: Where the file lies.

    Raises:
        TraceError: The file is missing, cut short or malformed.
    """
    path = folder / RETAIL_FILE
    header, rows = read_table(path, "date", RETAIL_SOURCE)
    if len(rows) != RETAIL_DAYS or len(header) != RETAIL_PRODUCTS + 1:
        raise TraceError(
            f"{path} has {len(rows)} days of {len(header) - 1} products, not {RETAIL_DAYS} of "
            f"{RETAIL_PRODUCTS}; get it again: {RETAIL_SOURCE}"
        )
    try:
        days = [date.fromisoformat(row[0]) for row in rows]
    except ValueError as error:
        raise TraceError(f"{path}: {error}; get it again: {RETAIL_SOURCE}") from error
    index = np.asarray([(day - days[0]).days for day in days])
    if (np.diff(index) < 1).any() or index[-1] > 2 * RETAIL_DAYS:
        raise TraceError(f"{path} is not in order of its days; get it again: {RETAIL_SOURCE}")
    units = np.zeros((index[-1] + 1, RETAIL_PRODUCTS))
    units[index] = [[read_number(path, cell, RETAIL_SOURCE) for cell in row[1:]] for row in rows]
    is_open = np.zeros(len(units), bool)
    is_open[index] = True
    return DemandHistory(units=units, is_open=is_open, names=tuple(header[1:]))


def load_retail_prices(folder: Path) -> dict[str, float]:
    """Read the median price of each product, in pounds.

    Args:
        folder: Where the file lies.

    Raises:
        TraceError: The file is missing, cut short or malformed.
    """
    path = folder / PRICE_FILE
    _, rows = read_table(path, "StockCode", RETAIL_SOURCE)
    prices = {row[0]: read_number(path, row[1], RETAIL_SOURCE) for row in rows}
    if len(prices) != RETAIL_PRODUCTS:
        raise TraceError(
            f"{path} has {len(prices)} of {RETAIL_PRODUCTS} prices; get it again: {RETAIL_SOURCE}"
        )
    return prices
