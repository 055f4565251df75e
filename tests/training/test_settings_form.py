from __future__ import annotations

import dataclasses
import math

import pytest

from rl.training.run_words import read_words
from rl.training.settings_check import find_problems
from rl.training.settings_form import PRESETS, describe_training, differing, read_preset
from rl.training.training_config import TrainingConfig
from utils.config import from_json, to_json
from utils.dotted import names_of, value_at
from utils.errors import ConfigError

FORM = describe_training()
FIELDS = {one.name: one for one in FORM.fields}


def test_the_form_asks_every_setting_but_the_servers_folder():
    own = {name for name in names_of(TrainingConfig) if "." not in name}
    assert own - set(FIELDS) == {"traces", "world", "settings"}
    inner = {name for name in names_of(TrainingConfig) if name.count(".") == 2}
    assert {name for name in FIELDS if "." in name} == inner


def test_fields_tell_type_default_bounds_choices_and_words():
    episodes, share = FIELDS["total_episodes"], FIELDS["real_share"]
    assert (episodes.kind, episodes.default, episodes.least) == ("whole", 44_800, 1)
    assert episodes.about == "Summed over copies."
    assert (share.least, share.takes_least, share.most, share.takes_most) == (0, False, 1, False)
    assert "custom" not in FIELDS["environment"].choices
    assert FIELDS["num_envs"].is_optional
    assert FIELDS["tags"].kind == "texts"
    assert FIELDS["settings.ppo.hidden_dims"].kind == "wholes"
    assert FIELDS["settings.ppo.cost"].kind == "json"
    tail = FIELDS["settings.ppo.tail_share"]
    assert (tail.takes_least, tail.takes_most) == (False, True)


@pytest.mark.parametrize("name", [one.name for one in FORM.fields if "." not in one.name])
def test_what_the_form_says_is_what_the_checks_take(name):
    field = FIELDS[name]
    assert to_json(from_json(TrainingConfig, {name: field.default}))[name] == field.default
    if field.choices:
        with pytest.raises(ConfigError):
            from_json(TrainingConfig, {name: "no such thing"})
    if field.least is not None:
        step = 1 if field.kind == "whole" else 0.0
        below = field.least - step if field.takes_least else field.least
        with pytest.raises(ConfigError):
            from_json(TrainingConfig, {name: below if field.kind == "whole" else float(below)})


@pytest.mark.parametrize("name", ["quick", "resource_allocation_demo", "trading_demo"])
def test_presets_are_what_the_scripts_make_of_them(name):
    assert read_preset(PRESETS, name) == read_words([f"preset={name}"])


def test_presets_and_demos_can_be_submitted():
    for preset in FORM.presets:
        config = from_json(TrainingConfig, preset.config)
        assert differing(config) == preset.config
        assert preset.about
    assert {one.name for one in FORM.presets} >= {"demo: trading", "preset: quick"}


def test_a_damaged_preset_is_told(tmp_path):
    (tmp_path / "preset").mkdir()
    (tmp_path / "train.yaml").write_text("defaults:\n  - env: trading\n  - algorithm: ppo\n")
    (tmp_path / "preset" / "bad.yaml").write_text("training: 3\n")
    with pytest.raises(ConfigError, match=r"bad\.yaml cannot be read"):
        read_preset(tmp_path, "bad")


def test_every_algorithm_has_a_family_with_fields():
    for family in FORM.families.values():
        assert any(name.startswith(f"settings.{family}.") for name in FIELDS)
        inner = dataclasses.replace(TrainingConfig().settings)
        assert hasattr(inner, family)


@pytest.mark.parametrize(
    ("values", "blamed"),
    [
        ({}, set()),
        ({"algorithm": "ppo", "collection_shards": 2}, set()),
        ({"collection_place": "process", "collection_shards": 2, "algorithm": "ppo"}, set()),
        ({"collection_shards": 2}, {"collection_shards"}),
        ({"settings": {"ppo": {"gamma": 2.0, "ppo_epochs": 3}}}, {"settings.ppo.gamma"}),
        ({"settings": {"ppo": {"gama": 0.9}}, "seed": -1}, {"settings.ppo.gama", "seed"}),
        ({"settings": {"pqo": {}}}, {"settings.pqo"}),
        ({"settings": 3}, {"settings"}),
        ({"early_stopping_patience": 5, "eval_frequency": 0}, {"eval_frequency"}),
        ({"max_hours": math.nan, "sead": 1}, {"max_hours", "sead"}),
    ],
)
def test_only_what_is_wrong_is_blamed(values, blamed):
    problems = find_problems(values)
    assert set(problems) == blamed
    assert all(problems.values())


def test_names_without_end_are_told_in_part():
    assert len(find_problems({f"x{n}": 1 for n in range(1000)})) == 20


def test_differing_keeps_what_makes_a_config():
    config = from_json(TrainingConfig, {"algorithm": "ppo", "settings": {"ppo": {"gamma": 0.9}}})
    assert from_json(TrainingConfig, differing(config)) == config
    assert value_at(config, "settings.ppo.gamma") == 0.9
