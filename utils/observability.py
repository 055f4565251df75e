"""The registry of metric families that a process exposes; families are declared by their owners."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

import prometheus_client
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

EXPOSITION_CONTENT_TYPE = prometheus_client.exposition.CONTENT_TYPE_PLAIN_0_0_4


class WrittenFamily(Metric):
    """A family that brings its text along, so that nobody has to render it."""

    def __init__(self, series: WrittenSeries) -> None:
        """Take what the series are now.

        Args:
            series: Of the family.
        """
        super().__init__(series.name.removesuffix("_total"), series.text, series.kind)
        self._series = series
        self.lines = series.render()
        """Of the family, its heading included."""

    @property
    def samples(self) -> list[Sample]:
        """What others than a scraper read."""
        return self._series.samples()

    @samples.setter
    def samples(self, samples: list[Sample]) -> None:
        """Only the base class sets any, and only none."""


class WrittenSeries:
    """The series of a family, each rendered when it changes instead of whenever somebody scrapes.

    For families of hundreds of series that change seldom. One thread writes; any may read.
    """

    def __init__(
        self, name: str, text: str, labels: Sequence[str], *, kind: Literal["gauge", "counter"]
    ) -> None:
        """Begin with none.

        Args:
            name: Of the family; that of a counter ends in `_total`.
            text: What it is.
            labels: Names of its labels.
            kind: Whether values only rise.
        """
        self.name, self.text, self.kind = name, text, kind
        self._labels = tuple(labels)
        self._beginnings: dict[tuple[str, ...], str] = {}
        self._values: dict[tuple[str, ...], float] = {}
        self._lines: dict[tuple[str, ...], str] = {}

    def set(self, labels: tuple[str, ...], value: float) -> None:
        """Let a series have a value.

        Args:
            labels: Their values.
            value: Of the series.
        """
        if self._values.get(labels) == value:
            return
        beginning = self._beginnings.get(labels) or self._begin(labels)
        self._values[labels] = value
        self._lines[labels] = f"{beginning}{_write(value)}\n"

    def add(self, labels: tuple[str, ...], value: float) -> None:
        """Let a series rise, from zero if it is new.

        Args:
            labels: Their values.
            value: By how much.
        """
        self.set(labels, self._values.get(labels, 0.0) + value)

    def remove(self, labels: tuple[str, ...]) -> None:
        """Forget a series, if there is one.

        Args:
            labels: Their values.
        """
        for each in (self._beginnings, self._values, self._lines):
            each.pop(labels, None)

    def render(self) -> str:
        """Return the family as a scraper reads it."""
        heading = f"# HELP {self.name} {self.text}\n# TYPE {self.name} {self.kind}\n"
        return heading + "".join(list(self._lines.values()))

    def samples(self) -> list[Sample]:
        """Return the family as programs read it."""
        return [
            Sample(self.name, dict(zip(self._labels, labels, strict=True)), value)
            for labels, value in list(self._values.items())
        ]

    def _begin(self, labels: tuple[str, ...]) -> str:
        pairs = zip(self._labels, map(_escape, labels), strict=True)
        named = ",".join([f'{name}="{value}"' for name, value in pairs])
        self._beginnings[labels] = beginning = f"{self.name}{{{named}}} "
        return beginning


def make_registry() -> CollectorRegistry:
    """Return a registry with this process's memory, CPU, start time and open files.

    Children report to their supervisor over a pipe, so one registry holds all that is scraped.
    """
    # A creation time per series would double the exposition and answers no question we ask.
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry(auto_describe=True)
    ProcessCollector(registry=registry)
    return registry


def exposition(registry: CollectorRegistry) -> bytes:
    """Render all families as Prometheus text; send with `EXPOSITION_CONTENT_TYPE`.

    A thousand series that are not written yet take about 10 ms of the interpreter, so call it in a
    thread when an event loop is running.

    Args:
        registry: What to render.
    """
    families = list(registry.collect())
    written = [one.lines for one in families if isinstance(one, WrittenFamily)]
    others = _Collected(one for one in families if not isinstance(one, WrittenFamily))
    return prometheus_client.generate_latest(others) + "".join(written).encode()


class _Collected(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _write(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(float(value))
