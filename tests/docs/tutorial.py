"""Does what a tutorial says, block by block, and compares what comes with what the page shows.

A block with a title is a file that the reader writes. In a console block, lines after `$ ` are
commands of one shell, and the lines below them what they print: `...` stands for anything within a
line, or alone for any lines, and a number with a sign, a point, a comma or a percent sign may be
2 % off, or one in its last digit.
A console block called "another terminal" is a program that goes on until the page ends. A command
fails if, and only if, the page shows a line that begins with `error:`, `curl:` or the
name of an error.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FIGURE = re.compile(r"(?<![\w.])[+-]?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?%?(?![\w:])")
FAILURE = re.compile(r"error: |curl: |[\w.]+Error: ")
OTHER_TERMINAL = "another terminal"
PORT = "8321"
SLACK = 0.02


@dataclass(frozen=True, kw_only=True)
class Block:
    language: str
    title: str
    text: str

    @property
    def steps(self) -> list[tuple[str, list[str]]]:
        """Commands, each with the lines that the page shows below it."""
        steps = re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]
        return [split_step(step) for step in steps]


def split_step(step: str) -> tuple[str, list[str]]:
    lines = step.rstrip().split("\n")
    end = next(n for n, line in enumerate(lines) if not line.endswith("\\"))
    return "\n".join(lines[: end + 1]), lines[end + 1 :]


def read_blocks(page: str) -> list[Block]:
    return [
        Block(language=language, title=title, text=text)
        for language, title, text in BLOCK.findall(page)
    ]


def differences(shown: list[str], came: list[str]) -> list[str]:
    """What the page shows and did not come, or came and is not shown."""
    shown, came = list(shown), [line.rstrip() for line in came]
    while shown:
        line = shown.pop(0).rstrip()
        if line == "...":
            if "..." not in shown:
                came = came[max(len(came) - len(shown), 0) :]
            while came and not is_alike(shown[0].rstrip(), came[0]):
                came.pop(0)
        elif not came or not is_alike(line, came[0]):
            return [f"shown: {line}", f"came:  {came[0] if came else '(nothing)'}", *came[1:]]
        else:
            came.pop(0)
    return [f"came, but is not shown: {line}" for line in came]


def is_alike(shown: str, came: str) -> bool:
    pattern, figures = "", []
    for part in re.split(r"(\.\.\.|" + FIGURE.pattern + ")", " ".join(shown.split())):
        if part == "...":
            pattern += ".*?"
        elif FIGURE.fullmatch(part) and set(part) & set(".,%+-"):
            pattern += f"({FIGURE.pattern})"
            figures.append(part)
        else:
            pattern += re.escape(part)
    found = re.fullmatch(pattern, " ".join(came.split()))
    return found is not None and all(map(is_near, figures, found.groups()))


def is_near(shown: str, came: str) -> bool:
    a, b = (float(re.sub("[,%]", "", text)) for text in (shown, came))
    last_digit = 10.0 ** -len(shown.rstrip("%").partition(".")[2])
    return shown.endswith("%") == came.endswith("%") and abs(a - b) <= max(
        SLACK * abs(a), 1.001 * last_digit
    )


class Terminal:
    """A shell that keeps its variables between commands."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            ["bash", "--norc"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, command: str) -> tuple[int, list[str]]:
        self.start(f'{command}\ncode=$?; echo; echo "END-OF-COMMAND $code"')
        lines = [self.line()]
        while not lines[-1].startswith("END-OF-COMMAND"):
            lines.append(self.line())
        code = int(lines.pop().split()[1])
        while lines and not lines[-1]:
            lines.pop()
        return code, lines

    def start(self, command: str) -> None:
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()

    def line(self) -> str:
        line = self.process.stdout.readline()
        assert line, "the shell ended"
        return line.rstrip("\n")

    def close(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@contextlib.contextmanager
def open_terminals(folder: Path) -> Iterator[tuple[Terminal, Terminal]]:
    """Two shells in a folder of their own, where real traces are nowhere to be found."""
    work = folder / "work"
    work.mkdir()
    shutil.copytree(ROOT / "data", folder / "without" / "traces" / "data")
    paths = [folder / "without" / "traces", ROOT]
    environment = {name: value for name, value in os.environ.items() if "QUARTERMASTER" not in name}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": ":".join(map(str, paths)),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "160",
    }
    terminals = (Terminal(work, environment), Terminal(work, environment))
    try:
        yield terminals
    finally:
        for terminal in terminals:
            terminal.close()


def free_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


def follow(page: str, folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Do what a page says; yields each command, what the page shows, and what came."""
    port = free_port()
    with open_terminals(folder) as (terminal, other):
        for block in read_blocks(page.replace(PORT, port)):
            if block.title == OTHER_TERMINAL:
                ((command, shown),) = block.steps
                other.start(command.replace("serve", f"serve --port {port}"))
                yield command, shown, [other.line() for _ in shown]
            elif block.language == "console":
                for command, shown in block.steps:
                    code, came = terminal.run(command)
                    fails = any(FAILURE.match(line) for line in shown)
                    assert (code != 0) == fails, (command, code, came)
                    yield command, shown, came
            else:
                assert block.title, f"a block without a title: {block.text}"
                (folder / "work" / block.title).write_text(block.text)
