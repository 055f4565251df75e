"""`python -m orchestration`."""

from __future__ import annotations

import signal

if __name__ == "__main__":
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # while modules load, Ctrl-C ends it in silence
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from orchestration.cli.commands import main

    signal.signal(signal.SIGINT, before)
    main()
