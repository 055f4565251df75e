"""Questions to a Prometheus over its HTTP API, a few at a time."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
import httpx

PROMETHEUS_VARIABLE = "QUARTERMASTER_PROMETHEUS"
AT_ONCE = 6
TIMEOUT_SECONDS = 15.0
MOST_POINTS = 240
MOST_SERIES = 30
"""Of one query; a chart with more shows nothing."""


class PrometheusError(Exception):
    """It refused a question, or what answered is no Prometheus; the message says why."""


class PrometheusAwayError(PrometheusError):
    """No answer came."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line of a chart, or one number."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]
    """Unix time and value; what is not finite is left out."""


@dataclass(frozen=True, kw_only=True)
class Alert:
    """A rule that is broken, or about to be."""

    name: str
    state: str
    """`firing` or `pending`."""
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    active_at: str


@dataclass(frozen=True, kw_only=True)
class Span:
    """Which time is shown, in Unix seconds."""

    start: float
    end: float

    @property
    def step(self) -> float:
        """Seconds between two points."""
        return max(5.0, math.ceil((self.end - self.start) / MOST_POINTS))


def prometheus_url() -> str:
    """Return the Prometheus that this console reads."""
    return os.environ.get(PROMETHEUS_VARIABLE, "http://127.0.0.1:9090").rstrip("/")


class Prometheus:
    """Asks one Prometheus; never more than a few questions at once."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        """Begin with nothing asked.

        Args:
            http: Its base is the Prometheus.
        """
        self._http = http
        self._turn = anyio.CapacityLimiter(AT_ONCE)

    async def over_time(self, query: str, span: Span) -> list[Series]:
        """Return a query's values over time.

        Args:
            query: In PromQL.
            span: Which time.

        Raises:
            PrometheusError: It refuses, or does not answer.
        """
        asked = {"query": query, "start": span.start, "end": span.end, "step": span.step}
        return [_series(one) for one in (await self._ask("query_range", asked))["result"]]

    async def now(self, query: str, at: float) -> list[Series]:
        """Return a query's values at one moment.

        Args:
            query: In PromQL.
            at: When, in Unix seconds.

        Raises:
            PrometheusError: It refuses, or does not answer.
        """
        found = await self._ask("query", {"query": query, "time": at})
        return [_series(one) for one in found["result"]]

    async def values_of(self, label: str, metric: str, span: Span) -> list[str]:
        """Return which values a label had.

        Args:
            label: Its name.
            metric: Of which metric.
            span: In which time.

        Raises:
            PrometheusError: It refuses, or does not answer.
        """
        asked = {"match[]": metric, "start": span.start, "end": span.end}
        found: Sequence[str] = await self._ask(f"label/{label}/values", asked)
        return sorted(found)

    async def alerts(self) -> list[Alert]:
        """Return what fires or is about to, what fires first.

        Raises:
            PrometheusError: It refuses, or does not answer.
        """
        found = [
            Alert(
                name=one["labels"].get("alertname", ""),
                state=one["state"],
                labels=one["labels"],
                annotations=one.get("annotations", {}),
                active_at=one.get("activeAt", ""),
            )
            for one in (await self._ask("alerts", {}))["alerts"]
        ]
        return sorted(found, key=lambda one: (one.state != "firing", one.name))

    async def _ask(self, what: str, asked: Mapping[str, Any]) -> Any:
        try:
            async with self._turn:
                answer = await self._http.get(f"/api/v1/{what}", params=dict(asked))
            body = answer.json()
        except httpx.HTTPError as error:
            raise PrometheusAwayError(str(error) or type(error).__name__) from error
        except ValueError as error:
            raise PrometheusError(f"what answers is no Prometheus: {error}") from error
        if not isinstance(body, dict) or body.get("status") != "success":
            said = body.get("error", body) if isinstance(body, dict) else body
            raise PrometheusError(f"it refused: {said}")
        return body["data"]


def _series(one: Mapping[str, Any]) -> Series:
    points = one["values"] if "values" in one else [one["value"]]
    pairs = [(float(at), float(value)) for at, value in points]
    return Series(
        labels=one["metric"],
        points=tuple((at, value) for at, value in pairs if math.isfinite(value)),
    )
