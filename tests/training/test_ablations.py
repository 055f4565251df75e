"""Ablations: arms that differ in one setting, honest words, and a page that tells what was run."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from benchmarks import ablations
from benchmarks.ablation_arms import ABLATIONS, WHOLE, differences
from benchmarks.ablation_page import (
    BEGIN,
    END,
    NOT_RUN,
    PAGE,
    fill_page,
    format_table,
    main,
    stored_summaries,
    write_results,
)
from benchmarks.stored_runs import StoredRuns
from data.traces import TRACES_SETTING, TraceWorkload, locate_traces
from rl.environments.delayed_reward import DelayedReward
from rl.training.problems import make_problem
from utils.errors import ConfigError
from utils.seeding import make_generator

DUELING = ABLATIONS["dueling"]


@pytest.mark.parametrize("name", ABLATIONS)
def test_the_arms_differ_in_exactly_the_named_setting(name):
    ablation = ABLATIONS[name]
    assert differences(*ablation.arms) == [ablation.changed]
    assert ablation.first.name != ablation.second.name
    assert differences(*(arm.shortened(0.1) for arm in ablation.arms)) == [ablation.changed]


def test_a_difference_is_named_at_its_depth():
    arm = DUELING.first
    other = replace(arm, delay_rewards=True, config=replace(arm.config, num_agents=5))
    assert differences(arm, other) == ["config.num_agents", "delay_rewards"]
    assert differences(arm, replace(arm, name="another")) == []


def test_what_the_issue_names_is_there():
    asked = {
        "exploration": ("epsilon", "entropy"),
        "dueling": ("dueling", "plain"),
        "replay": ("prioritised", "uniform"),
        "reward": ("shaped", "sparse"),
        "curriculum": ("curriculum", "none"),
        "data": ("synthetic", "real"),
    }
    for name, arms in asked.items():
        assert tuple(arm.name for arm in ABLATIONS[name].arms) == arms


def test_a_key_tells_runs_apart_and_names_the_same_run_twice():
    keys = {arm.name: arm.key for one in ABLATIONS.values() for arm in one.arms}
    plain = DUELING.second
    assert keys["plain"] == keys["uniform"] == keys["epsilon from 1"] != keys["dueling"]
    assert replace(plain, config=replace(plain.config, seed=3)).key == plain.key
    assert replace(plain, delay_rewards=True).key != plain.key


def row(seed, score, **others):
    return {
        "seed": seed,
        "commit": "c",
        "cpu_seconds": 2.0,
        "env_steps": 100,
        "kpi": "profit",
        "score": score,
        "curve": [[0, 0.0], [100, score]],
        "held_out_sha256": "h",
        "stages": [],
        **others,
    }


def compare(first, second):
    rows = tuple([row(seed, score) for seed, score in enumerate(one)] for one in (first, second))
    return ablations.summarise("dueling", DUELING, rows)


def test_the_difference_is_paired_by_seed():
    # Differences 1, 2, 3: mean 2, Student's t of two degrees of freedom 4.3027 times 1 / sqrt(3).
    found = compare([11.0, 22.0, 33.0], [10.0, 20.0, 30.0])
    difference = found["difference"]
    assert difference["mean"] == pytest.approx(2.0)
    assert difference["low"] == pytest.approx(2.0 - 4.30265 / 3**0.5, abs=1e-4)
    assert difference["high"] == pytest.approx(2.0 + 4.30265 / 3**0.5, abs=1e-4)
    # Of nine pairs of runs the first wins (11, 10), (22, 10), (22, 20), (33, all): six.
    assert found["probability_of_improvement"]["value"] == pytest.approx(6 / 9)
    assert found["conclusion"] == "undecided"
    assert [arm["mean"] for arm in found["arms"]] == [pytest.approx(22.0), pytest.approx(20.0)]
    assert found["arms"][0]["curve"]["mean"] == (0.0, pytest.approx(22.0))
    assert json.dumps(found)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ([5.0, 6.1, 7.0], [1.0, 2.0, 3.0], "dueling is better"),
        ([1.0, 2.0, 3.0], [5.0, 6.1, 7.0], "plain is better"),
        ([1.0, 6.0, 3.0], [5.0, 2.1, 4.0], "undecided"),
        ([9.0], [1.0], "one seed: no interval"),
    ],
)
def test_words_say_which_way_it_came_out(first, second, words):
    assert compare(first, second)["conclusion"] == words


def test_only_seeds_of_both_arms_count():
    rows = ([row(0, 5.0), row(1, 7.0), row(2, 1.0)], [row(1, 4.0), row(2, 2.0), row(3, 9.0)])
    found = ablations.summarise("dueling", DUELING, rows)
    assert found["seeds"] == [1, 2]
    assert found["difference"]["mean"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("others", "words"),
    [({"held_out_sha256": "x"}, "different episodes"), ({"env_steps": 101}, "100 and 101")],
)
def test_arms_that_cannot_be_compared_are_refused(others, words):
    with pytest.raises(ConfigError, match=words):
        ablations.summarise("dueling", DUELING, ([row(0, 5.0)], [row(0, 4.0, **others)]))


def test_a_stopped_benchmark_goes_on_and_shares_arms(tmp_path, monkeypatch):
    made = []

    def run(arm, seed):
        made.append((arm.name, seed))
        return row(seed, 1.0)

    monkeypatch.setattr(ablations, "run_arm", run)
    stored = StoredRuns(tmp_path)
    ablations.run_ablation(DUELING, stored, range(2))
    assert made == [("dueling", 0), ("plain", 0), ("dueling", 1), ("plain", 1)]
    ablations.run_ablation(DUELING, StoredRuns(tmp_path), range(2))
    assert len(made) == 4
    ablations.run_ablation(ABLATIONS["replay"], stored, range(2))
    assert made[4:] == [("prioritised", 0), ("prioritised", 1)]
    some = {name: ABLATIONS[name] for name in ("dueling", "reward")}
    assert [one["ablation"] for one in ablations.summarise_stored(some, stored)] == ["dueling"]


def test_real_data_must_be_there(tmp_path, monkeypatch):
    monkeypatch.setattr(ablations, "locate_traces", lambda: None)
    with pytest.raises(ConfigError, match="trace files"):
        ablations.run_ablation(ABLATIONS["data"], StoredRuns(tmp_path), range(1))


@pytest.mark.skipif(locate_traces() is None, reason=f"no real traces; set {TRACES_SETTING}")
def test_the_synthetic_arm_sees_no_real_window(monkeypatch):
    first, second = (make_problem(arm.config) for arm in ABLATIONS["data"].arms)
    assert first.held_out.sha256 == second.held_out.sha256
    windows, draw = [], TraceWorkload.draw

    def count(source, num_episodes, generator):
        windows.append(num_episodes)
        return draw(source, num_episodes, generator)

    monkeypatch.setattr(TraceWorkload, "draw", count)
    episodes = first.bank.num_episodes
    assert first.training.draw(episodes, make_generator(5, "bank")).num_episodes == episodes
    assert windows == []
    second.training.draw(episodes, make_generator(5, "bank"))
    assert windows == [episodes]


def test_a_run_is_judged_on_held_out_episodes_and_learns_from_late_rewards(monkeypatch):
    worlds = []
    train = ablations.train_problem

    def watch(config, recorder, places, *, run_id, problem):
        learn_in = problem.learn_in
        late = replace(
            problem, learn_in=lambda *given: worlds.append(learn_in(*given)) or worlds[-1]
        )
        return train(config, recorder, places, run_id=run_id, problem=late)

    monkeypatch.setattr(ablations, "train_problem", watch)
    arm = ABLATIONS["reward"].second.shortened(1e-3)
    found = ablations.run_arm(arm, 0)
    assert isinstance(worlds[0], DelayedReward)
    assert found["held_out_sha256"] == make_problem(arm.config).held_out.sha256
    assert found["env_steps"] == found["curve"][-1][0] >= WHOLE * 30
    assert found["score"] == ablations.run_arm(arm, 0)["score"]


def test_the_page_is_the_stored_results():
    text = PAGE.read_text()
    assert text.split(BEGIN)[1].split(END)[0].strip() == write_results(stored_summaries())
    assert all((PAGE.parent / "pictures" / f"ablation-{one['ablation']}.png").is_file()
               for one in stored_summaries())  # fmt: skip


def test_the_table_has_a_line_for_every_ablation_run_or_not(tmp_path):
    found = compare([5.0, 6.1, 7.0], [1.0, 2.0, 3.0])
    header, rule, *lines = format_table([found]).splitlines()
    assert len(lines) == len(ABLATIONS)
    assert {line.count("|") for line in (header, rule, *lines)} == {8}
    assert [line for line in lines if NOT_RUN not in line] == [
        lines[list(ABLATIONS).index("dueling")]
    ]
    assert "+4.03 [" in lines[3]
    assert "dueling is better (3 seeds)" in lines[3]
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    fill_page([found], page)
    assert page.read_text() == f"before\n{BEGIN}\n\n{write_results([found])}\n\n{END}\nafter\n"
    assert (tmp_path / "pictures" / "ablation-dueling.png").read_bytes()[:4] == b"\x89PNG"


def test_asking_for_help_writes_no_page(monkeypatch):
    monkeypatch.setattr("benchmarks.ablation_page.fill_page", lambda *_: pytest.fail("written"))
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
