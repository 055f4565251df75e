"""Pictures of episodes: who plays in them, and that they are written."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from benchmarks.episode_pictures import EXPERTS, FOLDER, as_arrays, draw, main, play
from rl.environments import catalog
from rl.environments.catalog import PRESETS, make_world
from utils.errors import ConfigError

LARGEST_FILE = 80_000


def test_two_worlds_into_a_folder(tmp_path, capsys):
    main(["--worlds", "newsvendor", "execution", "--folder", str(tmp_path / "new")])
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "execution.png",
        "newsvendor.png",
    ]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["newsvendor", "execution"]
    assert all("random: -" in line for line in lines)
    assert "Almgren-Chriss: -" in lines[1]


def test_a_world_without_an_expert_is_drawn_with_random_actions(tmp_path, monkeypatch):
    monkeypatch.setitem(catalog.PRESETS, "new_world", PRESETS["newsvendor"])
    assert list(draw("new_world", tmp_path)) == ["random"]
    assert (tmp_path / "new_world.png").is_file()


def test_an_unknown_world_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ConfigError, match="no world 'chess'; there are shared_services, "):
        main(["--worlds", "chess", "--folder", str(tmp_path)])


def test_nothing_is_kept_after_the_last_reward():
    env = make_world("job_scheduling", num_envs=1, seed=0)
    history = play(env, EXPERTS["job_scheduling"].decide)
    assert history.num_steps < env.shape.num_steps
    assert history.series("reward")[-1] != 0


def test_all_play_the_same_episodes():
    env = make_world("newsvendor", num_envs=1, seed=0)
    first, second = (play(env, decide) for decide in (None, EXPERTS["newsvendor"].decide))
    assert first.series("demand").tolist() == second.series("demand").tolist()
    assert len(set(first.series("demand"))) > 5
    assert first.series("made_units").tolist() != second.series("made_units").tolist()
    assert (second.series("made_units") == 24).all()


@pytest.mark.parametrize("name", EXPERTS)
def test_experts_play_every_copy(name):
    env = make_world(name, num_envs=3, seed=1)
    record = env.step(EXPERTS[name].decide(env))
    assert record.reward.shape == (3, env.num_agents)
    assert record.reward.isfinite().all()


def test_views_inside_views_become_arrays():
    view = as_arrays(make_world("cluster_scheduling", num_envs=1).view)
    assert isinstance(view.fits, np.ndarray)
    assert isinstance(view.task.cpu, np.ndarray)


@pytest.mark.parametrize("name", PRESETS)
def test_the_stored_picture_is_small_and_wide_enough(name):
    path = FOLDER / f"{name}.png"
    assert path.stat().st_size < LARGEST_FILE
    with Image.open(path) as picture:
        assert picture.width >= 900
