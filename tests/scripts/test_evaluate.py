"""`python scripts/evaluate.py` as promised, on a run that `scripts/train.py` made."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.scripts.test_train import load

WHAT, FIGURES = ("reward", "cost", "violation"), ("mean", "std", "ci")
KEYS = {
    *(f"{what}_{figure}" for what in WHAT for figure in FIGURES),
    *("length", "success_rate", "constraint_satisfaction", "num_episodes"),
    *("reward_cvar_95", "reward_cvar_99", "notes"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    var = tmp_path_factory.mktemp("var")
    words = ["preset=quick", "training.total_timesteps=1600", "training.num_envs=8"]
    sizes = ["env.num_tasks=2", "env.num_resources=2", "env.episode_length=10"]
    assert load("train").main([*words, *sizes, "--output-dir", str(var)]) == 0
    (folder,) = (var / "runs").iterdir()
    return folder


@pytest.fixture(scope="module")
def evaluate():
    return load("evaluate")


def test_the_promised_figures_are_printed_and_written(evaluate, run, tmp_path, capsys):
    words = ["--agent-path", str(run), "--config-path", str(run / "config.json")]
    words += ["--output-dir", str(tmp_path), "--num-episodes", "100"]
    assert evaluate.main([*words, "--render", "--save-trajectories"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert set(printed) == KEYS
    assert printed["num_episodes"] == 100
    assert printed == json.loads((tmp_path / "evaluation.json").read_text())
    assert (tmp_path / "episode.png").read_bytes().startswith(b"\x89PNG")
    with np.load(tmp_path / "trajectories.npz") as kept:
        assert kept["action"].shape == (100, 10, 1, 4)
        assert kept["reward"].sum(1).mean() == pytest.approx(printed["reward_mean"])


def test_a_checkpoint_alone_gives_the_same_figures(evaluate, run, tmp_path, capsys):
    (manifest, *_) = (run / "checkpoints").glob("*.json")
    printed = []
    for path in (run, run / "checkpoints", manifest):
        words = ["--agent-path", str(path), "--num-episodes", "3", "--output-dir", str(tmp_path)]
        assert evaluate.main(words) == 0
        printed.append(json.loads(capsys.readouterr().out))
    assert printed[0] == printed[1] == printed[2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--agent-path", "RUN", "--num-episodes", "0"], "choose 1 to 128"),
        (["--agent-path", "RUN", "--num-episodes", "500"], "choose 1 to 128"),
        (["--agent-path", "RUN/nowhere"], "give --config-path"),
        (["--agent-path", "EMPTY", "--config-path", "RUN/config.json"], "no checkpoint in"),
        (["--agent-path", "RUN", "--config-path", "BAD"], "is no JSON"),
        (["--agent-path", "RUN", "--config-path", "LIST"], "holds no settings"),
        (["--agent-path", "RUN", "--config-path", "OTHER"], "the configuration it was saved"),
    ],
)
def test_what_cannot_be_evaluated_is_said_in_one_line(
    evaluate, run, tmp_path, capsys, words, message
):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")
    other = json.loads((run / "config.json").read_text()) | {"environment": "newsvendor"}
    (tmp_path / "other.json").write_text(json.dumps(other))
    names = {"RUN": run, "EMPTY": tmp_path / "empty", "BAD": tmp_path / "bad.json"}
    names |= {"LIST": tmp_path / "list.json", "OTHER": tmp_path / "other.json"}
    for name, path in names.items():
        words = [word.replace(name, str(path)) for word in words]
    assert evaluate.main([*words, "--output-dir", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert message in captured.err
