"""`export-onnx` and `export-rounded` on the command line."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from typer.testing import CliRunner

from orchestration.cli import commands
from rl.artifacts import PolicyArtifact
from rl.training.training_config import TrainingConfig
from tests.orchestration.house import AGENT, open_house
from tests.serving import make_artifact

SHIPPED = Path(__file__).parents[2] / "shipped" / "resource_allocator.safetensors"
needs_onnx = pytest.mark.skipif(
    importlib.util.find_spec("onnx") is None, reason="pip install -r requirements-onnx.txt"
)


def run(var, *words):
    return CliRunner().invoke(commands.cli, ["--var", str(var), *(str(word) for word in words)])


@pytest.fixture
def var(tmp_path):
    """A folder with two versions of an agent."""

    async def fill():
        async with open_house(tmp_path, versions=2):
            pass

    anyio.run(fill)
    return tmp_path


@needs_onnx
def test_onnx_is_written_of_the_version_that_was_asked_for(var):
    import onnx

    file = var / "policy.onnx"
    for words, seed in (((), 0), (("--version", "2"), 1)):
        done = run(var, "export-onnx", AGENT, file, *words)
        assert done.exit_code == 0, done.output
        about = {one.key: one.value for one in onnx.load(file).metadata_props}
        assert about["artifact_sha256"] == make_artifact(seed).sha256
    assert "observation [batch, " in done.output


def test_a_rounded_policy_is_written_adopted_and_asked(var):
    file = var / "rounded.safetensors"
    done = run(var, "export-rounded", AGENT, file)
    assert done.exit_code == 0, done.output
    assert re.search(r"weights as int8, [\d,]+ bytes instead of [\d,]+ \(\d+%\)", done.output)
    assert "513 requests in the validated ranges: differ by at most" in done.output
    assert "KPI: not compared" in done.output
    artifact = PolicyArtifact.from_bytes(file.read_bytes())
    assert artifact.precision == "int8"
    assert "at most" in artifact.card.limits[-1]
    assert "version 3 is champion" in run(var, "adopt", file).output
    assert run(var, "export-rounded", AGENT, file, "--precision", "float16").exit_code == 0


@pytest.mark.slow
def test_the_kpi_is_compared_on_the_problem_of_the_run(tmp_path):
    whole = PolicyArtifact.from_bytes(SHIPPED.read_bytes())

    async def fill():
        async with open_house(tmp_path) as application:
            config = TrainingConfig(use_synthetic_data=True)
            job = await application.orchestrator.submit_training(config)
            ours = whole.with_card(replace(whole.card, run_id=job.spec["run_id"]))
            await application.orchestrator.registry.register(ours.to_bytes())
            await application.orchestrator.promote(AGENT, 1)

    anyio.run(fill)
    done = run(tmp_path, "export-rounded", AGENT, tmp_path / "rounded.safetensors")
    assert done.exit_code == 0, done.output
    found = re.search(r"KPI on \d+ held-out .*: (\S+) before, (\S+) \[", done.output)
    assert float(found[1]) > 1000
    assert 0 < abs(float(found[2])) < 0.01 * float(found[1])


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("nobody", "x"), "no agent 'nobody'"),
        ((AGENT, "x", "--version", "9"), "has no version 9"),
        ((AGENT, "x", "--alias", "rival"), "has no rival"),
        ((AGENT, "/nowhere/x"), "cannot be written"),
    ],
)
def test_what_cannot_be_exported_is_said_in_a_line(var, words, problem):
    done = run(var, "export-rounded", *words)
    assert done.exit_code == 2, done.output
    assert problem in done.output
