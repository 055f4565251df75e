"""Pictures and text of an episode: what is in them is what was played."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rl.environments.base_environment import Chart
from rl.environments.registration import (
    RESOURCE_ALLOCATION_ID,
    make_planner,
    register_environments,
)
from rl.environments.rendering import EpisodeHistory, draw_episodes, render_picture, render_text
from utils.errors import ConfigError


def play(environment, steps):
    environment.reset(seed=0)
    environment.action_space.seed(0)
    rewards = [environment.step(environment.action_space.sample())[1] for _ in range(steps)]
    return np.cumsum(rewards)


def test_text_shows_the_newest_figures():
    environment = make_planner(max_steps=8, render_mode="ansi")
    returns = play(environment, 5)
    text = environment.render()
    assert text.startswith("step 5\n")
    newest = next(line for line in text.splitlines() if line.startswith("  return"))
    assert float(newest.split()[1].replace(",", "")) == pytest.approx(returns[-1], rel=1e-3)
    assert "served_work" in text
    assert "work waiting [units]" in text


def test_a_reset_begins_a_new_picture():
    environment = make_planner(max_steps=8, render_mode="ansi")
    play(environment, 8)
    environment.reset()
    assert environment.render().startswith("step 0\n")


def test_bars_follow_the_series():
    history = EpisodeHistory((Chart(title="load", metrics=("load",)),))
    history._values = {"reward": [1.0] * 4, "load": [0.0, 7.0, 3.5, 0.0]}
    assert "▁█▅▁" in render_text(history)


def test_picture_has_one_size_and_changes_with_the_episode():
    environment = make_planner(max_steps=8, render_mode="rgb_array")
    environment.reset(seed=0)
    empty = environment.render()
    play(environment, 6)
    played = environment.render()
    assert played.dtype == np.uint8
    assert played.shape == empty.shape
    assert played.shape[2] == 3
    assert (played != empty).any()


def test_picture_draws_every_series_of_every_player():
    history = EpisodeHistory((Chart(title="load", metrics=("load", "room"), unit="units"),))
    history._values = {"reward": [1.0, 2.0], "load": [3.0, 4.0], "room": [5.0, 6.0]}
    expert = EpisodeHistory(history.charts[1:])
    expert._values = {"reward": [2.0, 3.0], "load": [3.0, 4.0], "room": [7.0, 9.0]}
    figure = draw_episodes({"agent": history, "expert": expert}, "who is better?")
    total, load = figure.axes[:2]
    assert [line.get_ydata().tolist() for line in total.lines] == [[1, 3], [2, 5]]
    assert [line.get_ydata().tolist() for line in load.lines] == [[3, 4], [5, 6], [7, 9]]
    same, *others = (line.get_color() for line in load.lines)
    assert same == "black"
    assert others == [line.get_color() for line in total.lines]
    assert words(load.get_legend()) == ["load", "room"]
    assert words(figure.legends[0]) == ["agent", "expert"]


def test_sums_are_drawn_as_sums():
    chart = Chart(title="cost so far", metrics=("cost",), is_sum=True)
    history = EpisodeHistory((chart,))
    history._values = {"reward": [0.0] * 3, "cost": [1.0, 2.0, 4.0]}
    assert draw_episodes({"": history}, "").axes[1].lines[0].get_ydata().tolist() == [1, 3, 7]
    assert "7  ▁▃█" in render_text(history)


def test_long_episodes_are_drawn_as_means_that_keep_the_mean():
    history = EpisodeHistory((Chart(title="load", metrics=("load",)),))
    load = np.random.default_rng(0).random(1_005)
    history._values = {"reward": [0.0] * 1_005, "load": load.tolist()}
    panel = draw_episodes({"": history}, "").axes[1]
    steps, drawn = (np.asarray(one) for one in panel.lines[0].get_data())
    assert steps[-1] == 1_005
    assert drawn[0] == pytest.approx(load[:11].mean())
    assert (drawn * np.diff(steps, prepend=0)).sum() == pytest.approx(load.sum())
    assert panel.get_xlabel() == "step (means of 11)"


@pytest.mark.parametrize(("large", "scale"), [(20.0, "linear"), (40.0, "symlog"), (1e6, "linear")])
def test_a_small_series_is_not_hidden_by_a_large_one_unless_it_is_rounding(large, scale):
    small, big = (EpisodeHistory((Chart(title="load", metrics=("load",)),)) for _ in range(2))
    small._values = {"reward": [0.0, 0.0], "load": [-1.0, 1.0]}
    big._values = {"reward": [0.0, 0.0], "load": [0.0, large]}
    panel = draw_episodes({"big": big, "small": small}, "").axes[1]
    assert panel.get_yscale() == scale
    assert ("log scale" in panel.get_title()) == (scale == "symlog")


@pytest.mark.parametrize("value", [0.0, 5.0])
def test_a_flat_series_is_not_blown_up(value):
    history = EpisodeHistory((Chart(title="load", metrics=("load",)),))
    history._values = {"reward": [1.0, 2.0], "load": [value, value * (1 + 1e-7)]}
    low, high = draw_episodes({"": history}, "").axes[1].get_ylim()
    assert low < value < high
    assert high - low >= 0.2 * max(value, 1.0)


def words(legend):
    return [text.get_text() for text in legend.get_texts()]


def test_a_chart_of_an_unknown_metric_says_what_there_is():
    history = EpisodeHistory((Chart(title="load", metrics=("lod",)),))
    history._values = {"reward": [1.0], "load": [3.0]}
    with pytest.raises(ConfigError, match="no figure 'lod'; there are reward, load"):
        render_picture(history, "")


def test_faces_pass_gymnasium_s_render_checks():
    register_environments()
    environment = gymnasium.make(
        RESOURCE_ALLOCATION_ID, max_steps=8, render_mode="rgb_array", disable_env_checker=True
    )
    check_env(environment.unwrapped)


def test_nobody_looks_nothing_is_kept():
    environment = make_planner(max_steps=8)
    play(environment, 3)
    assert environment.render() is None


def test_unknown_mode_is_refused():
    with pytest.raises(ConfigError, match="render_mode 'human'; known: None, ansi, rgb_array"):
        make_planner(render_mode="human")
