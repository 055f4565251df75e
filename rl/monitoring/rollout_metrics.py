"""Metric families of how versions come into use: canaries, rollbacks, second answers."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

DISTANCE_BUCKETS = (0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
REGRET_BUCKETS = (-0.2, -0.1, -0.05, -0.02, -0.01, 0.0, 0.01, 0.02, 0.05, 0.1, 0.2)


class RolloutMetrics:
    """Counts what canaries and second answers come to; agents are few, so labels are bounded."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Declare the families.

        Args:
            registry: Where they are exposed.
        """
        self._share = Gauge(
            "agent_canary_share_ratio",
            "Share of the request keys that meet the challenger; 0 when no canary runs",
            ("agent",),
            registry=registry,
        )
        self._routed = Counter(
            "agent_canary_requests_total",
            "Requests that a canary gave to the challenger or left to the champion",
            ("agent", "arm"),
            registry=registry,
        )
        self._rollbacks = Counter(
            "agent_rollbacks_total",
            "Canaries that this process rolled back, by the limit that was broken",
            ("agent", "rule"),
            registry=registry,
        )
        self._second = Counter(
            "agent_second_answers_total",
            "Requests put to another version behind the caller's back, by what came of them",
            ("agent", "role", "outcome"),
            registry=registry,
        )
        self._distance = Histogram(
            "agent_second_answer_distance_ratio",
            "How far second answers lie from what the caller got; 0 the same, 1 all elsewhere",
            ("agent", "role"),
            buckets=DISTANCE_BUCKETS,
            registry=registry,
        )
        self._regret = Histogram(
            "agent_second_answer_regret_ratio",
            "Expected value that second answers would have had more, relative",
            ("agent", "role"),
            buckets=REGRET_BUCKETS,
            registry=registry,
        )

    def sharing(self, agent: str, share: float) -> None:
        """Show a canary's share.

        Args:
            agent: Name of the agent.
            share: 0 when none runs.
        """
        self._share.labels(agent).set(share)

    def routed(self, agent: str, *, arm: str) -> None:
        """Count a request of an agent that has a canary.

        Args:
            agent: Name of the agent.
            arm: `challenger` or `champion`.
        """
        self._routed.labels(agent, arm).inc()

    def rolled_back(self, agent: str, *, rule: str) -> None:
        """Count a canary that was ended.

        Args:
            agent: Name of the agent.
            rule: Which limit was broken.
        """
        self._rollbacks.labels(agent, rule).inc()

    def second_answer(self, agent: str, *, role: str, outcome: str) -> None:
        """Count a request to another version.

        Args:
            agent: Name of the agent.
            role: Who was asked besides: `shadow` or `champion`.
            outcome: `equal`, `different`, `failed` or `dropped`.
        """
        self._second.labels(agent, role, outcome).inc()

    def compared(
        self, agent: str, *, role: str, distance: float | None, regret: float | None
    ) -> None:
        """Note how a second answer differs.

        Args:
            agent: Name of the agent.
            role: Who was asked besides.
            distance: From what the caller got, if the domain defines it.
            regret: Value that it would have had more, if the domain knows.
        """
        if distance is not None:
            self._distance.labels(agent, role).observe(distance)
        if regret is not None:
            self._regret.labels(agent, role).observe(regret)
