"""How agents decide, and what was done about them."""

from __future__ import annotations

from deploy.grafana.panel import AGENT, AGENT_CHOICE, Board, Panel, per_second

AGENTS = Board(
    uid="qm-agents",
    title="Quartermaster: agents",
    about="How fast and how well agents decide, which versions do, and what was done about them.",
    variables=(AGENT_CHOICE,),
    rows={
        "Requests": (
            Panel(
                title="Requests",
                about="A second, by what became of them.",
                unit="reqps",
                series={"{{outcome}}": per_second("agent_requests_total", "outcome")},
            ),
            Panel(
                title="By version",
                about="A second; a canary shows as two.",
                unit="reqps",
                series={
                    "{{agent}} {{version}}": per_second("agent_requests_total", "agent, version")
                },
            ),
            Panel(
                title="Decision time",
                about="Median and 99th percentile; the objective is 10 ms.",
                unit="s",
                series={
                    "{{agent}} p50": f"agent:decision_seconds:p50_rate5m{AGENT}",
                    "{{agent}} p99": f"agent:decision_seconds:p99_rate5m{AGENT}",
                },
                warn=0.005,
                alarm=0.01,
            ),
            Panel(
                title="Slow decisions",
                about="Share above 10 ms, of five minutes and an hour; the alert needs both.",
                unit="percentunit",
                series={
                    "{{agent}} 5 min": f"agent:slow:ratio_rate5m{AGENT}",
                    "{{agent}} 1 h": f"agent:slow:ratio_rate1h{AGENT}",
                },
                warn=0.01,
                alarm=0.144,
            ),
        ),
        "Trust": (
            Panel(
                title="Errors",
                about="Share of requests that nobody could answer.",
                unit="percentunit",
                series={"{{agent}}": f"agent:errors:ratio_rate5m{AGENT}"},
                alarm=0.01,
            ),
            Panel(
                title="Fallbacks by reason",
                about="Requests a second that the expert answered.",
                unit="reqps",
                may_be_empty=True,
                series={
                    "{{agent}} {{reason}}": per_second("agent_fallback_total", "agent, reason")
                },
            ),
            Panel(
                title="Fallbacks",
                about="Share of requests.",
                unit="percentunit",
                series={"{{agent}}": f"agent:fallback:ratio_rate5m{AGENT}"},
                warn=0.05,
                alarm=0.2,
            ),
            Panel(
                title="Cut to what is feasible",
                about="Decisions a second, by the constraint that bound.",
                unit="reqps",
                may_be_empty=True,
                series={
                    "{{constraint}}": per_second("agent_guardrail_total", "constraint"),
                    "share": f"agent:guardrail:ratio_rate5m{AGENT}",
                },
            ),
            Panel(
                title="Open circuits",
                about="1 while the expert answers for a version that kept failing.",
                unit="short",
                may_be_empty=True,
                series={"{{agent}} {{version}}": f"agent_circuit_open{AGENT}"},
                alarm=1,
            ),
            Panel(
                title="Drift and regret",
                about="Stability index of the worst field; mean regret against the expert.",
                unit="short",
                may_be_empty=True,
                series={
                    "{{agent}} drift": f"agent_drift_score{AGENT}",
                    "{{agent}} regret": f"agent_regret_mean{AGENT}",
                },
                warn=0.25,
            ),
        ),
        "Versions": (
            Panel(
                title="Served versions",
                about="Always 1; the legend says which.",
                unit="short",
                series={"{{agent}} {{version}} {{artifact}}": f"agent_version_info{AGENT}"},
            ),
            Panel(
                title="Canaries",
                about="Share of the request keys that meet the challenger.",
                unit="percentunit",
                may_be_empty=True,
                series={
                    "{{agent}}": f"agent_canary_share_ratio{AGENT}",
                    "{{agent}} {{arm}}": per_second("agent_canary_requests_total", "agent, arm"),
                },
            ),
            Panel(
                title="Rollbacks",
                about="By the limit that was broken.",
                unit="short",
                may_be_empty=True,
                series={"{{agent}} {{rule}}": f"agent_rollbacks_total{AGENT}"},
                alarm=1,
            ),
            Panel(
                title="Second answers",
                about="Behind the caller's back: how many, how far apart, how much better.",
                unit="short",
                may_be_empty=True,
                series={
                    "{{outcome}}": per_second("agent_second_answers_total", "outcome"),
                    "distance": "sum(rate(agent_second_answer_distance_ratio_sum[5m])) / "
                    "sum(rate(agent_second_answer_distance_ratio_count[5m]))",
                    "regret": "sum(rate(agent_second_answer_regret_ratio_sum[5m])) / "
                    "sum(rate(agent_second_answer_regret_ratio_count[5m]))",
                },
            ),
            Panel(
                title="Records",
                about="Decisions written, and lost because the database was away too long.",
                unit="short",
                series={
                    "written": "rate(agent_decision_records_written_total[5m])",
                    "lost": "rate(agent_decision_records_dropped_total[5m])",
                },
            ),
        ),
    },
)
