"""Whether all is well, at a glance."""

from __future__ import annotations

from deploy.grafana.panel import Board, Panel

OVERVIEW = Board(
    uid="qm-overview",
    title="Quartermaster: overview",
    about="Whether training learns, agents decide and the engine is healthy, at a glance.",
    rows={
        "Now": (
            Panel(
                title="Server",
                about="1 while Prometheus can read /metrics.",
                unit="short",
                kind="stat",
                series={"up": 'up{job="quartermaster"}'},
            ),
            Panel(
                title="Live runs",
                about="Runs that report.",
                unit="short",
                kind="stat",
                series={"runs": "count(rl_heartbeat_timestamp_seconds) or vector(0)"},
            ),
            Panel(
                title="Jobs waiting",
                about="Due, and not started yet.",
                unit="short",
                kind="stat",
                series={"waiting": "job:waiting:sum"},
                warn=50,
                alarm=500,
            ),
            Panel(
                title="Oldest waiting",
                about="Wait of the job that is due longest; QueueStuck fires at ten minutes.",
                unit="s",
                kind="stat",
                series={"waited": "job_oldest_waiting_seconds"},
                warn=120,
                alarm=600,
            ),
            Panel(
                title="Requests",
                about="Decisions asked for, a second.",
                unit="reqps",
                kind="stat",
                series={"requests": "sum(agent:requests:rate5m) or vector(0)"},
            ),
            Panel(
                title="Errors",
                about="Share of requests that nobody could answer.",
                unit="percentunit",
                kind="stat",
                series={"errors": "max(agent:errors:ratio_rate5m)"},
                warn=0.001,
                alarm=0.01,
            ),
            Panel(
                title="Fallbacks",
                about="Share of requests that the expert answered in place of the policy.",
                unit="percentunit",
                kind="stat",
                series={"fallbacks": "max(agent:fallback:ratio_rate5m)"},
                warn=0.05,
                alarm=0.2,
            ),
            Panel(
                title="Alerts",
                about="That fire now.",
                unit="short",
                kind="stat",
                series={"alerts": 'count(ALERTS{alertstate="firing"}) or vector(0)'},
                warn=1,
                alarm=3,
            ),
        ),
        "Over time": (
            Panel(
                title="Lead over the expert",
                about="Policy less best tuned expert, same scenarios; above zero it is better.",
                unit="short",
                series={"{{run}}": "run:lead_over_expert"},
            ),
            Panel(
                title="Environment steps",
                about="Trained on, a second.",
                unit="short",
                series={"{{run}}": "run:env_steps:rate1m"},
            ),
            Panel(
                title="Decision time, 99th percentile",
                about="By agent; the objective is 10 ms.",
                unit="s",
                series={"{{agent}}": "agent:decision_seconds:p99_rate5m"},
                warn=0.005,
                alarm=0.01,
            ),
            Panel(
                title="Jobs",
                about="By what they do now.",
                unit="short",
                series={"{{state}}": "sum by (state) (job_jobs) > 0"},
            ),
        ),
    },
)
