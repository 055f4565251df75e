"""What is deployed fits the program: units verify, mounts are there, commands exist."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml

from orchestration.cli.commands import cli

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
COMPOSE = yaml.safe_load((DEPLOY / "compose" / "compose.yml").read_text())
WRITTEN_BY_HAND = {"prometheus.token"}


def check_command(words: list[str]) -> None:
    """Fail unless the command line knows a command and its options."""
    assert words[0] == "--var"
    name, rest = words[2], words[3:]
    group = typer.main.get_command(cli)
    with group.make_context("orchestration", ["--help"], resilient_parsing=True) as context:
        command = group.get_command(context, name)
    assert command is not None, name
    known = {option for one in command.params for option in one.opts}
    assert {word for word in rest if word.startswith("--")} <= known


def test_a_command_that_is_not_known_would_be_seen():
    with pytest.raises(AssertionError):
        check_command(["--var", "/state", "serve", "--loudly"])
    with pytest.raises(AssertionError, match="conquer"):
        check_command(["--var", "/state", "conquer"])


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_nothing_to_say(unit, tmp_path):
    text = unit.read_text().replace("/opt/quartermaster/.venv/bin/python", sys.executable)
    copy = tmp_path / unit.name
    copy.write_text(text)
    said = subprocess.run(
        ["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False
    )
    assert (said.returncode, said.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_start_commands_that_exist(unit):
    (start,) = re.findall(r"^ExecStart=(.*)$", unit.read_text(), flags=re.MULTILINE)
    words = shlex.split(start)
    assert words[1:3] == ["-m", "orchestration"]
    check_command(words[3:])


def test_services_start_commands_that_exist():
    for name in ("api", "worker"):
        check_command(["--var", "/state", *COMPOSE["services"][name]["command"]])
    entry = re.search(r"^ENTRYPOINT (\[.*\])$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert yaml.safe_load(entry[1]) == ["python", "-m", "orchestration", "--var", "/state"]


def test_what_services_mount_and_images_copy_is_there():
    for service in COMPOSE["services"].values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith("."):
                path = DEPLOY / "compose" / source
                assert path.exists() or path.name in WRITTEN_BY_HAND, mount
            else:
                assert source in COMPOSE["volumes"]
    copied = re.findall(r"^COPY (.*) \./$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert all((ROOT / name).exists() for line in copied for name in line.split())


def test_ports_are_for_this_machine_only():
    ports = [port for one in COMPOSE["services"].values() for port in one.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_the_composed_prometheus_is_configured_soundly(tmp_path):
    config = (DEPLOY / "compose" / "prometheus.yml").read_text()
    (tmp_path / "token").write_text("t")
    (tmp_path / "prometheus.yml").write_text(
        config.replace("/etc/prometheus/prometheus.token", str(tmp_path / "token"))
    )
    shutil.copytree(DEPLOY / "prometheus" / "rules", tmp_path / "rules")
    command = ["promtool", "check", "config", tmp_path / "prometheus.yml"]
    subprocess.run(command, check=True, capture_output=True)
