"""Metric families of the database: what its transactions took, how full its pools are, its log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

    from utils.persistence.engine import Database
    from utils.persistence.traffic import Spread


class StoreMetrics(Collector):
    """Shows what the database has counted; a scrape asks the database nothing."""

    def __init__(self, registry: CollectorRegistry, database: Database) -> None:
        """Expose the families.

        Args:
            registry: Where.
            database: Whose.
        """
        self._database = database
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Yield the families; called by the registry, in any thread."""
        traffic = self._database.traffic
        writes = HistogramMetricFamily(
            "quartermaster_store_write_seconds",
            "Time from asking for a transaction that may write to its commit",
        )
        _add(writes, [], traffic.writes)
        waits = HistogramMetricFamily(
            "quartermaster_store_wait_seconds",
            "Time until a transaction had its turn and a connection",
            labels=["access"],
        )
        for access, spread in traffic.waits.items():
            _add(waits, [access], spread)
        waiting = GaugeMetricFamily(
            "quartermaster_store_waiting",
            "Transactions that wait for their turn and a connection now",
            labels=["access"],
        )
        for access, number in list(traffic.waiting.items()):
            waiting.add_metric([access], number)
        batches = HistogramMetricFamily(
            "quartermaster_store_batch_rows",
            "Changes of jobs, or records of decisions, that shared a transaction",
            labels=["writer"],
        )
        for writer, spread in traffic.batches.items():
            _add(batches, [writer], spread)
        yield from (writes, waits, waiting, batches, *self._now())

    def _now(self) -> Iterator[Metric]:
        in_use = GaugeMetricFamily(
            "quartermaster_store_connections_in_use",
            "Connections that carry a transaction now",
            labels=["pool"],
        )
        size = GaugeMetricFamily(
            "quartermaster_store_pool_connections",
            "Connections that a pool keeps open; a few more come and go when they do not suffice",
            labels=["pool"],
        )
        for name, pool in self._database.pools().items():
            in_use.add_metric([name], pool.in_use)
            size.add_metric([name], pool.size)
        log = GaugeMetricFamily(
            "quartermaster_store_wal_size_bytes",
            "Size of SQLite's write-ahead log; absent where a server keeps the data",
        )
        written = self._database.fingerprint()
        if written is not None:
            log.add_metric([], written[0])
        yield from (in_use, size, log)


def _add(family: HistogramMetricFamily, labels: list[str], spread: Spread) -> None:
    counts, total = spread.rising(), spread.total
    names = [*map(floatToGoString, spread.bounds), "+Inf"]
    family.add_metric(labels, list(zip(names, counts, strict=True)), total)
