"""The report of a real run in a real browser without network: every figure is there and drawn.

`.ci/run` installs Chromium. Elsewhere these tests are skipped where there is none.
"""

from __future__ import annotations

import re
import shutil
import subprocess

import anyio
import numpy as np
import pytest
from PIL import Image

from rl.training.report_files import write_run_files
from tests.trained_run import train_small
from utils.persistence.engine import open_database

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
LINE_COLORS = {"light": (0xC4, 0x4E, 0x00), "dark": (0xFF, 0x8A, 0x3D)}
PAPERS = {"light": (0xFD, 0xFD, 0xFC), "dark": (0x15, 0x18, 0x1C)}
SCHEMES = {"light": "preferredColorScheme=1", "dark": "preferredColorScheme=0"}
MEASURE = """<script>
addEventListener("load", () => {
  for (const figure of document.querySelectorAll("[data-figure]")) {
    const content = figure.querySelector("svg, img, .timeline");
    const box = content.getBoundingClientRect();
    const isDrawn = content.tagName === "IMG" ? content.naturalWidth > 0 && content.complete
      : content.tagName !== "svg" || [...content.querySelectorAll("path.line")].some(
          line => line.getBBox().width > 0 && line.getTotalLength() > 0);
    figure.dataset.width = Math.round(box.width);
    figure.dataset.height = Math.round(box.height);
    figure.dataset.drawn = isDrawn;
  }
  const root = document.documentElement;
  root.dataset.overflow = root.scrollWidth - root.clientWidth;
});
</script>"""
FORBIDDEN = "default-src 'none';"
MEASURED = re.compile(
    r'<figure[^>]*data-figure="(?P<name>[^"]+)"[^>]*data-width="(?P<width>\d+)"'
    r'[^>]*data-height="(?P<height>\d+)"[^>]*data-drawn="(?P<drawn>\w+)"'
)


def find_browser():
    return next((path for path in map(shutil.which, BROWSERS) if path), None)


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_browser() is None,
        reason="no Chromium here: apt-get install chromium",
    ),
]


class Browser:
    """Chromium without a window and without any name that resolves."""

    def __init__(self, profile):
        self.profile = profile
        self.program = find_browser()
        assert self.program

    def __call__(self, page, *flags):
        command = [
            *(self.program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *("--disable-dev-shm-usage", f"--user-data-dir={self.profile}"),
            "--host-resolver-rules=MAP * ~NOTFOUND",
            *flags,
            page.as_uri(),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def picture(self, page, path, scheme, size=(1100, 1600)):
        flags = (f"--blink-settings={SCHEMES[scheme]}", f"--window-size={size[0]},{size[1]}")
        self(page, *flags, f"--screenshot={path}")
        return np.asarray(Image.open(path).convert("RGB")).astype(int)

    def measure(self, page, width):
        """Let a copy of the page, with a script that the page itself forbids, say what it drew."""
        text = page.read_text()
        assert text.count(FORBIDDEN) == text.count("</body>") == 1
        text = text.replace(FORBIDDEN, f"{FORBIDDEN} script-src 'unsafe-inline';")
        copy = page.with_name("measured.html")
        copy.write_text(text.replace("</body>", f"{MEASURE}</body>"))
        # A window is at least 500 wide, which is narrow enough for the phone's layout.
        return self(copy, "--dump-dom", f"--window-size={width},1600")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    return Browser(tmp_path_factory.mktemp("profile"))


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The pages of a run, and of two runs beside each other."""
    var = tmp_path_factory.mktemp("var")

    async def make():
        ids = [await train_small(var, seed=seed) for seed in (0, 1)]
        database = await open_database(var / "quartermaster.sqlite")
        try:
            places = {"runs": var / "runs", "folder": var / "reports"}
            one = await write_run_files(database, ids[:1], **places)
            both = await write_run_files(database, ids, **places)
        finally:
            await database.aclose()
        return {"run": one.page, "comparison": both.page}

    return anyio.run(make)


def figures_of(page):
    return re.findall(r'data-figure="([^"]+)"', page.read_text())


def count_near(pixels, color):
    return int((np.abs(pixels - color).max(-1) <= 3).sum())


@pytest.mark.parametrize("width", [1100, 500])
@pytest.mark.parametrize("kind", ["run", "comparison"])
def test_every_figure_is_drawn(browser, pages, kind, width):
    page = pages[kind]
    names = figures_of(page)
    assert "evaluation-validation" in names
    if kind == "run":
        assert {"stages", "scores", "window", "metric-return"} <= set(names)
    document = browser.measure(page, width)
    found = {one["name"]: one for one in MEASURED.finditer(document)}
    assert set(found) == set(names)
    assert len(set(names)) == len(names)
    for name, one in found.items():
        assert one["drawn"] == "true", name
        assert int(one["width"]) > 150, name
        assert int(one["height"]) > (15 if name == "stages" else 60), name
    assert 'data-overflow="0"' in document, "the page itself must not scroll sideways"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_itself_shows_its_curve_in_light_and_dark(browser, pages, tmp_path, scheme):
    pixels = browser.picture(pages["run"], tmp_path / f"{scheme}.png", scheme)
    assert tuple(pixels[2, 2]) == PAPERS[scheme]
    assert count_near(pixels, np.asarray(LINE_COLORS[scheme])) > 300


def test_a_figure_that_is_not_drawn_would_be_seen(browser, pages):
    page = pages["run"].with_name("broken.html")
    text = pages["run"].read_text()
    text = re.sub(r'(<path class="line c0" d=")[^"]+', r"\1M0,0", text, count=1)
    page.write_text(text.replace("data:image/png;base64,", "data:image/png;base64,AAAA", 1))
    document = browser.measure(page, 1100)
    broken = [one["name"] for one in MEASURED.finditer(document) if one["drawn"] == "false"]
    assert broken == ["evaluation-validation", "scores"]


def test_a_real_page_is_small_and_asks_for_nothing(pages):
    for page in pages.values():
        text = page.read_text()
        assert len(text.encode()) < 1_500_000
        assert re.findall(r"(?:src|href)=[\"'](?!data:)", text) == []
        assert "http" not in re.sub(r'http-equiv|content="default-src', "", text)
        assert "url(" not in text
        assert "<script" not in text
