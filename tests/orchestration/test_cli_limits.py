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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("limits", "a", "9" * 25), "1000000 at most"),
        (("submit", "train", "seed=" + "9" * 25), "choose less than 2^53"),
        (("submit", "train", "total_episodes=" + "9" * 18), "total_env_steps="),
        (("submit", "train", "--priority", "9" * 25), "1000"),
        (("submit", "train", "--cpus", "1e300"), "1000"),
        (("submit", "train", "--gpus", "inf"), "1000"),
        (("worker", "--cpus", "1e300"), "1000"),
        (("gc", "--grace-days", "1e300"), "100000"),
        (("submit", "train", "--limit-key", "\udcff"), "no text in UTF-8"),
        (("runs", "--text", "\udcff"), "no text in UTF-8"),
    ],
)
def test_absurd_words_are_refused_in_one_line(shell, words, said):
    refused = shell(*words)
    assert (refused.exit_code, said in refused.stderr) == (2, True), refused.output
    assert "No runs yet" in shell("runs").stdout


def test_memory_without_cores_is_refused(shell):
    refused = shell("worker", "--memory-mb", "100")
    assert refused.exit_code == 2
    assert "--cpus" in refused.stderr
