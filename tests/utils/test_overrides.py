"""Words of a command line: choices, presets and values; sweeps; and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from utils.errors import ConfigError
from utils.overrides import Presets, compose_words, expand_sweeps, to_yaml

ROOT = Path(__file__).parents[2]
PRIMARY = """
defaults:
  - env: town
  - preset: null
  - _self_
training:
  steps: 10
  layers: [1, 2]
"""
QUICK = """# @package _global_
defaults:
  - override /env: sea
training:
  steps: 3
"""


@pytest.fixture
def presets(tmp_path):
    (tmp_path / "preset").mkdir()
    (tmp_path / "train.yaml").write_text(
        PRIMARY.replace("preset: null\n  - _self_", "_self_\n  - preset: null")
    )
    (tmp_path / "preset/quick.yaml").write_text(QUICK)
    return Presets(folder=tmp_path, primary="train", names={"env": ("town", "sea", "hills")})


def test_without_words_the_primary_file_speaks(presets):
    said = compose_words(presets, [])
    assert said.choices == {"env": "town"}
    assert said.values == {"training.steps": 10, "training.layers": [1, 2]}


def test_words_win_over_presets_and_presets_over_the_primary_file(presets):
    said = compose_words(presets, ["training.steps=4", "preset=quick", "env.wind=1e-4"])
    assert said.choices == {"env": "sea"}
    assert said.values == {"training.layers": [1, 2], "training.steps": 4, "env.wind": 1e-4}
    assert compose_words(presets, ["preset=quick"]).values["training.steps"] == 3
    assert compose_words(presets, ["preset=quick", "env=hills"]).choices == {"env": "hills"}


def test_what_is_said_last_comes_last(presets):
    said = compose_words(presets, ["a=1", "training.steps=2", "a=3"])
    assert list(said.values.items())[-2:] == [("training.steps", 2), ("a", 3)]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("1e-4", 1e-4), ("3", 3), ("null", None), ("true", True), ("'a b'", "a b"),
        ("[64,64]", [64, 64]), ("{alpha:0.5}", {"alpha": 0.5}), ("none", "none"),
    ],
)  # fmt: skip
def test_values_are_read_as_what_they_look_like(presets, word, value):
    assert compose_words(presets, [f"x={word}"]).values["x"] == value


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["env=twn"], "no env 'twn': did you mean 'town'"),
        (["env=zzz"], "no env 'zzz'; there are town, sea, hills"),
        (["preset=quik"], "did you mean 'quick'"),
        (["+x=1"], "write name=value"),
        (["~x"], "write name=value"),
        (["x"], "cannot read 'x': write name=value"),
        (["x=[1,"], r"cannot read 'x=\[1,'"),
        (["env@y=town"], "moved: write name=value"),
    ],
)
def test_bad_words_are_refused_with_a_reason(presets, words, message):
    with pytest.raises(ConfigError, match=message):
        compose_words(presets, words)


def test_a_damaged_preset_is_named(presets):
    (presets.folder / "preset/bad.yaml").write_text("# @package _global_\ntraining: [")
    with pytest.raises(ConfigError, match=r"presets of .*bad\.yaml"):
        compose_words(presets, ["preset=bad"])


def test_a_sweep_is_the_product_of_its_axes_in_order():
    runs = expand_sweeps(["env=town,sea", "x=range(2)", "y=[1,2]"], is_multirun=True)
    assert runs == [
        ("env=town", "x=0", "y=[1,2]"), ("env=town", "x=1", "y=[1,2]"),
        ("env=sea", "x=0", "y=[1,2]"), ("env=sea", "x=1", "y=[1,2]"),
    ]  # fmt: skip


def test_a_sweep_is_refused_where_one_run_is_wanted():
    assert expand_sweeps(["x=1"], is_multirun=False) == [("x=1",)]
    with pytest.raises(ConfigError, match="add -m"):
        expand_sweeps(["x=1,2"], is_multirun=False)
    with pytest.raises(ConfigError, match="no list of values"):
        expand_sweeps(["x=interval(0,1)"], is_multirun=True)


def test_yaml_is_what_presets_are_written_in(presets):
    text = to_yaml({"training": {"steps": 7, "layers": [3]}})
    (presets.folder / "preset/printed.yaml").write_text("# @package _global_\n" + text)
    said = compose_words(presets, ["preset=printed"])
    assert said.values == {"training.steps": 7, "training.layers": [3]}


def test_one_module_only_knows_the_configuration_framework():
    packages = ("utils", "data", "rl", "ai_agents", "orchestration", "scripts", "benchmarks")
    users = {
        str(path.relative_to(ROOT))
        for package in packages
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"^\s*(import|from) (hydra|omegaconf)\b", path.read_text(), re.MULTILINE)
    }
    assert users == {"utils/overrides.py"}
