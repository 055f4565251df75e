"""Whether all is well, at a glance, and how the engine does."""

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

ENGINE = Board(
    uid="qm-engine",
    title="Quartermaster: orchestrator and store",
    about="What waits, what runs, what was lost, and how the process does.",
    rows={
        "Jobs": (
            Panel(
                title="Jobs",
                about="By what they do now.",
                unit="short",
                series={"{{kind}} {{state}}": "job_jobs > 0"},
            ),
            Panel(
                title="Waiting and running",
                about="In all.",
                unit="short",
                series={"waiting": "job:waiting:sum", "running": "job:running:sum"},
            ),
            Panel(
                title="Time in the queue",
                about="Mean of all jobs, by kind, and the longest wait now.",
                unit="s",
                series={
                    "{{kind}}": "job:queue_seconds:mean",
                    "oldest": "job_oldest_waiting_seconds",
                },
                alarm=600,
            ),
            Panel(
                title="Run time",
                about="Mean of all attempts that ended, by outcome.",
                unit="s",
                series={"{{kind}} {{outcome}}": "job_run_seconds_sum / job_run_seconds_count"},
            ),
            Panel(
                title="Retries and losses",
                about="In all: attempts after a failure, and attempts whose worker vanished.",
                unit="short",
                series={
                    "{{kind}} retries": "job_retries_total",
                    "{{kind}} lost": "job_lost_total",
                },
            ),
            Panel(
                title="Least time left on a lease",
                about="Below zero no worker renews it.",
                unit="s",
                may_be_empty=True,
                series={"lease": "job_lease_remaining_seconds"},
            ),
            Panel(
                title="Age of these figures",
                about="The server reads them from the database every few seconds.",
                unit="s",
                series={"age": "time() - job_snapshot_timestamp_seconds"},
                warn=30,
                alarm=60,
            ),
            Panel(
                title="Schedules and webhooks",
                about="Fires and deliveries on record, by what came of them.",
                unit="short",
                may_be_empty=True,
                series={
                    "fires {{outcome}}": "job_schedule_fires",
                    "deliveries {{state}}": "job_webhook_deliveries",
                },
            ),
        ),
        "Process": (
            Panel(
                title="CPU",
                about="Cores in use by the server; children count apart.",
                unit="short",
                series={"cores": 'rate(process_cpu_seconds_total{job="quartermaster"}[1m])'},
            ),
            Panel(
                title="Memory",
                about="Resident.",
                unit="bytes",
                series={"resident": 'process_resident_memory_bytes{job="quartermaster"}'},
            ),
            Panel(
                title="Open files",
                about="And how many there may be.",
                unit="short",
                series={
                    "open": 'process_open_fds{job="quartermaster"}',
                    "limit": 'process_max_fds{job="quartermaster"}',
                },
            ),
        ),
    },
)
