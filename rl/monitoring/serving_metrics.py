"""Metric families of business agents: requests, latency, fallbacks, guardrails, versions."""

from __future__ import annotations

from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

Outcome = Literal["decision", "fallback", "refused", "error"]
"""Policy answered; expert answered in its place; request was invalid; nobody could answer."""

MOST_FOUND = 1024
DECISION_SECONDS_BUCKETS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005),
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
)


class ServingMetrics:
    """Counts what agents answer; label values beyond a cap are counted as `"other"`."""

    def __init__(self, registry: CollectorRegistry, *, max_label_values: int = 64) -> None:
        """Declare the families.

        Args:
            registry: Where they are exposed.
            max_label_values: Distinct values kept per label, so that no caller can flood it.
        """
        self._max_label_values = max_label_values
        self._known: dict[str, set[str]] = {}
        self._answered: dict[tuple[str, str, Outcome], tuple[Counter, Histogram]] = {}
        self._requests = Counter(
            "agent_requests_total",
            "Requests to an agent, by what became of them",
            ("agent", "version", "outcome"),
            registry=registry,
        )
        self._seconds = Histogram(
            "agent_decision_seconds",
            "Time from a request to its decision",
            ("agent", "version"),
            buckets=DECISION_SECONDS_BUCKETS,
            registry=registry,
        )
        self._fallbacks = Counter(
            "agent_fallback_total",
            "Requests that the expert answered in place of the policy",
            ("agent", "reason"),
            registry=registry,
        )
        self._guardrails = Counter(
            "agent_guardrail_total",
            "Actions that had to be changed to satisfy a constraint",
            ("agent", "constraint"),
            registry=registry,
        )
        self._versions = Gauge(
            "agent_version_info",
            "The versions being served; always 1",
            ("agent", "version", "artifact"),
            registry=registry,
        )
        self._circuits = Gauge(
            "agent_circuit_open",
            "Whether others answer for a version that kept failing in this process: 1, else 0",
            ("agent", "version"),
            registry=registry,
        )
        self._drift = Gauge(
            "agent_drift_score",
            "How far requests have moved from those at first: population stability index of the "
            "field that moved farthest; above 0.25 is much",
            ("agent",),
            registry=registry,
        )
        self._regret = Gauge(
            "agent_regret_mean",
            "What the expert's decisions would have been worth more than those given, on average "
            "over the replayed ones",
            ("agent",),
            registry=registry,
        )
        self._records_written = Counter(
            "agent_decision_records_written_total",
            "Records of decisions that the database has",
            registry=registry,
        )
        self._records_dropped = Counter(
            "agent_decision_records_dropped_total",
            "Records of decisions that were lost, because the database was away too long",
            registry=registry,
        )

    def answered(self, agent: str, version: str, *, outcome: Outcome, seconds: float) -> None:
        """Count one request.

        Args:
            agent: Name of the agent.
            version: Which version answered.
            outcome: What became of the request.
            seconds: How long it took.
        """
        found = self._answered.get((agent, version, outcome))
        if found is None:
            found = self._answered[agent, version, outcome] = self._find(agent, version, outcome)
        requests, histogram = found
        requests.inc()
        histogram.observe(seconds)

    def fell_back(self, agent: str, *, reason: str) -> None:
        """Count a request that the expert answered.

        Args:
            agent: Name of the agent.
            reason: Why, one of a few fixed words; never the text of an error.
        """
        self._fallbacks.labels(self._capped("agent", agent), self._capped("reason", reason)).inc()

    def guardrail_applied(self, agent: str, *, constraint: str) -> None:
        """Count an action that was changed to be feasible.

        Args:
            agent: Name of the agent.
            constraint: Which constraint it broke, one of a few fixed words.
        """
        agent, constraint = self._capped("agent", agent), self._capped("constraint", constraint)
        self._guardrails.labels(agent, constraint).inc()

    def drifted(self, agent: str, *, score: float) -> None:
        """Show how far requests have moved.

        Args:
            agent: Name of the agent.
            score: Of the field that moved farthest.
        """
        self._drift.labels(self._capped("agent", agent)).set(score)

    def regretted(self, agent: str, *, mean: float) -> None:
        """Show what the expert would have done better.

        Args:
            agent: Name of the agent.
            mean: Over the replayed decisions.
        """
        self._regret.labels(self._capped("agent", agent)).set(mean)

    def circuit_changed(self, agent: str, version: str, *, is_open: bool) -> None:
        """Show whether a version is asked.

        Args:
            agent: Name of the agent.
            version: Which version.
            is_open: Whether others answer.
        """
        labels = self._capped("agent", agent), self._capped("version", version)
        self._circuits.labels(*labels).set(is_open)

    def records_written(self, number: int) -> None:
        """Count records of decisions that are safe.

        Args:
            number: How many more.
        """
        self._records_written.inc(number)

    def records_dropped(self, number: int) -> None:
        """Count records of decisions that are lost.

        Args:
            number: How many more.
        """
        self._records_dropped.inc(number)

    def serving(self, agent: str, version: str, *, artifact: str) -> None:
        """Show a version as being served.

        Args:
            agent: Name of the agent.
            version: The version.
            artifact: Hash of its policy artifact; the first 12 digits are shown.
        """
        self._versions.labels(agent, version, artifact[:12]).set(1)

    def retire(self, agent: str, version: str) -> None:
        """Remove the series of a version that is served no more.

        Args:
            agent: Name of the agent.
            version: The version.
        """
        for family in (self._requests, self._seconds, self._versions, self._circuits):
            family.remove_by_labels({"agent": agent, "version": version})
        self._known.get("version", set()).discard(version)
        self._answered.clear()

    def _find(self, agent: str, version: str, outcome: Outcome) -> tuple[Counter, Histogram]:
        """Return the series of a kind of answer; looking them up by labels takes longer."""
        if len(self._answered) >= MOST_FOUND:
            self._answered.clear()
        agent, version = self._capped("agent", agent), self._capped("version", version)
        return self._requests.labels(agent, version, outcome), self._seconds.labels(agent, version)

    def _capped(self, label: str, value: str) -> str:
        known = self._known.setdefault(label, set())
        if value not in known and len(known) >= self._max_label_values:
            return "other"
        known.add(value)
        return value
