"""Settings of all tests."""

from __future__ import annotations

import logging
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.postgres import run_server
from utils.persistence import engine
from utils.persistence.upgrade import upgrade

# Time limits of single examples fail on a busy machine and say nothing about the code.
hypothesis.settings.register_profile("quartermaster", deadline=None, print_blob=True)
hypothesis.settings.load_profile("quartermaster")
# Many more examples where a test asks for the profile by name: `make chaos`.
hypothesis.settings.register_profile("chaos", parent=hypothesis.settings(), max_examples=2000)


def pytest_configure(config: pytest.Config) -> None:
    """Let Ctrl-C be heard again: processes that tests are spread over ignore it, and so would
    every command that a test starts and interrupts."""
    if hasattr(config, "workerinput"):
        signal.signal(signal.SIGINT, signal.default_int_handler)


NAMES = ("uvicorn", "uvicorn.error", "uvicorn.access", "alembic", "aiosqlite", "httpx")


@pytest.fixture
def restored_logging() -> Iterator[None]:
    """Give the logging of the process back as it was."""
    loggers = [logging.getLogger(), *map(logging.getLogger, NAMES)]
    before = [(one, list(one.handlers), one.level, one.propagate) for one in loggers]
    yield
    for one, handlers, level, propagate in before:
        one.handlers, one.propagate = handlers, propagate
        one.setLevel(level)


@pytest.fixture(scope="session", autouse=True)
def migrated_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have new database files of this process begin as copies of one: migrations take long.

    Those that are about migrations call `upgrade` itself.
    """
    first = tmp_path_factory.mktemp("migrated") / "q.sqlite"
    one_at_a_time = threading.Lock()

    def copy_and_upgrade(path: Path, timeout_seconds: float) -> None:
        with one_at_a_time:
            if not first.exists():
                upgrade(first, timeout_seconds)
            if not path.exists():
                shutil.copyfile(first, path)
        upgrade(path, timeout_seconds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "upgrade", copy_and_upgrade)
        yield


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """Give a PostgreSQL server to all tests of the session; each begins by emptying its tables."""
    with run_server() as url:
        yield url
