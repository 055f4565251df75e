"""The page of agents against a real server: every view, what buttons do, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from console.server import ask
from orchestration.cli.adoption import SHIPPED
from orchestration.endpoints.decision_routes import SettingsChange
from tests.console.running import running_server, shown, speak_with
from tests.serving import make_artifact

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
NAME = "resource_allocator"
AGENTS = ("cluster_placement", "resource_allocator", "supply_chain_planner", "trading")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with running_server(tmp_path_factory.mktemp("var"), versions="all") as found:
        yield found


@pytest.fixture
def doors(shared, monkeypatch):
    speak_with(monkeypatch, shared[0].url)
    return shared[0]


def page():
    from console import agents_page

    agents_page.show()


def open_page(view="Card", agent=NAME, **state):
    at = AppTest.from_function(page, default_timeout=60)
    at.query_params.update({"agent": agent, "view": view})
    for key, value in state.items():
        at.session_state[key] = value
    at.run()
    assert not at.exception, at.exception
    return at


def press(at, key):
    at.button(key=key).click().run()
    assert not at.exception, at.exception
    return at


def texts(at):
    parts = (at.markdown, at.caption, at.info, at.success, at.error, at.warning)
    return shown("\n".join(element.value for part in parts for element in part))


def frame(at, *columns):
    """The table that has these columns."""
    return next(one.value for one in at.dataframe if {*columns} <= {*one.value.columns})


@pytest.mark.parametrize("agent", AGENTS)
def test_every_agent_shows_its_card_and_answers_its_example(doors, agent):
    at = open_page(agent=agent)
    assert at.title[0].value == "Agents"
    assert set(AGENTS) <= set(frame(at, "p99 ms")["agent"])
    assert "95 % interval" in texts(at)
    if agent != "cluster_placement":  # the champion of these tests was validated for nothing
        assert frame(at, "field", "low").shape[0] > 2
    at = press(open_page("Try a request", agent), "agents_ask")
    assert f"of {agent} answered in" in texts(at)
    assert "expert" in texts(at)
    assert frame(at, "moved").shape[0] > 0
    assert {"decision", "expert"} <= {
        who.split("(")[1].rstrip(")") for who in frame(at, "who", "amount")["who"]
    }
    assert [len(code.value) > 100 for code in at.code] == [True] * 3


def test_the_page_is_where_the_address_says(doors):
    at = open_page("Versions", "trading")
    assert at.selectbox(key="agents_agent").value == "trading"
    at.selectbox(key="agents_agent").set_value("cluster_placement").run()
    assert at.query_params["agent"] == "cluster_placement"
    assert open_page("No such view", "nobody").selectbox(key="agents_agent").value == AGENTS[0]


def test_a_request_may_be_changed_field_by_field_or_as_json(doors):
    at = open_page("Try a request", "trading")
    at.number_input(key="agents_field_trading_shares_left").set_value(5000)
    press(at, "agents_ask")
    assert '"shares_left": 5000' in at.code[0].value
    at = open_page("Try a request", "trading", agents_way="JSON")
    text = json.loads(at.text_area(key="agents_json_trading").value)
    at.text_area(key="agents_json_trading").set_value(json.dumps({**text, "shares_left": 7}))
    press(at, "agents_ask")
    assert "shares_left" in shown(at.error[0].value)
    for wrong, words in (("{", "no JSON"), ("[]", "write an object"), ('{"a": NaN}', "no number")):
        at.text_area(key="agents_json_trading").set_value(wrong)
        assert words in press(at, "agents_ask").error[0].value


def test_the_lines_to_copy_work(doors, tmp_path):
    at = press(open_page("Try a request", "trading"), "agents_ask")
    shell, python, command = (code.value for code in at.code)
    for words in (["bash", "-c", shell], [sys.executable, "-c", python]):
        done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.returncode == 0, done.stderr
        assert "next_slice" in done.stdout
    assert command.startswith("python -m orchestration invoke trading -")


def test_an_uploaded_policy_is_tried_promoted_and_rolled_back(doors):
    at = open_page("Versions")
    at.file_uploader(key="agents_file").upload(
        "policy.safetensors", make_artifact(3).to_bytes(), "application/octet-stream"
    )
    press(at, "agents_register")
    assert f"{NAME} has version 2" in texts(at)
    assert list(frame(at, "called")["version"]) == [2, 1]
    at.selectbox(key="agents_promote_version").set_value(2)
    at.text_input(key="agents_promote_reason").set_value("seen in the console")
    press(at, "agents_promote")
    assert "champion is version 2 now" in texts(at)
    assert "seen in the console" in list(frame(at, "alias", "why")["why"])
    press(at, "agents_roll_back")
    assert "champion is version 1 again" in texts(at)
    press(at, "agents_roll_back")
    assert "none before" in at.error[0].value
    press(at, "agents_fetch")
    assert at.get("download_button")


def test_damaged_and_foreign_files_are_refused_in_words(doors):
    at = open_page("Versions", "trading")
    foreign = (SHIPPED / "supply_chain.safetensors").read_bytes()
    for content, words in ((b"junk", "not a whole policy"), (foreign, "is for agent")):
        at.file_uploader(key="agents_file").upload("p.safetensors", content, "x/y")
        press(at, "agents_register")
        assert words in at.error[0].value
    assert list(frame(at, "called")["version"]) == [1]
    assert "Choose a file first" in press(open_page("Versions"), "agents_register").error[0].value


def test_a_canary_is_begun_watched_and_stopped(doors):
    content = make_artifact(4).to_bytes()
    version = ask(lambda client: client.agents.register(content)).version
    at = open_page("Rollout")
    at.selectbox(key="agents_canary_version").set_value(version)
    at.slider(key="agents_share").set_value(50)
    at.number_input(key="agents_slowdown").set_value(1000.0)  # a busy machine is no verdict
    press(at, "agents_begin")
    assert "gets 50% of the request keys" in texts(at)
    example = ask(lambda client: client.agents.card(NAME))["examples"][0]

    async def ask_often(client):
        for _ in range(60):
            await client.agents.ask(NAME, example)

    ask(ask_often)
    at = open_page("Rollout")
    arms = frame(at, "error share")
    assert arms["requests"].sum() == 60
    assert "It may go on" in texts(at) or "Nothing is concluded" in texts(at)
    press(at, "agents_pass")
    assert "never judged" in at.error[0].value
    assert "refused" in list(frame(open_page("Rollout"), "verdict")["verdict"])
    press(at, "agents_stop")
    assert "is over" in texts(at)
    press(at, "agents_replay")
    assert "kept" in at.error[0].value


def test_waiting_decisions_are_approved_overridden_and_rejected(doors):
    settings = SettingsChange(needs_approval=True)
    ask(lambda client: client.supervision.change_settings("trading", settings))
    card = ask(lambda client: client.agents.card("trading"))
    try:
        for _ in range(3):
            ask(lambda client: client.agents.ask("trading", card["examples"][0]))
        for verb, said in (
            ("approve", "approved"),
            ("override", "overridden"),
            ("reject", "reject"),
        ):
            at = open_page("Approvals", "trading")
            first = next(b.key for b in at.button if b.key.startswith(f"agents_{verb}_"))
            press(at, first)
            assert f"is {said}" in texts(at)
        assert "No decision waits" in texts(open_page("Approvals", "trading"))
    finally:
        ask(lambda client: client.supervision.change_settings("trading", SettingsChange()))


def test_an_override_that_cannot_be_is_refused_and_goes_on_waiting(doors):
    settings = SettingsChange(needs_approval=True)
    ask(lambda client: client.supervision.change_settings("trading", settings))
    try:
        card = ask(lambda client: client.agents.card("trading"))
        asked = ask(lambda client: client.agents.ask("trading", card["examples"][0]))
        name = asked["decision_id"]
        at = open_page("Approvals", "trading")
        for own, words in (("{", "no JSON"), ("[]", "write an object"), ('{"next_slice": 1}', "")):
            at.text_area(key=f"agents_own_{name}").set_value(own)
            assert words in press(at, f"agents_override_{name}").error[0].value
        assert ask(lambda client: client.decisions.get(name)).approval == "waiting"
        ask(lambda client: client.decisions.reject(name))
    finally:
        ask(lambda client: client.supervision.change_settings("trading", SettingsChange()))


def test_settings_are_saved_and_outcomes_told(doors):
    at = open_page("Settings", "cluster_placement")
    at.number_input(key="agents_keep").set_value(25)
    at.checkbox(key="agents_expert_on_drift").check()
    press(at, "agents_save")
    found = ask(lambda client: client.supervision.settings("cluster_placement"))
    assert (found.keep_requests, found.expert_on_drift, found.needs_approval) == (25, True, False)
    card = ask(lambda client: client.agents.card("cluster_placement"))
    decision = ask(lambda client: client.agents.ask("cluster_placement", card["examples"][0]))
    ask(lambda client: client.decisions.get(decision["decision_id"]))  # written by now
    at = open_page("Decisions", "cluster_placement")
    assert "99 of 100" in texts(at)
    at.selectbox(key="agents_outcome_of").set_value(decision["decision_id"])
    at.text_area(key="agents_realised").set_value('{"held": true}')
    press(at, "agents_tell")
    assert '{"held": true}' in list(frame(at, "what came of it")["what came of it"])


def test_without_agents_without_server_and_with_a_refused_token(tmp_path, monkeypatch):
    with running_server(tmp_path, versions=0) as (doors, portal):
        speak_with(monkeypatch, doors.url)
        at = open_page()
        assert "There is no agent yet" in texts(at)
        portal.call(doors.make_token, "boss", "admin")
        token = portal.call(doors.make_token, "asker", "invoke")
        speak_with(monkeypatch, doors.url, "wrong")
        assert open_page().error
        speak_with(monkeypatch, doors.url, token)
        at = open_page()
        at.file_uploader(key="agents_file").upload("p.safetensors", b"junk", "x/y")
        assert "scope" in press(at, "agents_register").error[0].value
    assert "Start a server" in open_page().error[0].value
