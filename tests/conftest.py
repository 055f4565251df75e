"""Settings of all tests."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import hypothesis
import pytest

# Time limits of single examples fail on a busy machine and say nothing about the code.
hypothesis.settings.register_profile("quartermaster", deadline=None, print_blob=True)
hypothesis.settings.load_profile("quartermaster")
# Many more examples where a test asks for the profile by name: `make chaos`.
hypothesis.settings.register_profile("chaos", parent=hypothesis.settings(), max_examples=2000)


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
