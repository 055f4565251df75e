"""Train an allocation agent, compare it with experts, stress it, promote it and ask it once.

Run again after an interruption, the demo finds its unfinished training and goes on from there.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import anyio
from rich.console import Console

from ai_agents.allocation_schema import EXAMPLE_REQUEST
from ai_agents.cards import AgentCard
from data.traces import SOURCES, locate_traces
from orchestration.app import Application, Settings, open_application
from orchestration.cli import tables, training
from orchestration.cli.decision_tables import decision_table
from orchestration.executors.supervisor import AttemptConfig
from orchestration.jobs import Job, JobState
from rl.training.demos import DEMOS, demo_config
from rl.training.training_config import TrainingConfig
from utils.errors import QuartermasterError
from utils.logs import configure_logs
from utils.persistence.files import make_folder, write_atomically

FAILED, REFUSED, INTERRUPTED = 1, 2, 130
REQUEST_FILE = "request.json"
PROMETHEUS_OPTIONS = (
    "--config.file=deploy/prometheus/prometheus.yml --storage.tsdb.path=var/prometheus"
)


def main() -> int:
    """Run the demo and return its exit code."""
    arguments = read_arguments()
    console = Console()
    try:
        make_folder(arguments.var)
        with (arguments.var / "demo.log").open("a", encoding="utf-8") as log:
            configure_logs(stream=log, json=False)  # lines would tear the display
            return anyio.run(run_demo, arguments, console)
    except QuartermasterError as error:
        console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        return REFUSED


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    sizes = "; ".join(
        f"{name}: {demo.num_agents} {demo.agents}, {demo.episodes:,} episodes"
        for name, demo in DEMOS.items()
    )
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=f"Defaults: {sizes}."
    )
    parser.add_argument("--demo_type", choices=DEMOS, default="resource_allocation")
    parser.add_argument("--num_agents", type=int, help="services, stages or desks")
    parser.add_argument("--episodes", type=int, help="training length; default: enough to learn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--curriculum",
        action=argparse.BooleanOptionalAction,
        help="begin with easier scenarios; default: where it does not cost the result",
    )
    parser.add_argument("--fresh", action="store_true", help="drop unfinished training, start anew")
    parser.add_argument("--var", type=Path, default=Path("var"), help="folder of generated state")
    return parser.parse_args()


async def run_demo(arguments: argparse.Namespace, console: Console) -> int:
    """Train, compare, stress, promote, invoke.

    Args:
        arguments: The command line.
        console: Where to tell about it.
    """
    config = make_config(arguments)
    demo = DEMOS[config.environment]
    stages = ", from easy to hard" if config.use_curriculum else ""
    console.print(
        f"[bold]{demo.about.format(config.num_agents)}[/]\n"
        f"Training {config.algorithm} for {config.total_episodes:,} episodes{stages}, seed "
        f"{config.seed}.",
        soft_wrap=True,
        highlight=False,
    )
    tell_about_traces(console)
    settings = Settings(
        var=arguments.var, attempt=AttemptConfig(lease_seconds=6, flush_seconds=0.5)
    )
    async with open_application(settings, with_worker=True) as application:
        job = await training.train_watched(
            application, config, fresh=arguments.fresh, console=console
        )
        if job is None:
            console.print("Saved. Run the same command again and it goes on from here.")
            return INTERRUPTED
        if job.state is not JobState.SUCCEEDED or job.result is None:
            return tell_failure(console, job)
        tell_result(console, job.result)
        agent = job.result["agent"]
        can_ask = await put_to_work(application, agent, console)
        run = await application.orchestrator.run_of(job.id)
    tell_what_next(console, arguments.var, job.result["report"], agent=agent if can_ask else None)
    if run is not None:
        tell_where_to_look(console, arguments.var, run.summary.id)
    return 0


def make_config(arguments: argparse.Namespace) -> TrainingConfig:
    """Return the settings of the training.

    Args:
        arguments: The command line.
    """
    return demo_config(
        arguments.demo_type,
        num_agents=arguments.num_agents,
        episodes=arguments.episodes,
        use_curriculum=arguments.curriculum,
        seed=arguments.seed,
    )


def tell_about_traces(console: Console) -> None:
    """Say what data is used.

    Args:
        console: Where to say it.
    """
    folder = locate_traces()
    if folder is None:
        console.print(
            "No real traces here: trained and judged on synthetic scenarios, held-out ones for "
            f"the comparison. To use real data get the files: {SOURCES}",
            style="yellow",
            soft_wrap=True,
        )
    else:
        console.print(f"Data: real traces from {folder}, mixed with synthetic.", soft_wrap=True)


def tell_result(console: Console, result: dict[str, Any]) -> None:
    """Show the held-out table, and a line for every stress set and every stage.

    Args:
        console: Where to show it.
        result: Of the training job.
    """
    table = result["table"]
    console.print("", tables.scores_table(table, width=console.width), sep="\n")
    console.print(f"KPI: {table['kpi']}. Played on {table['data']}.", style="dim", soft_wrap=True)
    console.print(tables.verdict(table), style="bold", soft_wrap=True)
    if result["curriculum"] is not None:
        path = " > ".join(dict.fromkeys(one["stage"] for one in result["curriculum"]["timeline"]))
        console.print(f"\nStages: {path}", soft_wrap=True, highlight=False)
    if result["stress_tables"]:
        console.print("\nUnder stress, with the same policy:")
    for other in result["stress_tables"]:
        console.print(f"- {other['data']}: {tables.verdict(other)}", soft_wrap=True)


async def put_to_work(application: Application, agent: str, console: Console) -> bool:
    """Promote the newest version and, if it is an agent that can be asked, ask it once.

    Args:
        application: With the agent.
        agent: Its name.
        console: Where to show the answer.
    """
    orchestrator = application.orchestrator
    version = await orchestrator.promote(agent, "latest", reason="trained by the demo")
    console.print(f"\nPromoted: {agent} version {version.version} is champion.")
    if not await orchestrator.registry.can_ask(version):
        return False
    card = await orchestrator.card(agent)
    request = choose_request(card)
    write_atomically(
        application.settings.var / REQUEST_FILE, json.dumps(request, indent=2).encode()
    )
    console.print("Asked once:")
    console.print(decision_table(await orchestrator.invoke(agent, request)))
    return True


def choose_request(card: AgentCard) -> dict[str, Any]:
    """Return a request to ask: a telling one if it fits the agent, else the agent's own example.

    Args:
        card: Of the agent.
    """
    ours, telling = card.examples[0], EXAMPLE_REQUEST
    names = [[one["name"] for one in request.get("services", [])] for request in (ours, telling)]
    return {**(telling if names[0] == names[1] else ours), "compare": True}


def tell_failure(console: Console, job: Job) -> int:
    """Say why there is no result.

    Args:
        console: Where to say it.
        job: As it ended.
    """
    reason = f": {job.error}" if job.error else "."
    console.print(f"Training is {job.state.value}{reason}", markup=False, soft_wrap=True)
    return FAILED


def tell_what_next(console: Console, var: Path, report: str, *, agent: str | None) -> None:
    """Say where things lie and what to type.

    Args:
        console: Where to say it.
        var: Folder of generated state.
        report: Folder of the report.
        agent: Name of the agent, if it can be asked.
    """
    request, command = var / REQUEST_FILE, f"python -m orchestration{var_option(var)}"
    lines = [
        "",
        f"Report, plots    {report}/report.md",
        f"As one page      {command} report latest",
        f"All figures      {command} show latest",
    ]
    if agent is not None:
        lines += [
            f"Ask it again     {command} invoke {agent} {request}",
            f"Serve it         {command} serve",
            f"  and ask        curl -s localhost:8321/v1/agents/{agent}:invoke -d @{request}",
        ]
    print_lines(console, [*lines, f"Log              {var / 'demo.log'}"])


def tell_where_to_look(console: Console, var: Path, run_id: str) -> None:
    """Say where the run that was made can be seen.

    Args:
        console: Where to say it.
        var: Folder of generated state.
        run_id: The run.
    """
    option = var_option(var)
    words = f" ARGS='{option.strip()}'" if option else ""
    lines = [
        "",
        "Where to look at this run:",
        f"  terminal       python -m orchestration{option} watch {run_id}",
        f"  browser        make console{words}   then http://localhost:8501/?run={run_id}",
        f"  over HTTP      curl -s localhost:8321/v1/runs/{run_id}   (once `serve` runs)",
        "  metrics        curl -s localhost:8321/metrics   (a run's own while it trains)",
        f"  Prometheus     prometheus {PROMETHEUS_OPTIONS}   then http://localhost:9090",
    ]
    print_lines(console, lines)


def print_lines(console: Console, lines: list[str]) -> None:
    """Print lines as they are.

    Args:
        console: Where.
        lines: One below the other.
    """
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def var_option(var: Path) -> str:
    """Return the option that commands need to find the state.

    Args:
        var: Folder of generated state.
    """
    return "" if var == Path("var") else f" --var {var}"


if __name__ == "__main__":
    sys.exit(main())
