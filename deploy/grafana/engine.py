"""How engine, store and process do."""

from __future__ import annotations

from deploy.grafana.panel import Board, Panel, quantile

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
                title="Workers and slots",
                about="Workers heard of in the last minute, and their places for jobs.",
                unit="short",
                series={"workers": "job_workers", "slots {{state}}": "job_slots"},
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
        "Store": (
            Panel(
                title="Time of a write",
                about="Median and 99th percentile, from asking for it to its commit.",
                unit="s",
                series={
                    "p50": quantile(0.5, "quartermaster_store_write_seconds"),
                    "p99": quantile(0.99, "quartermaster_store_write_seconds"),
                },
                warn=0.1,
                alarm=1,
            ),
            Panel(
                title="Wait for a turn",
                about="Until a transaction had its turn and a connection, 99th percentile; and "
                "how many wait now.",
                unit="s",
                series={
                    "{{access}} p99": quantile(0.99, "quartermaster_store_wait_seconds", "access"),
                    "{{access}} waiting": "quartermaster_store_waiting",
                },
                warn=0.1,
                alarm=1,
            ),
            Panel(
                title="Transactions",
                about="A second.",
                unit="short",
                series={"{{access}}": "rate(quartermaster_store_wait_seconds_count[5m])"},
            ),
            Panel(
                title="Changes in a transaction",
                about="Mean of the last five minutes; more under load, as those that wait go "
                "together.",
                unit="short",
                may_be_empty=True,
                series={
                    "{{writer}}": "rate(quartermaster_store_batch_rows_sum[5m]) / "
                    "(rate(quartermaster_store_batch_rows_count[5m]) > 0)"
                },
            ),
            Panel(
                title="Connections",
                about="In use, and how many each pool keeps open.",
                unit="short",
                series={
                    "{{pool}} in use": "quartermaster_store_connections_in_use",
                    "{{pool}} kept": "quartermaster_store_pool_connections",
                },
            ),
            Panel(
                title="Write-ahead log",
                about="Of SQLite; it grows while a reader keeps it from being folded in. None "
                "where PostgreSQL keeps the data.",
                unit="bytes",
                series={"size": "quartermaster_store_wal_size_bytes"},
                warn=64e6,
                alarm=512e6,
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
