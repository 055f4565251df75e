"""Limits, places in the queue and workers' capacity, from the command line."""

from __future__ import annotations

import json

import pytest

from tests.orchestration.test_cli import Shell


@pytest.fixture
def shell(tmp_path):
    return Shell(tmp_path)


def test_limits_are_set_listed_and_lifted(shell):
    assert "No key has a limit" in shell("limits").stdout
    shell("limits", "gpu farm", "2")
    assert json.loads(shell("limits", "night", "0", "--json").stdout) == {"gpu farm": 2, "night": 0}
    assert "gpu farm" in shell("limits").stdout
    shell("limits", "night", "none")
    assert json.loads(shell("limits", "--json").stdout) == {"gpu farm": 2}
    for words, said in ((("a", "many"), "write how many"), (("a",), "KEY and MOST")):
        refused = shell("limits", *words)
        assert refused.exit_code == 2
        assert said in refused.stderr


def test_a_submission_says_where_it_stands(shell):
    words = ("--priority", "7", "--cpus", "1.5", "--gpus", "0.5", "--limit-key", "night")
    job = json.loads(shell("submit", "train", "seed=3", *words, "--json").stdout)

    async def load(application):
        return await application.orchestrator.job(job["id"])

    kept = shell.work(load)
    assert (kept.priority, kept.limit_key) == (7, "night")
    assert (kept.resources.cpu_milli, kept.resources.gpu_milli) == (1500, 500)
    other = json.loads(shell("submit", "train", "seed=4", "--json").stdout)

    async def load_other(application):
        return await application.orchestrator.job(other["id"])

    assert shell.work(load_other).priority == 0  # nobody watches it


def test_memory_without_cores_is_refused(shell):
    refused = shell("worker", "--memory-mb", "100")
    assert refused.exit_code == 2
    assert "--cpus" in refused.stderr
