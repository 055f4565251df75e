"""Targets that print, log and crash."""

# ruff: noqa: T201
from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import warnings

from utils.logs import get_logger, log_context

logger = get_logger(__name__)


def print_and_crash(spec, context):
    print("first words")
    print("to stderr", file=sys.stderr)
    subprocess.run([sys.executable, "-c", "print('from a grandchild')"], check=True)
    print("last words", end="")
    {
        "kill": lambda: os.kill(os.getpid(), 9),
        "exit": lambda: os._exit(3),
        "segfault": lambda: ctypes.string_at(0),
    }[spec["crash"]]()


def log_from_everywhere(spec, context):
    logger.info("in_main", answer=42)
    thread = threading.Thread(target=lambda: logger.warning("in_thread"))
    thread.start()
    thread.join()
    with log_context(job="another"):
        logger.info("in_context", password="secret")
    warnings.warn("careful", stacklevel=1)
    return {}


def flood(spec, context):
    line = "x" * 99
    for number in range(spec["lines"]):
        print(f"{number:08d} {line}")
        if number % 20_000 == 0:
            context.progress(number, spec["lines"])
    print("the end")
    return {}
