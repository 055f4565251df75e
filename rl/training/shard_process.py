"""The program of a shard's process: `python -m rl.training.shard_process DESCRIPTOR`."""

from __future__ import annotations

import signal
import sys
from multiprocessing.connection import Connection

from rl.training.shard_service import serve_alone


def main(descriptor: int) -> None:
    """Answer until the run hangs up.

    Args:
        descriptor: Of our end of the pipe.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the run saves first, then hangs up
    service = serve_alone()
    with Connection(descriptor) as pipe:
        while True:
            try:
                pipe.send_bytes(service.answer(pipe.recv_bytes()))
            except (EOFError, OSError):  # the run has ended
                return


if __name__ == "__main__":
    main(int(sys.argv[1]))
