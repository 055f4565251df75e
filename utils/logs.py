"""One pipeline for our log lines and those of libraries: context, redaction, then text or JSON.

Lines go to standard error, so that standard output stays free for results. Without
`configure_logs` (library use) only warnings and errors are printed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import typing
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

import structlog

from utils.errors import ConfigError

LEVELS = ("debug", "info", "warning", "error")
REDACTED = "[redacted]"
_PROCESS: dict[str, str | int] = {}

_SECRET_NAME = re.compile(r"authorization|password|passwd|secret|api_?key|(^|_)(token|dsn)$")
_PASSWORD_IN_URL = re.compile(r"(://[^/\s:@]*:)[^\s/]+(?=@)")
_SECRET_IN_TEXT = re.compile(
    r"(\b(?:password|secret|token)=|\b(?:bearer|basic)\s+)[^\s&\"',;]+", re.IGNORECASE
)
_OWN_HANDLERS = ("uvicorn", "uvicorn.error", "uvicorn.access", "alembic")
_ERRORS_ONLY = ("a2a",)  # it warns of every bad request, and what is bad is the sender's to choose
_WARNINGS_ONLY = ("aiosqlite", "alembic.runtime.plugins", "httpcore", "httpx", "matplotlib", "PIL")


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger whose methods take an event name in snake_case and fields.

    Args:
        name: The module's `__name__`.
    """
    logger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared_processors(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    return typing.cast("structlog.stdlib.BoundLogger", logger)


@contextlib.contextmanager
def log_context(
    *,
    run: str | None = None,
    job: str | None = None,
    attempt: int | None = None,
    worker: str | None = None,
    agent: str | None = None,
    request: str | None = None,
) -> Iterator[None]:
    """Add fields to every line logged inside the block, in this task and those it starts.

    Args:
        run: Id of the run being trained or evaluated.
        job: Id of the job being carried out.
        attempt: Which try of the job.
        worker: Name of the worker.
        agent: Name of the business agent.
        request: Id of the request being answered.
    """
    fields = {
        "run": run,
        "job": job,
        "attempt": attempt,
        "worker": worker,
        "agent": agent,
        "request": request,
    }
    given = {name: value for name, value in fields.items() if value is not None}
    tokens = structlog.contextvars.bind_contextvars(**given)
    try:
        yield
    finally:
        structlog.contextvars.reset_contextvars(**tokens)


def label_process(
    *, run: str | None = None, job: str | None = None, attempt: int | None = None
) -> None:
    """Add fields to every line that this process logs from now on, whichever thread does.

    Args:
        run: Id of the run that the process is for.
        job: Id of the job that the process is for.
        attempt: Which try of the job.
    """
    given = {"run": run, "job": job, "attempt": attempt}
    _PROCESS.update({name: value for name, value in given.items() if value is not None})


def configure_logs(
    *, json: bool | None = None, level: str = "info", stream: TextIO | None = None
) -> None:
    """Print log lines of this process; a later call replaces the settings of an earlier one.

    Args:
        json: One JSON object per line; False means readable text. By default text on a terminal.
        level: The least severe level to print, one of `LEVELS`.
        stream: Where to print; by default standard error as it is now.

    Raises:
        ConfigError: The level is unknown.
    """
    if level not in LEVELS:
        raise ConfigError(f"log level {level!r}: choose from {', '.join(LEVELS)}")
    stream = sys.stderr if stream is None else stream
    on_terminal = stream.isatty()
    readable = on_terminal if json is None else not json
    handler = _PipelineHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_shared_processors(),
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _text_renderer(colors=on_terminal) if readable else _json_renderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [h for h in root.handlers if not isinstance(h, _PipelineHandler)]
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _OWN_HANDLERS:
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    for name in _WARNINGS_ONLY:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _ERRORS_ONLY:
        logging.getLogger(name).setLevel(logging.ERROR)


def redact(value: Any, name: str = "") -> Any:
    """Return a value fit for logs: secrets hidden by field name and inside text.

    Args:
        value: A field of a log line; mappings and lists are searched.
        name: What the field is called.
    """
    if _SECRET_NAME.search(name.lower().replace("-", "_")):
        return REDACTED
    if isinstance(value, str):
        value = _PASSWORD_IN_URL.sub(rf"\1{REDACTED}", value)
        return _SECRET_IN_TEXT.sub(rf"\1{REDACTED}", value)
    if isinstance(value, Mapping):
        return {key: redact(item, str(key)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [redact(item) for item in value]
    return value


class _PipelineHandler(logging.StreamHandler[TextIO]):
    """Ours, to be told from handlers that a test runner or an embedding program installs."""


def _shared_processors() -> list[structlog.typing.Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        _label,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        _redact_fields,
    ]


def _label(
    _: structlog.typing.WrappedLogger, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    return {**_PROCESS, **event}


def _redact_fields(
    _: structlog.typing.WrappedLogger, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    # Names with an underscore are the formatter's own notes and must reach it untouched.
    return {
        name: value if name.startswith("_") else redact(value, name)
        for name, value in event.items()
    }


def _json_renderer() -> structlog.typing.Processor:
    return structlog.processors.JSONRenderer(default=str)


def _text_renderer(*, colors: bool) -> structlog.typing.Processor:
    return structlog.dev.ConsoleRenderer(
        colors=colors and "NO_COLOR" not in os.environ,
        exception_formatter=structlog.dev.plain_traceback,
        pad_event_to=24,
    )
