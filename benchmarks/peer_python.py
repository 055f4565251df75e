"""Peer libraries: each has a virtual environment of its own, and scripts that run in it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from utils.errors import QuartermasterError

VARIABLE = "QUARTERMASTER_PEERS"
DEFAULT_FOLDER = Path(__file__).parent.parent / "var" / "peers"
SCRIPTS = Path(__file__).parent / "peers"


class PeerMissingError(QuartermasterError):
    """A peer library is not installed; the message names the command that installs it."""


def peer_python(name: str) -> Path:
    """Return the Python of a peer's virtual environment.

    The environments lie in the folder that `QUARTERMASTER_PEERS` names, else in var/peers.

    Args:
        name: As `scripts/install-peers` calls it, such as `sb3`.

    Raises:
        PeerMissingError: It is not there.
    """
    folder = Path(os.environ.get(VARIABLE) or DEFAULT_FOLDER)
    python = folder.absolute() / name / "bin" / "python"
    if not python.exists():
        raise PeerMissingError(
            f"{name} is not installed in {folder}; run scripts/install-peers {name}, or set "
            f"{VARIABLE} to the folder that holds its virtual environment"
        )
    return python


def run_peer(name: str, script: str, arguments: list[str]) -> dict[str, Any]:
    """Run a script in a peer's environment with one thread; its last line of output is JSON.

    Args:
        name: Of the peer.
        script: In benchmarks/peers.
        arguments: Of the script.

    Raises:
        PeerMissingError: The peer is not installed.
        subprocess.CalledProcessError: The script failed; its errors are on stderr.
    """
    command = [str(peer_python(name)), str(SCRIPTS / script), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(  # noqa: S603
        command, stdout=subprocess.PIPE, text=True, check=True, env=environment
    )
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found
