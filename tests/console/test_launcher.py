"""`python -m console`: two processes that start, live and end together, and what it refuses."""

from __future__ import annotations

import http.server
import os
import signal
import socket
import sys
import threading

import anyio
import httpx
import pytest

from console import __main__ as command
from console.launcher import LaunchError, Plan, launch
from console.server import URL_VARIABLE
from tests.console.launched import launched
from tests.console.running import free_port


@pytest.mark.slow
def test_ctrl_c_ends_both_and_the_server_saves(tmp_path):
    with launched(tmp_path / "var") as found:
        assert httpx.get(f"{found.console}/_stcore/health", timeout=60).text == "ok"
        assert httpx.get(f"{found.server}/health/ready", timeout=60).json() == {"status": "ready"}
        assert found.console.startswith("http://127.0.0.1:")
        found.process.send_signal(signal.SIGINT)
        assert found.end() == 0
        found.await_silence()
    assert "running jobs are saved" in (tmp_path / "var" / "server.log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("victim", "name"), [("orchestration", "server"), ("streamlit", "console")]
)
def test_the_death_of_one_is_told_and_ends_the_other(tmp_path, victim, name):
    with launched(tmp_path) as found:
        os.kill(found.children()[victim], signal.SIGKILL)
        assert found.end() == 1
        found.await_silence()
    assert f"The {name} was ended by signal 9" in found.said
    assert f"{name}.log" in found.said


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of it")
def test_a_killed_launcher_leaves_nothing_behind(tmp_path):
    with launched(tmp_path) as found:
        found.process.kill()
        found.await_silence()
        found.await_words(tmp_path / "server.log", "running jobs are saved")


def refuse(tmp_path, **plan):
    fields = {"var": tmp_path, "port": free_port(), "server_port": free_port(), **plan}
    said = []
    with pytest.raises(LaunchError) as caught:
        anyio.run(launch, Plan(**fields), said.append)
    return str(caught.value)


@pytest.mark.parametrize("option", ["port", "server_port"])
def test_a_port_that_is_taken_is_told_with_the_option(tmp_path, option):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = refuse(tmp_path, **{option: port})
    assert f"port {port}" in words
    assert f"--{option.replace('_', '-')}," in words
    assert list(tmp_path.iterdir()) == []


def test_another_program_at_the_address_is_not_taken_for_a_server(tmp_path):
    other = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    thread = threading.Thread(target=other.serve_forever)
    thread.start()
    try:
        port = other.server_address[1]
        assert "--server-port" in refuse(tmp_path, server_port=port)
        assert "no Quartermaster answers" in refuse(tmp_path, url=f"http://127.0.0.1:{port}")
    finally:
        other.shutdown()
        thread.join()
        other.server_close()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense", "http://[", "ftp://x"])
def test_a_server_that_is_not_there_is_told(tmp_path, url):
    assert f"no Quartermaster answers at {url}" in refuse(tmp_path, url=url)


def test_options_are_read(monkeypatch, tmp_path):
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    plan = command.read_plan(["--var", str(tmp_path), "--port", "1234"])
    assert (plan.var, plan.port, plan.server_port, plan.url) == (tmp_path, 1234, 8321, None)
    assert command.read_plan(["--port", "0"]).port > 0
    monkeypatch.setenv(URL_VARIABLE, "http://there")
    assert command.read_plan([]).url == "http://there"


@pytest.mark.parametrize("port", ["70000", "-1", "http", ""])
def test_a_port_that_is_none_is_refused(capsys, port):
    with pytest.raises(SystemExit):
        command.read_plan(["--port", port])
    assert "0 to 65535" in capsys.readouterr().err


def test_help_teaches(capsys):
    with pytest.raises(SystemExit):
        command.read_plan(["--help"])
    text = capsys.readouterr().out
    for word in ("--var", "--port", "--server-port", "--url", "--no-browser", "examples:"):
        assert word in text
    assert "QUARTERMASTER_TOKEN" in text
