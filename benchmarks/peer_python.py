"""Where the Python of a peer library lies: each has a virtual environment of its own."""

from __future__ import annotations

import os
from pathlib import Path

from utils.errors import QuartermasterError

VARIABLE = "QUARTERMASTER_PEERS"
DEFAULT_FOLDER = Path(__file__).parent.parent / "var" / "peers"


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
