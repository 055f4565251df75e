"""Every page where there is nothing to show: server away, token refused, nothing made yet."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from console.header import describe_server
from console.showing import describe, plain
from orchestration.client.errors import ApiError
from tests.console.running import (
    PAGES,
    PATIENCE_SECONDS,
    free_port,
    open_page,
    running_server,
    speak_with,
    texts,
)

ROOT = Path(__file__).parents[2]
every_page = pytest.mark.parametrize("name", PAGES)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_server(tmp_path_factory.mktemp("var"), versions=0) as (doors, portal):
        yield doors, portal


@pytest.fixture(scope="module")
def closed_server(tmp_path_factory):
    """One that has a token, so that nobody gets in without it."""
    with running_server(tmp_path_factory.mktemp("var"), versions=0) as (doors, portal):
        portal.call(doors.make_token, "boss", "admin")
        yield doors


def check_sound(page):
    assert [one.message for one in page.exception] == []
    (title,) = page.title
    assert title.value


@every_page
def test_with_no_data_a_page_says_what_to_do(monkeypatch, server, name):
    speak_with(monkeypatch, server[0].url)
    page = open_page(name)
    check_sound(page)
    assert [one.value for one in page.error] == []
    assert len(texts(page)) > 40, "a page without data says what to do next"


@every_page
def test_with_the_server_away_a_page_says_so(monkeypatch, name):
    url = f"http://127.0.0.1:{free_port()}"
    speak_with(monkeypatch, url)
    page = open_page(name)
    check_sound(page)
    assert any(url in one.value and "make console" in one.value for one in page.error)


@every_page
@pytest.mark.parametrize("token", [None, "qm_000000000000_wrong"])
def test_a_refused_token_is_told_with_the_remedy(monkeypatch, closed_server, name, token):
    speak_with(monkeypatch, closed_server.url, token)
    page = open_page(name)
    check_sound(page)
    assert any("QUARTERMASTER_TOKEN" in one.value for one in page.error)


def test_the_line_above_says_how_the_server_is(monkeypatch, server, closed_server):
    speak_with(monkeypatch, server[0].url)
    assert describe_server().endswith("answers, jobs: 0 running, 0 waiting")
    speak_with(monkeypatch, closed_server.url)
    assert "token" in describe_server()
    url = f"http://127.0.0.1:{free_port()}"
    speak_with(monkeypatch, url)
    assert f"{url} does not answer" in describe_server()


def test_the_shell_shows_its_first_page_under_the_line(monkeypatch, server):
    speak_with(monkeypatch, server[0].url)
    page = AppTest.from_file(ROOT / "console" / "app.py", default_timeout=PATIENCE_SECONDS).run()
    check_sound(page)
    assert page.title[0].value == "Runs"
    assert any(server[0].url in one.value for one in page.caption)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("![x](http://evil.example/p.png)", r"!\[x\](http://evil.example/p.png)"),
        ("`a` *b* _c_ $d$ ~e~", r"\`a\` \*b\* \_c\_ \$d\$ \~e\~"),
        (":red[x] :smile: <b>", r"\:red\[x\] \:smile: \<b>"),
        ("plain: 3 of 4 (75 %), at 1.5.", "plain: 3 of 4 (75 %), at 1.5."),
    ],
)
def test_a_text_from_elsewhere_is_shown_as_it_is(text, shown):
    assert plain(text) == shown


def test_what_a_server_says_and_what_a_figure_sums_up_are_no_markdown():
    said = describe(ApiError(400, "no ![x](http://evil.example/p.png)", {"config.a[0]": "*b*"}))
    assert said == "no !\\[x\\](http://evil.example/p.png).\n- config.a\\[0\\]: \\*b\\*"
