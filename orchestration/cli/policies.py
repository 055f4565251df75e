"""Takes policies out of the registry in other forms: as ONNX, and with weights in fewer bits."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ai_agents.precision_loss import ActionDifference, PrecisionLoss, measure_loss, note_loss
from ai_agents.registry import CHAMPION, UnknownAgentError, UnknownVersionError
from orchestration.app import Application
from orchestration.cli.parts import print_parts, run_opened
from rl.artifacts import PolicyArtifact
from rl.deployment.onnx_export import export_onnx
from utils.errors import ConfigError
from utils.persistence.run_queries import RunNotFoundError

Agent = Annotated[str, typer.Argument(metavar="AGENT", help="Name of the agent.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="Is written, or written over.")]
Alias = Annotated[str, typer.Option(help="Which version, by what it is for.")]
Version = Annotated[int | None, typer.Option(min=1, help="Which version, by number.")]


def write_onnx(
    context: typer.Context,
    agent: Agent,
    file: File,
    *,
    alias: Alias = CHAMPION,
    version: Version = None,
) -> None:
    """Write an agent's policy as an ONNX model, for programs in other languages.

    The model takes the observations of the policy's domain and gives its actions; what makes a
    request an observation, and an action a decision within its constraints, stays here.
    """
    artifact = _load(context, agent, alias, version)
    content = export_onnx(artifact)
    _write(file, content)
    size = artifact.observation_size
    print_parts(
        f"{file}: {len(content):,} bytes; observation [batch, {size}] -> action, output "
        f"[batch, {artifact.action.size}]"
    )


def write_rounded(
    context: typer.Context,
    agent: Agent,
    file: File,
    *,
    precision: Annotated[
        Literal["float16", "int8"], typer.Option(help="What weights are rounded to.")
    ] = "int8",
    alias: Alias = CHAMPION,
    version: Version = None,
) -> None:
    """Write an agent's policy with weights in fewer bits, and say what that costs.

    `adopt FILE` takes it in. It runs in float32, as any policy; only the file is smaller.
    """
    whole = _load(context, agent, alias, version)
    reduced = whole.with_precision(precision)
    loss = measure_loss(whole, reduced)
    reduced = note_loss(reduced, loss)
    _write(file, reduced.to_bytes())
    print_parts(*_tell(file, precision, loss))
    config = run_opened(context, lambda application: _find_config(application, whole))
    if config is None:
        print_parts("KPI: not compared; the run that trained it is not in this database.")
        return
    compare = importlib.import_module("rl.training.policy_difference").compare_policies  # torch
    found = compare(config, whole, reduced)
    change = found.difference
    print_parts(
        f"KPI on {found.episodes} held-out episodes ({found.about}): {found.kpi:.4g} before, "
        f"{change.mean:+.3g} [{change.low:+.3g}, {change.high:+.3g}] after (95 %)."
    )


def _tell(file: Path, precision: str, loss: PrecisionLoss) -> list[str]:
    share = loss.bytes_after / loss.bytes_before
    size = f"{loss.bytes_after:,} bytes instead of {loss.bytes_before:,} ({share:.0%})"
    lines = [
        f"{file}: weights as {precision}, {size}.",
        f"Actions on {_words('observations', loss.observations)}",
    ]
    if loss.requests is not None:
        lines.append(f"Actions on {_words('requests in the validated ranges', loss.requests)}")
    return lines


def _words(what: str, one: ActionDifference) -> str:
    return f"{one.asked} {what}: differ by at most {one.largest:.2g}, by {one.mean:.2g} on average."


def _load(context: typer.Context, agent: str, alias: str, version: int | None) -> PolicyArtifact:
    async def load(application: Application) -> PolicyArtifact:
        summary = await application.orchestrator.agent(agent)
        number = summary.aliases.get(alias) if version is None else version
        if number is None:
            raise UnknownAgentError(f"{agent} has no {alias}: promote a version first")
        for record in summary.versions:
            if record.version == number:
                content = await application.parts.registry_store.load(record.sha256)
                return PolicyArtifact.from_bytes(content)
        raise UnknownVersionError(
            f"{agent} has no version {number}; it has {len(summary.versions)}"
        )

    return run_opened(context, load)


async def _find_config(
    application: Application, artifact: PolicyArtifact
) -> Mapping[str, Any] | None:
    try:
        return (await application.orchestrator.run(artifact.card.run_id)).config
    except RunNotFoundError:
        return None


def _write(file: Path, content: bytes) -> None:
    try:
        file.write_bytes(content)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from error


def register(cli: typer.Typer) -> None:
    """Add the commands.

    Args:
        cli: To these.
    """
    commands: dict[str, Any] = {"export-onnx": write_onnx, "export-rounded": write_rounded}
    for name, command in commands.items():
        cli.command(name)(command)
