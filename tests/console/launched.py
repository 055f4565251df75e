"""`python -m console` as a process."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx

from console.server import URL_VARIABLE

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 180


class Launched:
    """The command as a process, once it has said where to look."""

    def __init__(self, var, *options):
        asked = [f"--var={var}", "--port=0", "--server-port=0", "--no-browser", *options]
        own = {URL_VARIABLE: "", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "console", *asked],
            cwd=ROOT, env={**os.environ, **own}, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.said = ""
        while "Ctrl-C" not in self.said:
            line = self.process.stdout.readline()
            assert line, self.said
            self.said += line
        self.server, self.console = re.findall(r"^\w+ +(http://\S+)$", self.said, re.MULTILINE)

    def children(self):
        """Pids by what they run."""
        found = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                if int(stat.read_text().rpartition(")")[2].split()[1]) == self.process.pid:
                    words = stat.with_name("cmdline").read_text().split("\0")
                    found["streamlit" if "streamlit" in words else "orchestration"] = int(
                        stat.parent.name
                    )
        return found

    def end(self):
        said, _ = self.process.communicate(timeout=PATIENCE_SECONDS)
        self.said += said
        return self.process.returncode

    def await_silence(self):
        """Wait until neither address answers."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        for url in (self.server, self.console):
            with contextlib.suppress(httpx.TransportError):
                while True:
                    httpx.get(url)
                    assert time.monotonic() < deadline, f"{url} answers still"
                    time.sleep(0.05)

    def await_words(self, log, words):
        """Wait until a log holds some words: the last ones come after the address is silent."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while words not in (text := log.read_text()):
            assert time.monotonic() < deadline, text
            time.sleep(0.05)


@contextlib.contextmanager
def launched(var):
    found = Launched(var)
    try:
        yield found
    finally:
        found.process.kill()
        found.process.wait()
        found.process.stdout.close()
        found.await_silence()
