"""Takes in policies that were trained elsewhere, such as those that come with the program."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestration.app import Application
from orchestration.cli.parts import print_parts, run_opened
from utils.errors import ConfigError

if TYPE_CHECKING:
    from ai_agents.registry_store import ArtifactRecord

SHIPPED = Path(__file__).parents[2] / "shipped"
REASON = "taken in by hand"


def adopt(
    context: typer.Context,
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE", help="Policies; those that come along if none is named."),
    ] = None,
) -> None:
    """Take policies in from files and promote them, to try serving before training.

    A file is what `python -m orchestration show RUN` names as a model's artifact: a policy with
    its card, whole by its hash. Its agent's champion is the new version afterwards.
    """
    chosen = files or sorted(SHIPPED.glob("*.safetensors"))
    contents = [(path, _read(path)) for path in chosen]
    found = run_opened(context, partial(_adopt, contents=contents))
    for path, record, can_ask in found:
        asked = "" if can_ask else "; this program cannot ask it, others can"
        print_parts(f"{path.name}: {record.agent} version {record.version} is champion{asked}")


async def _adopt(
    application: Application, contents: list[tuple[Path, bytes]]
) -> list[tuple[Path, ArtifactRecord, bool]]:
    registry, found = application.orchestrator.registry, []
    for path, content in contents:
        record = await registry.register(content)
        await registry.promote(record.agent, record.version, reason=REASON)
        found.append((path, record, await registry.can_ask(record)))
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error


def register(cli: typer.Typer) -> None:
    """Add the command.

    Args:
        cli: To these.
    """
    command: Any = adopt
    cli.command()(command)
