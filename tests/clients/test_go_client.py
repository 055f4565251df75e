"""The Go client: formatted, vetted, tested under the race detector, and against a live server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients" / "go"
GO = shutil.which("go")
PATIENCE_SECONDS = 300

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        GO is None or shutil.which("gcc") is None,
        reason="Go, or gcc for its race detector, is not installed (apt-get install golang-go gcc)",
    ),
]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Go's own caches, where there is one; no module is ever fetched."""
    folder = tmp_path_factory.mktemp("go")
    home = {"HOME": str(folder)} if "HOME" not in os.environ else {}
    return {**os.environ, **home, "GOFLAGS": "-mod=readonly", "GOPROXY": "off", "CGO_ENABLED": "1"}


def run(environment, *command):
    return subprocess.run(
        command, cwd=CLIENT, env=environment, capture_output=True, text=True, check=False
    )


def orchestration(var, *words):
    return [sys.executable, "-m", "orchestration", "--var", str(var), *words]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with the policies that come along, and a token; its URL and the token."""
    var = tmp_path_factory.mktemp("served")
    subprocess.run(orchestration(var, "adopt"), cwd=ROOT, check=True, capture_output=True)
    made = subprocess.run(
        orchestration(var, "tokens", "create", "go", "--scope", "invoke"),
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    process = subprocess.Popen(
        orchestration(var, "serve", "--port=0"), cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        url = re.search(r"http://\S+", process.stdout.readline())[0]
        yield url, made.stdout
    finally:
        process.terminate()
        try:
            process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            process.kill()
            process.wait()


def test_formatted_and_vetted(environment):
    gofmt = Path(GO).with_name("gofmt")
    assert run(environment, str(gofmt), "-l", ".").stdout == ""
    done = run(environment, GO, "vet", "./...")
    assert done.returncode == 0, done.stderr


def test_needs_the_standard_library_only(environment):
    done = run(environment, GO, "list", "-m", "all")
    assert done.stdout.split() == ["quartermaster/clients/go"], done.stderr


def test_against_a_live_server_under_the_race_detector(environment, server):
    url, printed = server
    token = re.search(r"qm_\S+", printed)[0]
    live = {**environment, "QUARTERMASTER_URL": url, "QUARTERMASTER_TOKEN": token}
    done = run(live, GO, "test", "-race", "-count=1", "-v", "./...")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "--- SKIP" not in done.stdout
    passed = set(re.findall(r"^--- PASS: (\w+)", done.stdout, re.MULTILINE))
    assert {"TestLiveAllocation", "TestManyGoroutinesShareAnAllocator", "FuzzDecode"} <= passed


def test_benchmarks_run(environment):
    words = ("-run=^$", "-bench=Allocate$|Decode$", "-benchtime=200x", "-benchmem")
    done = run(environment, GO, "test", *words, "./...")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        len(re.findall(r"^Benchmark(?:Allocate|Decode)\S*\s+200\s", done.stdout, re.MULTILINE)) == 2
    )


@pytest.mark.parametrize("target", ["FuzzDecode", "FuzzProblem"])
def test_answers_made_at_random_are_read_or_refused(environment, target):
    done = run(environment, GO, "test", "-run=^$", f"-fuzz=^{target}$", "-fuzztime=2000x", ".")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_program_of_the_page_compiles(environment, tmp_path):
    page = (ROOT / "docs" / "agents" / "go.md").read_text()
    (tmp_path / "main.go").write_text(re.search(r"```go\n(.*?)```", page, re.DOTALL)[1])
    lines = [line.strip() for line in page.splitlines() if line.startswith("    re")]
    assert [line.split()[0] for line in lines] == ["require", "replace"]
    lines = [line.replace("/path/to/quartermaster/clients/go", str(CLIENT)) for line in lines]
    (tmp_path / "go.mod").write_text("\n".join(["module try", "go 1.19", *lines]) + "\n")
    command = [GO, "vet", "."]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
