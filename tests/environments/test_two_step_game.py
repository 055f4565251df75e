"""The QMIX paper's game pays what its figure says, and keeps the rules of every world."""

from __future__ import annotations

import itertools

import pytest
import torch

from rl.environments.conformance import check_environment
from rl.environments.lockstep import LockstepOptions
from rl.environments.two_step_game import TWO_STEP_PAYOFF, BatchedTwoStepGame
from utils.errors import ConfigError

CLIMBING = (((11.0, -30.0, 0.0), (-30.0, 7.0, 6.0), (0.0, 0.0, 5.0)),)


def make_game(copies=4, payoff=TWO_STEP_PAYOFF):
    return BatchedTwoStepGame(LockstepOptions(num_envs=copies), 0, payoff=payoff)


@pytest.mark.parametrize("payoff", [TWO_STEP_PAYOFF, CLIMBING], ids=["two steps", "one matrix"])
def test_the_game_conforms(payoff):
    # One seed: the game has no chance in it, so no two seeds can differ.
    check_environment(lambda: make_game(payoff=payoff), num_steps=12, seeds=(0,))


def test_every_way_through_the_game_pays_what_the_paper_says():
    ways = list(itertools.product((0, 1), repeat=4))
    game = make_game(len(ways))
    action = torch.tensor(ways)
    begin = game.reset()
    middle = game.step(action[:, :2])
    end = game.step(action[:, 2:])
    wanted = [TWO_STEP_PAYOFF[way[0]][way[2]][way[3]] for way in ways]

    assert begin.global_state.tolist() == [[0, 0, 1]] * len(ways)
    assert middle.global_state.tolist() == [[1 - way[0], way[0], 0] for way in ways]
    assert torch.equal(middle.observation[:, 1], middle.global_state)
    assert (middle.reward == 0).all()
    assert not middle.terminated.any()
    assert end.reward.sum(-1).tolist() == wanted
    assert max(wanted) == 8
    assert end.metrics["payoff"].tolist() == wanted
    assert end.terminated.all()
    assert not end.truncated.any()
    assert (end.final_observation == 0).all()
    assert torch.equal(end.observation, begin.observation)


def test_one_matrix_is_a_game_of_one_step():
    game = make_game(9, CLIMBING)
    record = game.step(torch.tensor(list(itertools.product(range(3), repeat=2))))
    assert record.reward.sum(-1).tolist() == [11, -30, 0, -30, 7, 6, 0, 0, 5]
    assert record.terminated.all()


@pytest.mark.parametrize("payoff", [(((1.0, 2.0),),), (((1.0, 2.0), (3.0, 4.0)),) * 3])
def test_payoffs_that_are_no_game_are_refused(payoff):
    with pytest.raises(ConfigError, match="one square matrix, or one per choice"):
        make_game(payoff=payoff)
