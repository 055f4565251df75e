"""The console in a real browser: submit, see it learn, promote, ask, roll back; every page sound.

`.ci/run` installs Chromium. With QUARTERMASTER_PICTURES=1 the same tests write the pictures of
docs/console.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from urllib.parse import urlsplit

import httpx
import pytest

from tests.console.launched import ROOT, launched

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
HAS_PLAYWRIGHT = all(map(importlib.util.find_spec, ("playwright", "axe_playwright_python")))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.skipif(not HAS_PLAYWRIGHT, reason="no Playwright here (requirements-dev.txt)"),
]

PAGES = ("Runs", "Submit", "Environment lab", "Analysis", "Agents", "Engine", "Monitoring")
PICTURED = {("Environment lab", "light"), ("Engine", "dark")}
PICTURES = ROOT / "docs" / "console" / "pictures"
AGENT = "resource_allocator"
EPISODES = "960"
PATIENCE_SECONDS = 120
TRAINING_SECONDS = 300
MOST_TABS = 150
# What Streamlit does on every page and no page can change: rule, where, why it stays.
STREAMLITS_OWN = (
    ("list", '[data-testid="stSidebarNavItems"]', "its navigation nests groups in a list"),
    ("listitem", '[data-testid="stSidebarNavItems"]', "and their headings among the items"),
)


class Visitor:
    """A browser that looks at the console, and keeps what went wrong."""

    def __init__(self, browser, url, scheme):
        size = {"width": 1280, "height": 960}
        self.context = browser.new_context(color_scheme=scheme, viewport=size)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_SECONDS * 1000)
        self.errors, self.elsewhere, self.scheme = [], [], scheme
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._see)
        self.page.goto(url)
        self.settle()

    def _hear(self, message):
        if message.type == "error":
            self.errors.append(f"{message.text} {message.location.get('url', '')}")

    def _see(self, request):
        address = urlsplit(request.url)
        if address.scheme not in {"data", "blob"} and address.hostname != "127.0.0.1":
            self.elsewhere.append(request.url)

    def settle(self):
        """Wait until the page is drawn and nothing of it is about to be replaced."""
        self.page.locator("h1").first.wait_for()
        self.page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]').wait_for()

    def open(self, name):
        links = self.page.get_by_test_id("stSidebarNav")
        links.get_by_role("link", name=name, exact=True).click()
        self.page.get_by_role("heading", level=1, name=name, exact=True).wait_for()
        self.settle()

    def widget(self, key):
        return self.page.locator(".st-key-" + re.sub(r"[^a-zA-Z0-9_-]", "-", key))

    def press(self, key):
        self.widget(key).get_by_role("button").first.click()

    def choose(self, key, option):
        """Open a list and choose; a page that is drawn anew just then closes the list."""
        wanted = self.page.get_by_role("option", name=option, exact=True)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not wanted.count():
            assert time.monotonic() < deadline, f"{key} does not offer {option}"
            self.widget(key).get_by_role("combobox").click()
            self.page.wait_for_timeout(1000)
        wanted.click()
        self.settle()

    def fill(self, key, value):
        field = self.widget(key).locator("input")
        field.fill(value)
        field.press("Tab")
        self.settle()

    def view(self, name):
        self.page.get_by_role("radio", name=name, exact=True).click()
        self.settle()

    def told(self, words):
        self.page.get_by_text(words).first.wait_for()

    def tab_to(self, key):
        """Move the focus with the keyboard alone."""
        for _ in range(MOST_TABS):
            self.page.keyboard.press("Tab")
            if self.widget(key).locator(":focus").count():
                return
        pytest.fail(f"{key} cannot be reached with {MOST_TABS} tabs")

    def violations(self):
        """Serious ones that are ours; what is redrawn just then is faded: those seen twice."""
        if found := self._look_for_violations():
            self.settle()
            found &= self._look_for_violations()
        return found

    def _look_for_violations(self):
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        return {
            (one["id"], node["html"][:160])
            for one in found
            if one["impact"] in {"serious", "critical"}
            for node in one["nodes"]
            if not self._is_streamlits(one["id"], node["target"][0])
        }

    def _is_streamlits(self, rule, target):
        within = "([target, place]) => !!document.querySelector(target)?.closest(place)"
        return any(
            rule == known and self.page.evaluate(within, [target, place])
            for known, place, _ in STREAMLITS_OWN
        )

    def picture(self, name, *, height=960, of=None):
        if os.environ.get("QUARTERMASTER_PICTURES"):
            self.page.set_viewport_size({"width": 1280, "height": height})
            if of is not None:
                heading = self.page.get_by_role("heading", name=of, exact=True)
                heading.evaluate("one => one.scrollIntoView()")
            self.page.wait_for_timeout(1500)  # the charts' animations
            path = PICTURES / f"{name}-{self.scheme}.png"
            self.page.screenshot(path=path)
            shrink(path)


def shrink(path):
    from PIL import Image

    Image.open(path).convert("P", palette=Image.Palette.ADAPTIVE, colors=128).save(
        path, optimize=True
    )


@pytest.fixture(scope="module")
def console(tmp_path_factory):
    """The command as people start it, with the agents that come along."""
    var = tmp_path_factory.mktemp("console") / "var"
    adopt = [sys.executable, "-m", "orchestration", "--var", str(var), "adopt"]
    subprocess.run(adopt, cwd=ROOT, check=True, capture_output=True)
    with launched(var) as found:
        yield found


@pytest.fixture(scope="module")
def visit(console):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
        browser = playwright.chromium.launch(executable_path=BROWSER, args=flags)
        visitors = []

        def make(scheme):
            visitors.append(Visitor(browser, console.console, scheme))
            return visitors[-1]

        yield make
        browser.close()


def test_a_run_is_submitted_learns_is_promoted_asked_and_rolled_back(console, visit):
    visitor = visit("light")
    submit_by_keyboard(visitor)
    visitor.page.get_by_role("link", name="Watch the run").click()
    steps = watch_it_learn(visitor)
    assert len(steps) > 1, "the curve grows before the run ends"
    assert steps == sorted(steps)
    newest = httpx.get(f"{console.server}/v1/runs", timeout=60).json()["items"][0]
    assert newest["state"] == "succeeded"
    visitor.settle()
    visitor.picture("run", height=1500)
    assert visitor.violations() == set()
    promote_ask_and_roll_back(console, visitor)
    assert visitor.errors == []
    assert visitor.elsewhere == []


def submit_by_keyboard(visitor):
    visitor.open("Submit")
    visitor.fill("submit:typed:total_episodes", EPISODES)
    visitor.tab_to("submit:submit")
    visitor.page.keyboard.press("Enter")
    visitor.told("Queued: run")
    visitor.picture("submit")


def promote_ask_and_roll_back(console, visitor):
    visitor.open("Agents")
    visitor.choose("agents_agent", AGENT)
    visitor.view("Versions")
    before = champion(console)
    newest = max(one["version"] for one in agent(console)["versions"])
    visitor.choose("agents_promote_version", str(newest))
    visitor.press("agents_promote")
    visitor.told(f"{AGENT}: champion is version {newest} now.")
    assert champion(console) == newest > before

    visitor.view("Try a request")
    visitor.press("agents_ask")
    visitor.told(f"Version {newest} of {AGENT} answered")
    visitor.picture("agent_asked", of="Decision")
    assert visitor.violations() == set()

    visitor.view("Versions")
    visitor.press("agents_roll_back")
    visitor.told(f"{AGENT}: champion is version {before} again.")
    assert champion(console) == before


def watch_it_learn(visitor):
    """The steps up to which the curve of the return is told, each time that it has grown."""
    told = visitor.page.get_by_text(re.compile(r"^return: .* at [\d,]+ steps")).first
    seen, deadline = [], time.monotonic() + TRAINING_SECONDS
    badge = visitor.page.get_by_text("succeeded", exact=True)
    while time.monotonic() < deadline:
        has_ended = badge.count() > 0
        if told.count():
            step = int(re.search(r"at ([\d,]+) steps", told.inner_text())[1].replace(",", ""))
            if [step] != seen[-1:]:
                seen.append(step)
        if has_ended:
            return seen
        visitor.page.wait_for_timeout(200)
    pytest.fail(f"the run does not end; steps seen: {seen}")


def agent(console):
    agents = httpx.get(f"{console.server}/v1/agents", timeout=60).json()
    return next(one for one in agents if one["name"] == AGENT)


def champion(console):
    return agent(console)["aliases"]["champion"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_sound_in_light_and_dark(visit, scheme):
    visitor = visit(scheme)
    assert visitor.page.evaluate("document.documentElement.lang") == "en"
    wrong = {}
    for name in PAGES:
        visitor.open(name)
        if (name, scheme) in PICTURED:
            visitor.picture(name.lower().replace(" ", "_"))
        if found := visitor.violations():
            wrong[name] = found
    assert wrong == {}, wrong
    assert visitor.errors == []
    assert visitor.elsewhere == []


def test_the_keyboard_reaches_the_content_past_the_navigation(visit):
    visitor = visit("light")
    visitor.page.keyboard.press("Tab")
    focused = visitor.page.locator(":focus")
    assert focused.inner_text() == "Skip to main content"
    focused.press("Enter")
    assert visitor.page.evaluate("document.activeElement.tagName") == "MAIN"
    visitor.open("Engine")
    visitor.page.keyboard.press("Tab")
    assert visitor.page.locator(":focus").count() == 1


def test_an_address_that_people_type_leads_there(console, visit):
    visitor = visit("light")
    visitor.page.goto(f"{console.console}/runs?words=nothing+like+it")
    visitor.told("No run fits")
    visitor.settle()
    assert visitor.page.get_by_role("dialog").count() == 0, "Streamlit knows the page"
    assert "words=nothing+like+it" in visitor.page.url


def test_faults_would_be_seen(visit):
    visitor = visit("light")
    visitor.page.evaluate(
        """() => {
          document.querySelector("h1").insertAdjacentHTML("afterend", "<img src='data:,x'>");
          console.error("planted");
          fetch("http://elsewhere.example/").catch(() => 0);
        }"""
    )
    visitor.page.wait_for_timeout(200)
    assert {rule for rule, _ in visitor.violations()} >= {"image-alt"}
    assert any("planted" in one for one in visitor.errors)
    assert visitor.elsewhere == ["http://elsewhere.example/"]
