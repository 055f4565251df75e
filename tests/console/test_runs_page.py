"""The page of runs against a real server, with the server away, and its words and charts alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from console.runs_charts import (
    draw_curves,
    draw_evaluations,
    draw_stages,
    group_metrics,
    overlay_evaluations,
)
from console.runs_words import (
    against_expert,
    age,
    buttons_of,
    fraction_done,
    newest_score,
    number,
    progress_words,
    setting_rows,
)
from orchestration.client.runs import StageEntry
from orchestration.jobs import Desired, JobState
from tests.console.serving_runs import ask_page, open_served_runs, words_of
from utils.persistence.run_lines import RunLine
from utils.persistence.run_log import RunState
from utils.persistence.run_queries import Evaluation, MetricPoint

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SCORES = {"kpi": 90.0, "kpi_low": 89.0, "kpi_high": 91.0, "expert": 80.0, "bound": 120.0}


def page():
    from console.runs_page import show

    show()


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with open_served_runs(tmp_path_factory.mktemp("runs")) as found:
        yield found


@pytest.fixture(autouse=True)
def server(house, monkeypatch):
    monkeypatch.setenv("QUARTERMASTER_URL", house.doors.url)
    monkeypatch.delenv("QUARTERMASTER_TOKEN", raising=False)


def line(**changes):
    values = {
        "id": "r1", "experiment": "e", "job_id": None, "seed": 0, "state": RunState.RUNNING,
        "stage": None, "env_steps": 50, "total_env_steps": 200, "best_score": None, "error": None,
        "created_at": NOW, "ended_at": None, "environment": "trading", "algorithm": "ppo",
        "tags": (), "expert": None,
    }  # fmt: skip
    return RunLine(**{**values, **changes})


def evaluation(step, **changes):
    return Evaluation(
        env_steps=step, name="validation", scores={**SCORES, **changes}, created_at=NOW
    )


def points(*values):
    return [MetricPoint(step=10 * n, value=value, at=NOW) for n, value in enumerate(values)]


def test_no_runs_say_what_to_do_next(tmp_path, monkeypatch):
    with open_served_runs(tmp_path) as empty:
        monkeypatch.setenv("QUARTERMASTER_URL", empty.doors.url)
        app = ask_page(page)
        assert [one.value for one in app.title] == ["Runs"]
        assert "No runs yet" in words_of(app)
        assert not app.exception
        compared = ask_page(page, compare="a,b")
        assert "no run a" in words_of(compared)
        missing = ask_page(page, run="nobody")
        assert "no run nobody" in words_of(missing)


def test_a_server_that_is_away_or_refuses_is_told_on_every_view(house, monkeypatch):
    monkeypatch.setenv("QUARTERMASTER_URL", "http://127.0.0.1:9")
    for query in ({}, {"run": "a"}, {"compare": "a,b"}):
        app = ask_page(page, **query)
        assert "No answer from http://127.0.0.1:9" in words_of(app)
        assert not app.exception
        assert app.title
    monkeypatch.setenv("QUARTERMASTER_URL", house.doors.url)
    monkeypatch.setenv("QUARTERMASTER_TOKEN", "qm_wrong")
    for query in ({}, {"run": "a"}, {"compare": "a,b"}):
        app = ask_page(page, **query)
        assert "token" in app.error[0].value
        assert not app.exception


def test_runs_are_listed_found_turned_over_and_opened(house):
    first, claimed = house.train(environment="trading", algorithm="ppo", tags=["mine"], seed=7)
    house.finish(claimed)
    others = [house.submit(experiment_name=f"a*b {n}") for n in range(15)]
    app = ask_page(page)
    assert app.button(key=f"runs:open:{others[-1].run_id}")
    assert r"a\*b 14" in [one.value for one in app.markdown]
    app.checkbox(key=f"runs:chosen:{others[-1].run_id}").check().run()
    app.button(key="runs:older").click().run()
    app.checkbox(key=f"runs:chosen:{first.run_id}").check().run()
    assert app.button(key="runs:compare").label == "Compare 2 runs", "of two pages of the list"
    app.button(key="runs:none").click().run()
    assert app.button(key="runs:compare").disabled
    row = app.button(key=f"runs:open:{first.run_id}")
    assert row.label == "ppo in trading, seed 7"
    assert "91, expert 80 (+13.8%)" in words_of(app)
    assert "`mine`" in words_of(app)
    app.button(key="runs:newer").click().run()
    app.text_input(key="words").set_value("TRADING").run()
    assert [one.label for one in app.button if one.key.startswith("runs:open")] == [row.label]
    app.text_input(key="words").set_value("nothing like it").run()
    assert "No run fits" in words_of(app)
    app.text_input(key="words").set_value("").run()
    app.multiselect(key="states").set_value(["succeeded"]).run()
    app.button(key=f"runs:open:{first.run_id}").click().run()
    assert app.title[0].value == "ppo in trading, seed 7"
    assert app.query_params["run"] == first.run_id
    for job in others:
        house.ask(lambda client, job=job: client.jobs.cancel(job.id))


def test_a_running_run_shows_curves_stages_settings_and_logs(house):
    job, claimed = house.train(algorithm="ppo", experiment_name="look")
    app = ask_page(page, run=job.run_id)
    words = words_of(app)
    assert app.query_params["view"] == "Curves"
    assert not app.exception
    assert "At 18,432 steps the policy scores 91 (interval 90 to 92), the expert 80" in words
    titles = [one.value for one in app.subheader]
    assert titles[0] == "Score on validation scenarios"
    assert {"Return of training episodes", "Entropy", "KL divergence"} <= set(titles)
    assert {"Loss terms: policy loss", "Loss terms: value loss"} <= set(titles)
    assert "return: 1.5 at first, 2.5 at 18,432 steps, between 1.5 and 2.5." in words
    app.selectbox(key="metric").set_value("return").run()
    assert app.subheader[0].value == "return"
    assert app.query_params["metric"] == "return"
    app.button(key="run:back").click().run()
    assert dict(app.query_params) == {}
    assert app.title[0].value == "Runs"
    look = ask_page(page, run=job.run_id, view="Stages")
    assert "stage 0 from 9,216 to 18,432, stage 1 from 18,432 to" in words_of(look)
    settings = ask_page(page, run=job.run_id, view="Configuration").dataframe[0]
    assert "algorithm" in set(settings.value["setting"])
    folder = house.doors.application.settings.var / "work" / job.id
    folder.mkdir(parents=True)
    (folder / f"attempt-{claimed.fence}.log").write_text("hello from the attempt\n")
    logs = ask_page(page, run=job.run_id, view="Logs")
    assert not logs.exception
    assert "hello from the attempt" in logs.code[0].value
    house.finish(claimed)


def test_pause_resume_cancel_with_confirmation_and_retry(house):
    job = house.submit(experiment_name="buttons")
    app = ask_page(page, run=job.run_id)
    assert [one.proto.query_string for one in app.get("page_link")] == [f"from={job.run_id}"]
    app.button(key="run:pause").click().run()
    assert "the server has taken it" in words_of(app)
    assert house.ask(lambda client: client.jobs.get(job.id)).state is JobState.PAUSED
    assert "Asked to pause" not in words_of(app), "it is paused"
    app.button(key="run:resume").click().run()
    assert house.ask(lambda client: client.jobs.get(job.id)).state is JobState.QUEUED
    app.button(key="run:cancel:yes").click().run()
    assert house.ask(lambda client: client.jobs.get(job.id)).state is JobState.CANCELLED
    assert {one.key for one in app.button} & {"run:pause", "run:cancel:yes"} == set()
    app.button(key="run:retry").click().run()
    again = app.query_params["run"]
    assert again != job.run_id
    assert house.ask(lambda client: client.runs.get(again)).summary.state is RunState.QUEUED
    app.button(key="run:cancel:yes").click().run()
    app.query_params["run"] = job.run_id
    app.run()
    app.button(key="run:retry").click().run()
    assert app.query_params["run"] not in {job.run_id, again}, "a second wish is a second run"
    app.button(key="run:cancel:yes").click().run()


def test_files_are_offered_once_their_hash_is_right(house):
    job, claimed = house.train(experiment_name="files")
    right = house.leave_file(job.run_id, b"all of it")
    app = ask_page(page, run=job.run_id, view="Files")
    assert f"orchestration report {job.run_id}" in app.code[0].value
    assert not app.get("download_button")
    app.button(key=f"run:file:{right}:plan.txt").click().run()
    assert [one.proto.label for one in app.get("download_button")] == ["Save (hash is right)"]
    house.doors.parts.artifacts.path(right).chmod(0o600)
    house.doors.parts.artifacts.path(right).write_bytes(b"all of IT")
    damaged = ask_page(page, run=job.run_id, view="Files")
    damaged.button(key=f"run:file:{right}:plan.txt").click().run()
    assert not damaged.get("download_button")
    assert damaged.error
    reports = house.doors.application.settings.var / "reports"
    reports.mkdir()
    (reports / f"run-{job.run_id}.html").write_text("<h1>report</h1>")
    with_report = ask_page(page, run=job.run_id, view="Files")
    assert [one.proto.label for one in with_report.get("download_button")] == [
        "Report (one HTML page)"
    ]
    house.finish(claimed)


def test_runs_are_compared_by_curves_and_by_what_differs(house):
    made = [house.train(seed=seed, experiment_name="pair") for seed in (1, 2)]
    ids = [job.run_id for job, _ in made]
    app = ask_page(page)
    for run_id in ids:
        app.checkbox(key=f"runs:chosen:{run_id}").check().run()
    app.button(key="runs:compare").click().run()
    assert not app.exception
    assert set(app.query_params["compare"].split(",")) == set(ids)
    differing = app.dataframe[-2].value
    assert list(differing["setting"]) == ["seed"]
    assert {"1", "2"} == set(differing.iloc[0][1:])
    results = app.dataframe[-1].value
    assert set(results["figure"]) >= {"steps", "best score", "return"}
    assert "Score on validation scenarios" in [one.value for one in app.subheader]
    alone = ask_page(page, compare=ids[0])
    assert "Choose 2 to 5 different runs" in words_of(alone)
    for _, claimed in made:
        house.finish(claimed)


def test_numbers_and_times_in_words():
    assert [number(one) for one in (None, 0.12345, 12345.6)] == ["none yet", "0.1235", "12,346"]
    assert against_expert(88.0, 80.0) == "88, expert 80 (+10.0%)"
    assert against_expert(-90.0, -100.0) == "-90, expert -100 (+10.0%)"
    assert against_expert(1.0, 0.0) == "1, expert 0"
    assert against_expert(None, 80.0) == "none yet"
    assert progress_words(line()) == "25%, 50 of 200 steps"
    assert progress_words(line(env_steps=256)) == "100%, 256 steps"
    assert progress_words(line(total_env_steps=0)) == "0%, 50 steps"
    assert fraction_done(line(env_steps=300)) == 1.0
    assert fraction_done(line(total_env_steps=None)) == 0.0
    assert [age(NOW, NOW + timedelta(seconds=n)) for n in (0, 5, 61, 7200, 200_000)] == [
        "just now", "5 s ago", "1 min ago", "2 h ago", "2 d ago"
    ]  # fmt: skip


def test_buttons_follow_the_job():
    assert buttons_of(JobState.RUNNING, Desired.RUN) == ("pause", "cancel")
    assert buttons_of(JobState.PAUSED, Desired.PAUSE) == ("resume", "cancel")
    assert buttons_of(JobState.CANCELLING, Desired.CANCEL) == ()
    assert buttons_of(JobState.FAILED, Desired.RUN) == ("retry",)


def test_what_is_said_of_evaluations():
    assert "no finite score, the bound 120." in newest_score(
        [evaluation(5, kpi=None, kpi_low=None, expert=None)]
    )
    assert newest_score([]) == "Not evaluated yet."
    assert "25% of the gap between them is closed" in newest_score([evaluation(1, gap_closed=0.25)])
    assert "behind the expert by 20%" in newest_score([evaluation(1, gap_closed=-0.2)])
    bare = Evaluation(env_steps=1, name="validation", scores={}, created_at=NOW)
    assert newest_score([bare]) == "At 1 steps the policy has no finite score."


def test_settings_in_rows_leave_out_what_was_left_open():
    rows = setting_rows({"a": {"b": 1, "c": None}, "d": [1, 2]})
    assert rows == [{"setting": "a.b", "value": "1"}, {"setting": "d", "value": "[1, 2]"}]


def test_metrics_are_grouped_by_what_they_are():
    names = ["return", "entropy_loss", "policy_loss", "kl_divergence", "kl_coeff", "clipfrac"]
    names += ["gradient_norm"]
    assert group_metrics(names) == {
        "Return of training episodes": ["return"],
        "Entropy": ["entropy_loss"],
        "KL divergence": ["kl_divergence"],
        "Loss terms": ["policy_loss"],
        "Norm of the gradient": ["gradient_norm"],
    }


def test_charts_hold_their_rows_and_say_what_was_not_finite():
    picture = draw_curves("return", {"return": points(1.0, None, 3.0)})
    assert [row["value"] for row in picture.rows] == [1.0, None, 3.0]
    assert "1 values were not finite" in picture.summary
    assert "no finite value" in draw_curves("x", {"x": points(None)}).summary
    scores = draw_evaluations([evaluation(0), evaluation(10, kpi=95.0)])
    assert [row["score"] for row in scores.rows] == [90.0, 95.0]
    drawn = scores.chart.to_dict()
    assert len(drawn["layer"]) == 3
    assert {"expert", "bound"} == set(drawn["layer"][2]["encoding"]["color"]["scale"]["domain"])
    no_levels = draw_evaluations([evaluation(0, expert=None, bound=None)])
    assert len(no_levels.chart.to_dict()["layer"]) == 2
    both = overlay_evaluations({"a": [evaluation(0)], "b": [evaluation(5)]})
    assert [row["curve"] for row in both.rows] == ["a", "b"]


def test_stages_last_until_the_next():
    stages = [StageEntry(name="easy", env_steps=0), StageEntry(name="hard", env_steps=30)]
    picture = draw_stages(stages, 100)
    assert [(row["from"], row["to"]) for row in picture.rows] == [(0, 30), (30, 100)]
    assert picture.summary.endswith("easy from 0 to 30, hard from 30 to 100.")
    assert draw_stages(stages, 10).rows[-1]["to"] == 30
