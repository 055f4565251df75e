"""Server and console as two child processes that start, live and end together."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.abc
import httpx

from console.server import TOKEN_VARIABLE, URL_VARIABLE
from utils.errors import QuartermasterError

ROOT = Path(__file__).parents[1]
HOST = "127.0.0.1"
START_SECONDS = 120.0
"""How long a process may take until it answers; a first start on a busy machine compiles much."""
LOOK_SECONDS = 0.2
LAST_LINES = 8
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Say = Callable[[str], None]


class LaunchError(QuartermasterError):
    """Console or server cannot be started as asked; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What shall run."""

    var: Path
    """Folder of generated state: the server's, and the logs of both."""
    port: int
    """Of the console."""
    server_port: int
    """Of the server, if one is to be started."""
    url: str | None = None
    """A server that runs already; one is found or started on this machine if absent."""
    on_ready: Callable[[str], None] = lambda _: None
    """Told the console's address once it answers."""


class Child:
    """A process with a log."""

    def __init__(self, name: str, log: Path) -> None:
        """Start nothing yet.

        Args:
            name: What it is called in words.
            log: Where it writes.
        """
        self.name, self.log = name, log
        self._process: anyio.abc.Process | None = None

    async def start(self, arguments: list[str], environment: Mapping[str, str]) -> None:
        """Start it, away from the terminal's Ctrl-C and bound to the life of this process.

        Args:
            arguments: Of Python.
            environment: Beside that of this process.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        wrapper = [sys.executable, "-m", "console.child", str(os.getpid())]
        with self.log.open("wb") as log:
            self._process = await anyio.open_process(
                [*wrapper, sys.executable, *arguments],
                cwd=ROOT,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def has_ended(self) -> bool:
        """Whether it was started and runs no more."""
        return self._process is not None and self._process.returncode is not None

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless it runs no more.

        Args:
            number: Which.
        """
        if self._process is not None and not self.has_ended:
            self._process.send_signal(number)

    async def wait(self) -> int:
        """Wait for its end; returns its exit code, 0 if it was never started."""
        return 0 if self._process is None else await self._process.wait()

    def last_words(self) -> str:
        """Say how it ended, with the end of its log."""
        code = self._process.returncode if self._process is not None else None
        how = f"was ended by signal {-code}" if code is not None and code < 0 else f"ended ({code})"
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
        quoted = "".join(f"\n  | {line}" for line in lines)
        return f"{self.name} {how}; its log is {self.log}{quoted}"


async def launch(plan: Plan, say: Say) -> int:
    """Run console and server until a signal comes or one of them ends.

    Args:
        plan: What shall run.
        say: Tells people.

    Returns:
        The exit code: 0 if told to stop, 1 if something ended by itself.

    Raises:
        LaunchError: It cannot start; nothing runs any more.
    """
    logs = plan.var.absolute()
    console = Child("The console", logs / "console.log")
    server = Child("The server", logs / "server.log")
    children, code = (console, server), 0
    with anyio.open_signal_receiver(*STOP_SIGNALS) as signals:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(_cancel_at_signal, signals, group.cancel_scope)
                await _start(plan, console=console, server=server, say=say)
                ended = await _first_end(children)
                say(f"{ended.last_words()}\nEnding the other one too.")
                code = 1
                group.cancel_scope.cancel()
        except* LaunchError as errors:
            raise errors.exceptions[0] from None
        finally:
            with anyio.CancelScope(shield=True):
                await _end(children, signals, say)
    return code


async def _start(plan: Plan, *, console: Child, server: Child, say: Say) -> None:
    if importlib.util.find_spec("streamlit") is None:
        raise LaunchError(
            "Streamlit is not installed: `make console` does that, or "
            "`pip install -r requirements-console.txt`"
        )
    _check_free(plan.port, "--port")
    url = await _find_or_start_server(plan, server, say)
    streamlit = ["-m", "streamlit", "run", "console/app.py", f"--server.port={plan.port}"]
    streamlit += [f"--server.address={HOST}", "--server.headless=true"]
    await console.start(streamlit, {URL_VARIABLE: url, "PYTHONPATH": str(ROOT)})
    address = f"http://{HOST}:{plan.port}"
    await _until_answered(server, f"{url}/health/live")
    await _until_answered(console, f"{address}/_stcore/health")
    say(f"Server   {url}")
    say(f"Console  {address}")
    if (problem := await _find_access_problem(url)) is not None:
        say(problem)
    say("Ctrl-C ends both; running jobs are saved and go on at the next start.")
    plan.on_ready(address)


async def _find_or_start_server(plan: Plan, server: Child, say: Say) -> str:
    if plan.url is not None:
        if not await _is_server(plan.url):
            raise LaunchError(
                f"no Quartermaster answers at {plan.url}: start one there, or leave --url (and "
                f"{URL_VARIABLE}) out, and one is started here"
            )
        return plan.url.rstrip("/")
    url = f"http://{HOST}:{plan.server_port}"
    if await _is_server(url):
        say(f"A server answers at {url} already: using that one, with its own --var.")
        return url
    _check_free(plan.server_port, "--server-port")
    say(f"Starting a server on {plan.var} and the console ...")
    options = ["--var", str(plan.var.absolute()), "serve", f"--port={plan.server_port}"]
    await server.start(["-m", "orchestration", *options], {})
    return url


async def _is_server(url: str) -> bool:
    try:
        async with httpx.AsyncClient(timeout=5) as client:
            answer = await client.get(f"{url.rstrip('/')}/health/live")
            return answer.is_success and answer.json() == {"status": "live"}
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return False


async def _find_access_problem(url: str) -> str | None:
    """Say what is wrong with the token, if anything is."""
    token = os.environ.get(TOKEN_VARIABLE)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(timeout=5, headers=headers) as client:
        try:
            status = (await client.get(f"{url}/v1/engine")).status_code
        except httpx.HTTPError:
            return None  # the pages tell it
    if status not in {401, 403}:
        return None
    made = "`python -m orchestration tokens create console --scope admin`"
    return f"The server refuses this console: make a token ({made}) and set {TOKEN_VARIABLE}."


async def _until_answered(child: Child, url: str) -> None:
    with anyio.move_on_after(START_SECONDS):
        async with httpx.AsyncClient(timeout=5) as client:
            while not child.has_ended:
                try:
                    if (await client.get(url)).is_success:
                        return
                except httpx.TransportError:  # not yet
                    pass
                await anyio.sleep(LOOK_SECONDS)
            raise LaunchError(f"{child.last_words()}")
    raise LaunchError(f"{child.name} did not answer at {url} in {START_SECONDS:.0f} s")


def _check_free(port: int, option: str) -> None:
    try:
        with socket.create_server((HOST, port)):
            return
    except (OSError, OverflowError) as error:
        raise LaunchError(
            f"port {port} cannot be used ({error}): choose another with {option}, "
            "or end the program that has it"
        ) from error


async def _first_end(children: tuple[Child, ...]) -> Child:
    while True:
        for child in children:
            if child.has_ended:
                return child
        await anyio.sleep(LOOK_SECONDS)


async def _cancel_at_signal(
    signals: AsyncIterator[signal.Signals], scope: anyio.CancelScope
) -> None:
    async for _ in signals:
        scope.cancel()
        return


async def _end(
    children: tuple[Child, ...], signals: AsyncIterator[signal.Signals], say: Say
) -> None:
    running = [child for child in children if not child.has_ended]
    for child in running:
        child.send(signal.SIGTERM)
    async with anyio.create_task_group() as group:
        group.start_soon(_kill_at_signal, running, signals, say)
        for child in running:
            if await child.wait():
                say(child.last_words())
        group.cancel_scope.cancel()


async def _kill_at_signal(
    children: list[Child], signals: AsyncIterator[signal.Signals], say: Say
) -> None:
    say("Saving running jobs and ending; Ctrl-C again ends at once.")
    async for _ in signals:
        say("Killed; jobs go on from their newest checkpoints.")
        for child in children:
            child.send(signal.SIGKILL)
