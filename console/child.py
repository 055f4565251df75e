"""Becomes another program, and asks the kernel to end that one if this one's parent dies.

Usage: python -m console.child PARENT_PID PROGRAM ARGUMENT...
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Become the program on the command line."""
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":  # elsewhere a killed launcher leaves its children behind
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(parent):
            sys.exit("the launcher has ended already")
    os.execv(command[0], command)  # noqa: S606  no shell is wanted


if __name__ == "__main__":
    main()
