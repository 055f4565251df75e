"""Train an allocation agent, compare it with experts, promote it and ask it once.

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
from orchestration.executors.supervisor import AttemptConfig
from orchestration.jobs import Job, JobState
from rl.training.training_config import TrainingConfig
from utils.errors import QuartermasterError
from utils.logs import configure_logs
from utils.persistence.files import write_atomically

DEMOS = ("trading", "supply_chain", "resource_allocation")
AGENT = "resource_allocator"
FAILED, NOT_YET, INTERRUPTED = 1, 2, 130
REQUEST_FILE = "request.json"


def main() -> int:
    """Run the demo and return its exit code."""
    arguments = read_arguments()
    console = Console()
    if arguments.demo_type != "resource_allocation":
        console.print(f"{arguments.demo_type}: not yet. There is --demo_type resource_allocation.")
        return NOT_YET
    arguments.var.mkdir(parents=True, exist_ok=True)
    with (arguments.var / "demo.log").open("a", encoding="utf-8") as log:
        configure_logs(stream=log, json=False)  # lines would tear the display
        try:
            return anyio.run(run_demo, arguments, console)
        except QuartermasterError as error:
            console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
            return NOT_YET


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demo_type", choices=DEMOS, default="resource_allocation")
    parser.add_argument("--num_agents", type=int, default=4, help="services that share capacities")
    parser.add_argument("--episodes", type=int, help="training length; default: enough to learn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fresh", action="store_true", help="drop unfinished training, start anew")
    parser.add_argument("--var", type=Path, default=Path("var"), help="folder of generated state")
    return parser.parse_args()


async def run_demo(arguments: argparse.Namespace, console: Console) -> int:
    """Train, compare, promote, invoke.

    Args:
        arguments: The command line.
        console: Where to tell about it.
    """
    config = make_config(arguments)
    console.print(
        f"[bold]Shared services[/]: {config.num_agents} services share capacities that sometimes "
        f"fail. Training {config.algorithm} for {config.total_episodes:,} episodes, seed "
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
        console.print("", tables.scores_table(job.result["table"]), sep="\n")
        console.print(f"Played on {job.result['table']['data']}.", style="dim", soft_wrap=True)
        console.print(tables.verdict(job.result["table"]), style="bold", soft_wrap=True)
        await put_to_work(application, console)
    tell_what_next(console, arguments.var, job.result["report"])
    return 0


def make_config(arguments: argparse.Namespace) -> TrainingConfig:
    """Return the settings of the training.

    Args:
        arguments: The command line.
    """
    chosen = {"num_agents": arguments.num_agents, "seed": arguments.seed}
    if arguments.episodes is not None:
        chosen["total_episodes"] = arguments.episodes
    return TrainingConfig(**chosen)


def tell_about_traces(console: Console) -> None:
    """Say what demand is used.

    Args:
        console: Where to say it.
    """
    folder = locate_traces()
    if folder is None:
        console.print(
            "No real traces here: trained and judged on synthetic scenarios, held-out ones for "
            f"the comparison. To use real demand get the files: {SOURCES}",
            style="yellow",
            soft_wrap=True,
        )
    else:
        console.print(f"Demand: real traces from {folder}, mixed with synthetic.", soft_wrap=True)


async def put_to_work(application: Application, console: Console) -> None:
    """Promote the newest version and ask it once.

    Args:
        application: With the agent.
        console: Where to show the answer.
    """
    orchestrator = application.orchestrator
    version = await orchestrator.promote(AGENT, "latest", reason="trained by the demo")
    card = await orchestrator.card(AGENT)
    request = choose_request(card)
    write_atomically(
        application.settings.var / REQUEST_FILE, json.dumps(request, indent=2).encode()
    )
    decision = await orchestrator.invoke(AGENT, request)
    console.print(f"\nPromoted: {AGENT} version {version.version} is champion. Asked once:")
    console.print(tables.decision_table(decision))


def choose_request(card: AgentCard) -> dict[str, Any]:
    """Return a request to ask: a telling one if it fits the agent, else the agent's own example.

    Args:
        card: Of the agent.
    """
    ours, telling = card.examples[0], EXAMPLE_REQUEST
    names = [[service["name"] for service in one["services"]] for one in (ours, telling)]
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


def tell_what_next(console: Console, var: Path, report: str) -> None:
    """Say where things lie and what to type.

    Args:
        console: Where to say it.
        var: Folder of generated state.
        report: Folder of the report.
    """
    option = "" if var == Path("var") else f" --var {var}"
    request = var / REQUEST_FILE
    command = f"python -m orchestration{option}"
    lines = (
        "",
        f"Report, plots    {report}/report.md",
        f"All figures      {command} show latest",
        f"Ask it again     {command} invoke {AGENT} {request}",
        f"Serve it         {command} serve",
        f"  and ask        curl -s localhost:8321/v1/agents/{AGENT}:invoke -d @{request}",
        "  metrics        curl -s localhost:8321/metrics",
        f"Log              {var / 'demo.log'}",
    )
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
