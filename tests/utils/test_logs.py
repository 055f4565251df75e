"""Log lines: two forms, context, libraries in the same pipeline, and no secret in any of them."""

from __future__ import annotations

import io
import json
import logging

import pytest

from utils.errors import ConfigError
from utils.logs import REDACTED, configure_logs, get_logger, log_context, redact

pytestmark = pytest.mark.usefixtures("restored_logging")


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def connect(address: str) -> None:
    raise RuntimeError(f"cannot reach {address}")


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_carries_event_fields_level_time_and_logger(stream):
    configure_logs(json=True, stream=stream)
    get_logger("orchestration.worker").info("job_claimed", attempt=2)
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "job_claimed",
        "attempt": 2,
        "level": "info",
        "logger": "orchestration.worker",
    }


def test_json_is_the_default_where_nobody_looks(stream):
    configure_logs(stream=stream)
    get_logger("a").info("started")
    assert lines(stream)[0]["event"] == "started"


def test_readable_text_has_no_escape_codes_outside_a_terminal(stream):
    configure_logs(json=False, stream=stream)
    get_logger("a").info("job_claimed", job="j1")
    assert "job_claimed" in stream.getvalue()
    assert "job=j1" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_the_default_stream_is_standard_error(capsys):
    configure_logs()
    get_logger("a").info("started")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "started" in captured.err


def test_context_is_nested_restored_and_reaches_libraries(stream):
    configure_logs(json=True, stream=stream)
    with log_context(job="j1", attempt=1):
        with log_context(run="r1", attempt=2):
            logging.getLogger("alembic.runtime.migration").info("Running upgrade")
        get_logger("a").info("inner_left")
    get_logger("a").info("outer_left")
    inner, between, outside = lines(stream)
    assert (inner["run"], inner["job"], inner["attempt"]) == ("r1", "j1", 2)
    assert (between["job"], between["attempt"], "run" in between) == ("j1", 1, False)
    assert "job" not in outside


def test_uvicorn_prints_once_and_in_our_form(stream):
    foreign = io.StringIO()
    access = logging.getLogger("uvicorn.access")
    access.addHandler(logging.StreamHandler(foreign))
    access.propagate = False
    configure_logs(json=True, stream=stream)
    access.info('%s - "%s %s" %d', "127.0.0.1", "GET", "/runs?token=abc", 200)
    assert foreign.getvalue() == ""
    assert lines(stream)[0]["event"] == f'127.0.0.1 - "GET /runs?token={REDACTED}" 200'


def test_configuring_twice_prints_once(stream):
    configure_logs(json=True, stream=stream)
    configure_logs(json=True, level="warning", stream=stream)
    get_logger("a").info("hidden")
    get_logger("a").warning("shown")
    assert [line["event"] for line in lines(stream)] == ["shown"]


def test_handlers_of_others_stay(stream):
    foreign = logging.NullHandler()
    logging.getLogger().addHandler(foreign)
    configure_logs(stream=stream)
    assert foreign in logging.getLogger().handlers


def test_drivers_never_print_statements(stream):
    configure_logs(json=True, level="debug", stream=stream)
    logging.getLogger("aiosqlite").debug("executing INSERT ... 'secret row'")
    assert stream.getvalue() == ""


def test_unconfigured_loggers_keep_information_to_themselves(capsys):
    get_logger("library.use").info("quiet", token="abc")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


@pytest.mark.parametrize(
    "name",
    ["authorization", "Authorization", "password", "db_password", "token", "dsn", "api-key"],
)
def test_secrets_are_hidden_by_name(stream, name):
    configure_logs(json=True, stream=stream)
    get_logger("a").info("request_received", headers={name: "abc123"}, **{name: "abc123"})
    assert "abc123" not in stream.getvalue()
    assert lines(stream)[0]["headers"] == {name: REDACTED}


@pytest.mark.parametrize("name", ["tokens", "token_count", "job"])
def test_ordinary_fields_are_not_hidden(name):
    assert redact("abc123", name) == "abc123"


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("postgresql+psycopg://qm:hunter2@db/q", f"postgresql+psycopg://qm:{REDACTED}@db/q"),
        ("GET /x?token=hunter2&page=1", f"GET /x?token={REDACTED}&page=1"),
        ("Authorization: Bearer hunter2", f"Authorization: Bearer {REDACTED}"),
        ("http://127.0.0.1:8000/metrics", "http://127.0.0.1:8000/metrics"),
        (
            "sqlite+aiosqlite:///var/quartermaster.sqlite3",
            "sqlite+aiosqlite:///var/quartermaster.sqlite3",
        ),
    ],
)
def test_secrets_are_hidden_inside_text(text, printed):
    assert redact({"detail": [text]}) == {"detail": [printed]}


@pytest.mark.parametrize("as_json", [True, False])
def test_tracebacks_are_printed_without_secrets(stream, as_json):
    configure_logs(json=as_json, stream=stream)
    try:
        connect("postgresql://qm:hunter2@db/q")
    except RuntimeError:
        get_logger("a").exception("connect_failed")
        logging.getLogger("library").exception("also here")
    assert (
        stream.getvalue().count("RuntimeError: cannot reach postgresql://qm:[redacted]@db/q") == 2
    )
    assert "hunter2" not in stream.getvalue()


def test_values_that_json_does_not_know_do_not_break_a_line(stream):
    configure_logs(json=True, stream=stream)
    get_logger("a").info("odd_value", value=object())
    assert "object object" in str(lines(stream)[0]["value"])


def test_an_unknown_level_is_refused():
    with pytest.raises(ConfigError, match="'loud': choose from debug, info, warning, error"):
        configure_logs(level="loud")
