"""The form of a training against a real server, with the server away, and its words alone."""

from __future__ import annotations

import json
import shlex

import pytest

from console.submit_form import (
    WHOLE_FORM,
    UnreadableError,
    about,
    fill,
    label,
    make_body,
    make_command,
    make_curl,
    place_problems,
    read_typed,
    sets_learning,
    submission_key,
    to_typed,
    typed_from,
)
from console.submit_page import _fetch_form
from orchestration.cli.training import read_settings
from rl.training.settings_form import describe_training
from rl.training.training_config import TrainingConfig
from tests.console.serving_runs import ask_page, open_served_runs, words_of
from utils.config import from_json

FORM = describe_training()
FIELDS = {one.name: one for one in FORM.fields}
TYPED = "submit:typed:"


def page():
    from console.submit_page import show

    show()


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with open_served_runs(tmp_path_factory.mktemp("submit")) as found:
        yield found


@pytest.fixture(autouse=True)
def server(house, monkeypatch):
    _fetch_form.clear()
    monkeypatch.setenv("QUARTERMASTER_URL", house.doors.url)
    monkeypatch.delenv("QUARTERMASTER_TOKEN", raising=False)


def jobs_of(house):
    async def fetch(client):
        return [job async for job in client.jobs.list()]

    return house.ask(fetch)


def test_a_preset_is_filled_in_changed_and_submitted_once_however_often_one_clicks(house):
    before = len(jobs_of(house))
    app = ask_page(page)
    assert [one.value for one in app.title] == ["Submit"]
    app.selectbox(key="submit:preset").set_value("preset: quick").run()
    assert app.number_input(key=f"{TYPED}total_episodes").value == 64
    assert app.selectbox(key=f"{TYPED}algorithm").value == "ppo"
    app.number_input(key=f"{TYPED}seed").set_value(5)
    app.text_input(key=f"{TYPED}tags").set_value("one, two")
    app.number_input(key="submit:priority").set_value(3).run()
    body = json.loads(app.code[0].value)
    assert body["priority"] == 3
    assert body["config"]["tags"] == ["one", "two"]
    assert "6,400 environment steps" in words_of(app)
    app.button(key="submit:submit").click().run()
    app.button(key="submit:submit").click().run()
    assert not app.exception
    new = jobs_of(house)
    assert len(new) == before + 1
    assert (new[0].priority, new[0].config["seed"]) == (3, 5)
    assert f"Queued: run `{new[0].run_id}`" in words_of(app)
    (link,) = app.get("page_link")
    assert f"run={new[0].run_id}" in link.proto.query_string
    app.button(key="submit:again").click().run()
    app.button(key="submit:submit").click().run()
    assert len(jobs_of(house)) == before + 2


def test_wrong_values_are_told_beside_their_fields_and_nothing_is_sent(house):
    before = len(jobs_of(house))
    app = ask_page(page)
    app.number_input(key=f"{TYPED}seed").set_value(-1)
    app.number_input(key=f"{TYPED}total_episodes").set_value(None)
    app.text_input(key=f"{TYPED}tags").set_value("not so")
    app.checkbox(key="submit:alone").uncheck().run()
    app.text_input(key=f"{TYPED}settings.apg.hidden_dims").set_value("64, many")
    app.number_input(key=f"{TYPED}settings.apg.averaging").set_value(1.5).run()
    words = words_of(app)
    assert ":red[:material/error: seed=-1: choose 0 or more]" in words
    assert "it is empty: write a value" in words
    assert "'many' is no whole number" in words
    assert "averaging in [0, 1)" in words
    assert app.button(key="submit:submit").disabled
    app.number_input(key=f"{TYPED}seed").set_value(0)
    app.number_input(key=f"{TYPED}total_episodes").set_value(100)
    app.checkbox(key="submit:alone").check().run()
    assert "tag 'not so'" in words_of(app)
    app.text_input(key=f"{TYPED}tags").set_value("so").run()
    assert not app.button(key="submit:submit").disabled
    assert len(jobs_of(house)) == before


def test_an_algorithm_that_cannot_learn_the_environment_is_told_beside_it(house):
    app = ask_page(page)
    app.selectbox(key="submit:typed:environment").select("workforce").run()
    assert "environment=workforce: apg back" in words_of(app)
    assert "choose ppo" in words_of(app)
    assert app.button(key="submit:submit").disabled
    app.selectbox(key="submit:typed:algorithm").select("ppo").run()
    assert not app.button(key="submit:submit").disabled


def test_a_run_that_is_not_there_leaves_the_form(house):
    app = ask_page(page, **{"from": "nobody"})
    assert "no run nobody" in words_of(app)
    assert not app.button(key="submit:submit").disabled


def test_settings_of_a_run_are_taken_over(house):
    config = {"algorithm": "ppo", "num_agents": 3, "settings": {"ppo": {"gamma": 0.9}}}
    job = house.submit(**config)
    app = ask_page(page, **{"from": job.run_id})
    assert json.loads(app.code[0].value) == {"config": config}
    assert app.number_input(key=f"{TYPED}settings.ppo.gamma").value == 0.9
    app.number_input(key=f"{TYPED}num_agents").set_value(4).run()
    assert "num_agents" not in json.loads(app.code[0].value)["config"]


def test_a_server_that_is_away_or_refuses_is_told(house, monkeypatch):
    monkeypatch.setenv("QUARTERMASTER_URL", "http://127.0.0.1:9")
    app = ask_page(page)
    assert not app.exception
    assert "No answer from http://127.0.0.1:9" in words_of(app)
    monkeypatch.setenv("QUARTERMASTER_URL", house.doors.url)
    monkeypatch.setenv("QUARTERMASTER_TOKEN", "qm_wrong")
    assert "token" in words_of(ask_page(page))


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [
        ("seed", 3, 3),
        ("real_share", 0.5, 0.5),
        ("num_envs", None, None),
        ("init_from", "  ", None),
        ("init_from", " a@b ", "a@b"),
        ("tags", " a, b,", ["a", "b"]),
        ("collection_devices", "", []),
        ("settings.ppo.hidden_dims", "64,32", [64, 32]),
        ("settings.ppo.agent_groups", "[[0, 1], [2]]", [[0, 1], [2]]),
        ("settings.ppo.cost", "", None),
        ("use_curriculum", False, False),
    ],
)
def test_what_is_typed_is_read(name, typed, value):
    assert read_typed(FIELDS[name], typed) == value


@pytest.mark.parametrize(
    ("name", "typed", "words"),
    [
        ("seed", None, "empty"),
        ("experiment_name", " ", "empty"),
        ("settings.ppo.hidden_dims", "64 32", "no whole number"),
        ("settings.ppo.agent_groups", "[[0,", "no JSON"),
    ],
)
def test_what_cannot_be_read_is_told(name, typed, words):
    with pytest.raises(UnreadableError, match=words):
        read_typed(FIELDS[name], typed)


@pytest.mark.parametrize("preset", FORM.presets, ids=lambda one: one.name)
def test_presets_survive_the_form(preset):
    typed = typed_from(FORM, preset.config)
    filled = fill(FORM, typed, learns_alone=not sets_learning(preset.config))
    assert filled.problems == {}
    assert filled.config == preset.config


def test_only_what_belongs_to_the_choice_is_sent():
    typed = {
        **typed_from(FORM, {}),
        "algorithm": "mappo",
        "settings.ppo.gamma": 0.9,
        "settings.dqn.gamma": 0.8,
        "world.constrained_allocation.num_tasks": 9,
    }
    alone = fill(FORM, typed, learns_alone=True)
    assert alone.config == {"algorithm": "mappo"}
    told = fill(FORM, typed, learns_alone=False)
    assert told.config == {"algorithm": "mappo", "settings": {"ppo": {"gamma": 0.9}}}
    typed["environment"] = "constrained_allocation"
    sized = fill(FORM, typed, learns_alone=True).config
    assert sized["world"] == {"constrained_allocation": {"num_tasks": 9}}


def test_command_and_curl_say_the_same_as_the_form():
    config = {
        "environment": "trading",
        "algorithm": "ppo",
        "experiment_name": "it's 12",
        "init_from": "none",
        "tags": ["a"],
        "max_hours": 1.5,
        "settings": {"ppo": {"gamma": 0.9}},
    }
    words = shlex.split(make_command(FORM, config, 4))
    assert words[:5] == ["python", "-m", "orchestration", "submit", "train"]
    assert words[-1] == "--priority=4"
    assert read_settings(words[5:-1]) == from_json(TrainingConfig, config)
    curl = make_curl("http://h:1", make_body(config, 4), has_token=True)
    parts = shlex.split(curl.replace("\\\n", ""))
    assert json.loads(parts[-1]) == {"config": config, "priority": 4}
    assert "Authorization: Bearer $QUARTERMASTER_TOKEN" in parts
    assert "Authorization" not in make_curl("http://h:1", {}, has_token=False)


def test_a_key_changes_with_the_form_and_only_then():
    one, same = submission_key("n", {"a": 1, "b": 2}), submission_key("n", {"b": 2, "a": 1})
    assert one == same
    assert len({one, submission_key("m", {"a": 1, "b": 2}), submission_key("n", {"a": 2})}) == 3


def test_fields_say_what_they_take():
    assert about(FIELDS["real_share"]) == (
        "Share of real scenarios in the mix. More than 0, less than 1. Usually `0.8`."
    )
    assert about(FIELDS["num_envs"]).endswith("At least 1, may be left empty.")
    assert label(FIELDS["num_agents"]) == "Number of agents"
    assert to_typed(FIELDS["tags"], ["a", "b"]) == "a, b"


def test_problems_find_their_fields():
    said = {"config.seed": "no", "config": "together", "priority": "far"}
    placed = place_problems(said, ["seed"])
    assert placed == {"seed": "no", WHOLE_FORM: "together; far"}
