"""Foreign environments of several agents: spaces, seeds, ends, who leaves, and bounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete
from mpe2 import simple_speaker_listener_v4, simple_spread_v3, simple_tag_v3
from pettingzoo import ParallelEnv

from rl.environments.conformance import check_environment
from rl.environments.pettingzoo_adapter import PettingZooAdapter
from utils.errors import ConfigError


class Party(ParallelEnv):
    """Two guests and a host; guest_0 leaves after step 2, the others after step 4.

    Guests see (episode, time), the host sees (episode, time, sum of the last actions). Everybody
    earns the sum of its own action, and the host 10 more.
    """

    metadata = {"name": "party"}  # noqa: RUF012

    def __init__(self, last_end="truncated", host_end=None, first_end="terminated"):
        self.possible_agents = ["guest_0", "guest_1", "host"]
        self.ends = {
            "guest_0": (2, first_end),
            "guest_1": (4, last_end),
            "host": (4, host_end or last_end),
        }
        self.spaces = {
            "guest_0": Box(np.array([-2.0, 0.0]), np.array([2.0, 10.0]), dtype=np.float64),
            "guest_1": Box(np.array([-2.0, 0.0]), np.array([2.0, 10.0]), dtype=np.float64),
            "host": Box(0.0, 1.0, (3, 1), np.float32),
        }
        self.episode = -1

    def observation_space(self, agent):
        return Box(-np.inf, np.inf, (3,) if agent == "host" else (2, 1))

    def action_space(self, agent):
        return self.spaces[agent]

    def look(self):
        guest = np.array([[self.episode], [self.time]], np.float64)
        host = np.array([self.episode, self.time, self.total])
        return {name: host if name == "host" else guest for name in self.agents}

    def reset(self, seed=None, options=None):
        self.episode = 0 if seed is not None else self.episode + 1
        self.time = self.total = 0
        self.agents = list(self.possible_agents)
        return self.look(), {name: {} for name in self.agents}

    def step(self, actions):
        assert set(actions) == set(self.agents)
        assert all(self.spaces[name].contains(action) for name, action in actions.items())
        self.time += 1
        self.actions = actions
        rewards = {name: float(action.sum()) for name, action in actions.items()}
        self.total = sum(rewards.values())
        rewards["host"] += 10
        ended, cut = (
            {
                name: self.time == self.ends[name][0] and self.ends[name][1] == kind
                for name in self.agents
            }
            for kind in ("terminated", "truncated")
        )
        seen = self.look()
        self.agents = [name for name in self.agents if not (ended[name] or cut[name])]
        return seen, rewards, ended, cut, {name: {} for name in seen}


class RandomParty(Party):
    """A party whose first look depends on the seed, as the rules want."""

    def reset(self, seed=None, options=None):
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        super().reset(seed, options)
        self.total = self.rng.random()
        return self.look(), {}


def constant(adapter, number=0.0):
    return torch.full((adapter.num_envs, 3, 3), number)


def play(adapter, steps, number=0.0):
    return [adapter.step(constant(adapter, number)) for _ in range(steps)]


def test_agents_alike_form_a_group_and_sizes_are_padded():
    adapter = PettingZooAdapter(Party, 2)
    record = adapter.reset(0)
    assert [(group.name, group.members) for group in adapter.groups] == [
        ("guest", (0, 1)),
        ("host", (2,)),
    ]
    assert [group.observation_size for group in adapter.groups] == [2, 3]
    assert [group.action.size for group in adapter.groups] == [2, 3]
    assert {(group.action.low, group.action.high) for group in adapter.groups} == {(-1.0, 1.0)}
    assert adapter.agent_ids == ("guest_0", "guest_1", "host")
    assert record.action_mask.tolist() == [[[1, 1, 0], [1, 1, 0], [1, 1, 1]]] * 2
    record = adapter.step(constant(adapter, 1.0))
    assert record.observation[0].tolist() == [[0, 1, 0], [0, 1, 0], [0, 1, 27]]
    assert record.reward.tolist() == [[12, 12, 13]] * 2
    assert record.observation.dtype == record.reward.dtype == torch.float32


def test_names_alike_with_other_sizes_are_other_groups():
    class Odd(Party):
        def observation_space(self, agent):
            return Box(-np.inf, np.inf, (3,) if agent == "guest_1" else (2, 1))

    groups = PettingZooAdapter(Odd, 1).groups
    assert [group.name for group in groups] == ["guest_0", "guest_1", "host"]


def test_who_leaves_early_is_no_longer_alive_and_the_others_go_on():
    adapter = PettingZooAdapter(Party, 2)
    assert adapter.reset(0).agent_alive.all()
    first, second, third, _ = play(adapter, 4, 1.0)
    assert first.agent_alive.all()
    assert second.agent_alive.tolist() == [[False, True, True]] * 2
    assert second.reward[0].tolist() == [12, 12, 13]
    assert second.observation[0, 0].tolist() == [0, 2, 0]
    assert not (second.terminated | second.truncated).any()
    assert third.agent_alive.tolist() == [[False, True, True]] * 2
    assert third.reward[0].tolist() == [0, 12, 13]
    assert third.observation[0, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("ending", ["terminated", "truncated"])
def test_the_last_observation_is_the_episodes_own(ending):
    adapter = PettingZooAdapter(lambda: Party(ending), 2)
    adapter.reset(0)
    records = play(adapter, 4, 1.0)
    for record in records[:3]:
        assert torch.equal(record.final_observation, record.observation)
        assert not (record.terminated | record.truncated).any()
    last = records[3]
    assert last.final_observation.tolist() == [[[0, 0, 0], [0, 4, 0], [0, 4, 15]]] * 2
    assert last.observation.tolist() == [[[1, 0, 0]] * 3] * 2
    assert last.agent_alive.all()
    assert last.reward[0].tolist() == [0, 12, 13]
    assert getattr(last, ending).all()
    assert not (last.terminated & last.truncated).any()


def test_one_who_is_cut_off_makes_the_end_a_truncation():
    adapter = PettingZooAdapter(lambda: Party("terminated", host_end="truncated"), 1)
    adapter.reset(0)
    last = play(adapter, 4)[-1]
    assert last.truncated.tolist() == [True]
    assert last.terminated.tolist() == [False]


def test_one_who_was_cut_off_before_does_not():
    class Chatty(Party):
        def step(self, actions):
            seen, rewards, ended, cut, infos = super().step(actions)
            return seen, rewards, {"guest_0": False} | ended, {"guest_0": True} | cut, infos

    adapter = PettingZooAdapter(lambda: Chatty("terminated", first_end="truncated"), 1)
    adapter.reset(0)
    assert play(adapter, 4)[-1].terminated.tolist() == [True]


def test_only_the_copies_that_ended_begin_anew():
    copies = iter(["truncated", "never"])
    adapter = PettingZooAdapter(lambda: Party(next(copies)), 2)
    adapter.reset(0)
    record = play(adapter, 4)[-1]
    assert record.truncated.tolist() == [True, False]
    assert record.observation[:, 1].tolist() == [[1, 0, 0], [0, 4, 0]]
    assert record.final_observation[:, 1].tolist() == [[0, 4, 0], [0, 4, 0]]
    assert record.agent_alive.tolist() == [[True] * 3, [False, True, True]]


@pytest.mark.parametrize(
    ("asked", "given"), [(-1.0, [-2, 0]), (0.0, [0, 5]), (1.0, [2, 10]), (9.0, [2, 10])]
)
def test_actions_are_clipped_and_stretched_to_each_agents_bounds(asked, given):
    env = Party()
    adapter = PettingZooAdapter(lambda: env, 1)
    adapter.reset(0)
    adapter.step(constant(adapter, asked))
    assert env.actions["guest_0"].tolist() == given
    assert env.actions["host"].tolist() == [[np.clip(asked, -1, 1) / 2 + 0.5]] * 3


def test_a_reset_in_the_middle_brings_everybody_back():
    adapter = PettingZooAdapter(Party, 1)
    adapter.reset(0)
    play(adapter, 2)
    record = adapter.reset()
    assert record.agent_alive.all()
    assert record.observation[0, 1].tolist() == [1, 0, 0]


def test_who_stays_away_from_an_episode_is_not_alive_in_it():
    class Shy(Party):
        def reset(self, seed=None, options=None):
            super().reset(seed, options)
            if self.episode == 1:
                self.agents.remove("guest_1")
            return self.look(), {}

    adapter = PettingZooAdapter(Shy, 1)
    adapter.reset(0)
    last = play(adapter, 4)[-1]
    assert last.agent_alive.tolist() == [[True, False, True]]
    assert last.observation[0].tolist() == [[1, 0, 0], [0, 0, 0], [1, 0, 0]]
    assert play(adapter, 4)[-1].truncated.all()


def test_copies_begin_with_seeds_of_their_own():
    adapter = PettingZooAdapter(RandomParty, 2)
    first = adapter.reset(0).observation
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, adapter.reset(1).observation)
    assert torch.equal(first, adapter.reset(0).observation)
    assert torch.equal(first, PettingZooAdapter(RandomParty, 2, seed=0).reset().observation)


def test_without_a_state_of_its_own_all_observations_are_the_state():
    adapter = PettingZooAdapter(Party, 2)
    adapter.reset(0)
    record = play(adapter, 3, 1.0)[-1]
    assert adapter.state_size == 7
    assert record.global_state.tolist() == [[0, 0, 0, 3, 0, 3, 15]] * 2


def test_the_environments_own_state_is_the_state():
    class Stateful(Party):
        def state(self):
            return np.array([[self.time, -1.0]])

    adapter = PettingZooAdapter(Stateful, 2)
    assert adapter.state_size == 2
    adapter.reset(0)
    assert play(adapter, 1)[-1].global_state.tolist() == [[1, -1]] * 2


WORLDS = {
    "spread": simple_spread_v3,
    "speaker_listener": simple_speaker_listener_v4,
    "tag": simple_tag_v3,
}


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("name", WORLDS)
def test_mpe_keeps_the_rules(name, continuous):
    def make():
        return PettingZooAdapter(
            lambda: WORLDS[name].parallel_env(max_cycles=5, continuous_actions=continuous), 2
        )

    check_environment(make, num_steps=11, max_steps=5, exact_resume=False)


def test_early_leavers_keep_the_rules():
    def make():
        return PettingZooAdapter(RandomParty, 2)

    check_environment(make, num_steps=11, max_steps=4, exact_resume=False)


@pytest.mark.parametrize("continuous", [False, True])
def test_it_plays_what_the_environment_alone_plays(continuous):
    def make():
        return simple_speaker_listener_v4.parallel_env(max_cycles=4, continuous_actions=continuous)

    wrapped, alone = make(), make()
    adapter = PettingZooAdapter(lambda: wrapped, 1, seed=3)
    assert [group.name for group in adapter.groups] == ["speaker", "listener"]
    adapter.reset()
    alone.reset(seed=0)
    alone.unwrapped.np_random.bit_generator.state = wrapped.unwrapped.np_random.bit_generator.state
    seen, _ = alone.reset()
    record = adapter.reset()
    rng = np.random.default_rng(0)
    for _ in range(9):
        assert np.array_equal(record.observation[0, 0, :3], seen["speaker_0"])
        assert np.array_equal(record.observation[0, 1], seen["listener_0"])
        assert np.array_equal(record.global_state[0], alone.state())
        if continuous:
            share = rng.random((2, 5), dtype=np.float32)
            action = torch.from_numpy(share[None] * 2 - 1)
            native = {"speaker_0": share[0, :3], "listener_0": share[1]}
        else:
            action = torch.tensor([[rng.integers(3), rng.integers(5)]])
            native = {"speaker_0": action[0, 0].item(), "listener_0": action[0, 1].item()}
        seen, rewards, *_ = alone.step(native)
        record = adapter.step(action)
        assert record.reward[0].tolist() == pytest.approx(list(rewards.values()), abs=1e-6)
        if not alone.agents:
            assert record.truncated.all()
            assert np.array_equal(record.final_observation[0, 1], seen["listener_0"])
            seen, _ = alone.reset()


def test_discrete_choices_start_where_the_space_says():
    class Shifted(Party):
        def __init__(self):
            super().__init__()
            self.spaces = {
                "guest_0": Discrete(2, start=5),
                "guest_1": Discrete(2),
                "host": Discrete(3),
            }

        def step(self, actions):
            return super().step({name: np.int64(one) for name, one in actions.items()})

    adapter = PettingZooAdapter(Shifted, 2)
    adapter.reset(0)
    assert adapter.reset().action_mask[0].tolist() == [[1, 1, 0], [1, 1, 0], [1, 1, 1]]
    record = adapter.step(torch.tensor([[0, 0, 0], [1, 1, 2]]))
    assert record.reward.tolist() == [[5, 0, 10], [6, 1, 12]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observation_space": lambda *_: Dict({"x": Box(0, 1, (1,))})}, "observation space"),
        ({"observation_space": lambda *_: Discrete(3)}, "observation space"),
        ({"action_space": lambda *_: Box(-np.inf, np.inf, (1,))}, "action space"),
        (
            {"action_space": lambda _, name: Discrete(2) if name == "host" else Box(0, 1, (1,))},
            "mixes",
        ),
        ({"agent_iter": None}, "parallel_env"),
    ],
)
def test_other_spaces_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        PettingZooAdapter(type("Wrong", (Party,), change), 1)


def test_no_copies_are_refused():
    with pytest.raises(ConfigError, match="num_envs"):
        PettingZooAdapter(Party, 0)


def test_it_says_that_it_cannot_be_saved():
    adapter = PettingZooAdapter(Party, 1)
    assert adapter.resume == "approximate"
    adapter.load_state_dict(adapter.state_dict())
    with pytest.raises(ConfigError, match="another kind"):
        adapter.load_state_dict({"time": torch.zeros(1)})


def test_the_last_state_of_an_episode_is_not_the_first_of_the_next():
    world = PettingZooAdapter(lambda: simple_spread_v3.parallel_env(max_cycles=3), 2, seed=0)
    record = world.reset(0)
    for _ in range(3):
        record = world.step(torch.zeros(2, world.num_agents, dtype=torch.int64))
    assert record.truncated.all()
    assert not torch.equal(record.final_global_state, record.global_state)
    assert torch.equal(record.final_global_state, record.final_observation.flatten(1))
