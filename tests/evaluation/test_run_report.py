"""What a report shows: refusals, escaping, and that HTML, Markdown and JSON tell the same."""

from __future__ import annotations

import json
import re
import struct
import zlib
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from rl.evaluation.report_page import render_page, write_cell, write_duration
from rl.evaluation.report_text import render_json, render_markdown, write_files
from rl.evaluation.run_report import (
    Amount,
    Chart,
    ComparisonReport,
    Compute,
    Curve,
    Level,
    Origin,
    Picture,
    ReportTable,
    RunReport,
    Stage,
    TableRow,
    draw_picture,
)
from utils.errors import ConfigError

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'`|\n```{{ 7*7 }}"


def png(width=3, height=2):
    def chunk(name, content):
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    rows = b"".join(b"\0" + b"\x80" * width for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def make_report(text="plain", *, name="pic"):
    """Every part, with the same text wherever a text can stand."""
    curve = Curve(name=text, env_steps=(0, 64, 128), mean=(1.0, None, 3.5))
    band = Curve(name=text, env_steps=(0, 64), mean=(1.0, 2.0), low=(0.5, 1.5), high=(1.5, 2.5))
    return RunReport(
        title=text,
        verdict=text,
        run_id=text,
        state=text,
        env_steps=128,
        total_env_steps=256,
        created_at=text,
        error=text,
        evaluation=Chart(
            name=f"{name}-evaluation",
            title=text,
            unit=text,
            curves=(band,),
            levels=(
                Level(name=text, value=1.7, kind="expert"),
                Level(name=text, value=4, kind="bound"),
            ),
            note=text,
        ),
        charts=(Chart(name=f"{name}-chart", title=text, unit=text, curves=(curve,)),),
        stages=(Stage(name=text, env_steps=0), Stage(name=f"{text}2", env_steps=100)),
        tables=(
            ReportTable(
                title=text,
                header=(text, "n"),
                rows=(TableRow(cells=(text, Amount(value=0.5, text="50%")), kind="agent"),),
                note=text,
            ),
        ),
        pictures=(Picture(name=name, caption=text, alt=text, png=png()),),
        configuration={text: [1, None, {text: text}]},
        compute=Compute(cpu_seconds=3600.0, wall_seconds=90.0),
        origin=Origin(
            seeds=(7,),
            commit=text,
            versions={text: text},
            data_sha256={text: text},
            command=text,
        ),
    )


def compare(*reports):
    chart = reports[0].charts[0]
    return ComparisonReport(
        title=reports[0].title,
        verdict=reports[0].verdict,
        charts=(chart,),
        tables=reports[0].tables,
        runs=reports,
    )


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.open = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        if tag not in {"meta", "img"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def tags_of(page):
    parser = Tags()
    parser.feed(page)
    assert parser.open == []
    return parser


def shape(report):
    tags = tags_of(render_page(report))
    return tags.tags, tags.attributes


def prose_of(markdown):
    """Return what is neither in a fence nor in a span of code."""
    prose, is_fenced = [], False
    for line in markdown.splitlines():
        if line.startswith("```"):
            is_fenced = not is_fenced
        elif not is_fenced:
            prose.append(re.sub(r"(?<!\\)`[^`]*`", "", line))
    assert not is_fenced
    return "\n".join(prose)


@pytest.mark.parametrize("wrap", [lambda one: one, compare], ids=["run", "comparison"])
def test_a_hostile_text_injects_nothing_anywhere(wrap):
    evil, plain = wrap(make_report(EVIL, name=EVIL)), wrap(make_report())
    assert shape(evil) == shape(plain)
    page = render_page(evil)
    assert "<script" not in page
    assert "{{ 7*7 }}" in page
    outside = prose_of(render_markdown(evil))
    assert "alert" in outside
    assert re.findall(r"(?<!\\)[<>`]", outside) == []


@settings(max_examples=20)
@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_no_text_changes_the_shape_of_the_page(text):
    assert shape(make_report(text or "x")) == shape(make_report())


def test_the_page_forbids_scripts_and_everything_from_elsewhere():
    page = render_page(make_report())
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in page
    assert re.findall(r"(?:src|href)=\"(?!data:)", page) == []
    assert "<script" not in page
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page


def test_every_figure_has_a_name_and_words_for_those_who_cannot_see_it():
    page = render_page(make_report("words"))
    assert re.findall(r'data-figure="([^"]+)"', page) == [
        *("pic-evaluation", "stages", "pic", "pic-chart"),
    ]
    assert 'alt="words"' in page
    assert page.count('role="img" aria-label="') == 3
    assert "words goes from 1 at 0 steps to 3.5 at 128." in page


def test_a_page_of_little_shows_no_empty_sections():
    bare = replace(
        make_report(), evaluation=None, charts=(), stages=(), tables=(), pictures=(), error=None
    )
    page = render_page(bare)
    assert re.findall(r"<h2>([^<]+)", page) == ["Where the numbers come from"]
    assert "data-figure" not in page
    assert "It broke" not in page
    assert "## Evaluation" not in render_markdown(bare)


def test_a_chart_without_a_point_is_left_out():
    empty = Curve(name="never", env_steps=(1,), mean=(None,))
    chart = Chart(name="never", title="never", unit="", curves=(empty,))
    report = replace(make_report(), evaluation=chart, charts=(chart,))
    assert 'data-figure="never"' not in render_page(report)
    assert "never" not in render_markdown(report)


def test_the_json_holds_everything_but_pixels():
    content = json.loads(render_json(make_report("x")))
    assert (content["format"], content["kind"]) == (1, "run")
    assert content["evaluation"]["curves"][0]["low"] == [0.5, 1.5]
    assert content["charts"][0]["curves"][0]["mean"] == [1.0, None, 3.5]
    assert content["compute"]["energy_watt_hours"] == 10.0
    assert content["configuration"] == {"x": [1, None, {"x": "x"}]}
    (picture,) = content["pictures"]
    assert (picture["width"], picture["height"], len(picture["sha256"])) == (3, 2, 64)
    both = json.loads(render_json(compare(make_report("x"), make_report("y"))))
    assert [run["title"] for run in both["runs"]] == ["x", "y"]


def test_markdown_tells_the_same():
    text = render_markdown(make_report("word"))
    assert text.startswith("# word\n")
    assert re.search(r"\| word +\| 1 +\| 3.5 +\| 1 +\| 3.5 +\| ▁█ +\|", text)
    assert "128 of 256 environment steps" in text
    assert "about 10 Wh" in text
    assert "assumption, not a measurement" in text
    assert "| word | 50% |" in text
    assert "- Commit: word" in text


def test_energy_is_said_to_be_assumed_or_not_estimated():
    page = render_page(make_report())
    assert "about 10 Wh, estimated as CPU time" in page
    assert "10 W per busy core (an assumption" in page
    unknown = replace(make_report(), compute=Compute())
    assert "not estimated: CPU time was not recorded" in render_page(unknown)
    assert "not estimated: CPU time was not recorded" in render_markdown(unknown)


def test_files_lie_beside_each_other(tmp_path):
    files = write_files(tmp_path / "new", "name", make_report())
    assert [path.name for path in (files.page, files.summary, files.data)] == [
        *("name.html", "name.md", "name.json"),
    ]
    assert files.page.read_text() == render_page(make_report())
    assert len(list(files.page.parent.iterdir())) == 3


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden"])
def test_a_file_name_is_no_path(tmp_path, name):
    with pytest.raises(ConfigError, match="file name without folder"):
        write_files(tmp_path, name, make_report())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"mean": (1.0,)}, "2 steps but"),
        ({"low": (0.0, 0.0)}, "low and high"),
        ({"env_steps": (5, 5)}, "do not rise"),
        ({"mean": (1.0, float("nan"))}, "not finite"),
        ({"low": (0.0, 0.0), "high": (1.0, float("inf"))}, "not finite"),
    ],
)
def test_curves_that_cannot_be_drawn_are_refused(fields, said):
    values = {"name": "c", "env_steps": (0, 5), "mean": (1.0, 2.0)} | fields
    with pytest.raises(ConfigError, match=said):
        Curve(**values)


def test_ragged_tables_other_files_and_negative_times_are_refused():
    with pytest.raises(ConfigError, match="2 cells under 1 headings"):
        ReportTable(title="t", header=("a",), rows=(TableRow(cells=(1, 2)),))
    with pytest.raises(ConfigError, match="no PNG file"):
        Picture(name="p", caption="", alt="", png=b"GIF89a" + bytes(30))
    with pytest.raises(ConfigError, match="cpu_seconds=-1"):
        Compute(cpu_seconds=-1)


def test_a_figure_of_matplotlib_becomes_a_picture():
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([1, 2])
    picture = draw_picture(figure, name="f", caption="c", alt="a")
    assert picture.size == (220, 110)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        *((None, ""), ("a", "a"), ("", ""), (12345, "12,345"), (0.0, "0"), (-0.5, "-0.5")),
        *((1234.56, "1,235"), (0.000123456, "0.0001235"), (1.5e-7, "1.5e-07"), (2e9, "2e+09")),
        *((99.996, "100"), (Amount(value=1.0, text="100%"), "100%")),
    ],
)
def test_cells_are_written_for_people(cell, text):
    assert write_cell(cell) == text


def test_durations_are_written_for_people():
    assert write_duration(None) == "not recorded"
    assert write_duration(1.25) == "1.2 s"
    assert write_duration(600) == "600 s (10.0 min)"
    assert write_duration(36_000) == "36,000 s (10.0 h)"
