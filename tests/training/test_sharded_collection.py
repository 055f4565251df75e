"""A run in shards: the same wherever they run, and as if nothing had been when it is resumed."""

from __future__ import annotations

import os
import signal
from dataclasses import fields, replace
from unittest import mock

import pytest
import torch

from data.scenario import ScenarioBank
from rl.algorithms.policy_state import StateMismatchError
from rl.algorithms.ppo_config import PPOConfig
from rl.algorithms.sac_config import SACConfig
from rl.environments.lockstep import LockstepOptions, worlds_on
from rl.training import curriculum_scheduler, sharding
from rl.training.agents import make_agent
from rl.training.checkpointing import CheckpointFolder, load_checkpoint
from rl.training.collection_shard import CollectionShard, ShardOrder, acting_state, mark_data
from rl.training.learning_settings import LearningSettings
from rl.training.problems import make_problem
from rl.training.rollout import RolloutSummary
from rl.training.run_resumption import check_resumable
from rl.training.shard_lines import InlineLine, ProcessLine, open_processes
from rl.training.shard_service import ShardService
from rl.training.sharded_collection import ShardedWorlds, ShardError, join_summaries
from rl.training.trainer import Trainer, TrainerConfig
from rl.training.training_config import TrainingConfig
from rl.training.training_run import train_problem
from tests.training.shard_runs import CONFIG, Watch, assert_same, go_on, tensors_of
from tests.training.small_problems import make_small, places_in
from utils.config import to_json
from utils.errors import ConfigError, ProcessLostError
from utils.seeding import derive_seed

UPDATES = 6
IN_PROCESSES = replace(CONFIG, collection_place="process")
LEARNING = CONFIG.settings.ppo


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run in this process that nothing disturbed."""
    return go_on(tmp_path_factory.mktemp("whole"), UPDATES)


@pytest.fixture
def started():
    """The lines to the processes that a run starts."""
    lines = []

    def spy(devices):
        lines.extend(open_processes(devices))
        return lines[-len(devices) :]

    with mock.patch.object(sharding, "open_processes", spy):
        yield lines


def order(index, **more):
    return ShardOrder(
        run=CONFIG, learning=LEARNING, num_envs=2, rollout_steps=8, index=index, **more
    )


def make_run_agent(problem, learning=LEARNING):
    bank = ScenarioBank(problem.training, problem.bank, 0)
    return make_agent(learning, problem.learn_in(bank, 1, 0), seed=1)


# The same wherever


@pytest.mark.slow
def test_processes_give_the_same_as_one(whole, started, tmp_path):
    watch = go_on(tmp_path, UPDATES, config=IN_PROCESSES)
    assert_same(tensors_of(watch), tensors_of(whole))
    assert watch.figures == whole.figures
    assert len({line.pid for line in started} - {os.getpid()}) == 2
    assert all(line._process.poll() is not None for line in started), "nobody is left behind"


@pytest.mark.slow
def test_a_killed_shard_ends_the_attempt_and_the_next_one_ends_as_if_nothing_had_been(
    whole, started, tmp_path
):
    """And elsewhere: it began in processes, and goes on in this one."""
    config = replace(IN_PROCESSES, checkpoint_frequency=1)
    watch = Watch(UPDATES, before={4: lambda: os.kill(started[1].pid, signal.SIGKILL)})
    with pytest.raises(ProcessLostError, match=r"shard 1 of 2 is gone: process \d+ .*code -9"):
        train_problem(config, watch, places_in(tmp_path), run_id="r")
    assert all(line._process.poll() is not None for line in started), "nobody is left behind"
    done = watch.last.env_steps // watch.figures[0][0]
    assert 1 < done < UPDATES
    second = go_on(tmp_path, UPDATES - done, resume=watch.last)
    assert_same(tensors_of(second), tensors_of(whole))
    assert watch.figures[:done] + second.figures == whole.figures
    dealt = [tensors_of(one)["environment.shard1.world.dealt"] for one in (watch, second)]
    assert dealt[0][2] < dealt[1][2], "the bank was drawn anew meanwhile"


def test_a_stopped_run_goes_on_as_if_nothing_had_been(whole, tmp_path):
    first = go_on(tmp_path, 2)
    assert tensors_of(first)["environment.shard1.world.time"] != 0, "in the middle of an episode"
    second = go_on(tmp_path, UPDATES - 2, resume=first.last)
    assert_same(tensors_of(second), tensors_of(whole))
    assert first.figures + second.figures == whole.figures


def test_another_number_of_shards_is_another_run(whole, tmp_path):
    config = replace(CONFIG, collection_shards=4)
    other = tensors_of(go_on(tmp_path, UPDATES, config=config))
    weights = [name for name in tensors_of(whole) if name.startswith("agent.network")]
    assert not all(torch.equal(other[name], tensors_of(whole)[name]) for name in weights)
    with pytest.raises(StateMismatchError, match=r"2 shards, here are 4.*collection_shards=2"):
        go_on(tmp_path / "resumed", 1, resume=whole.last, config=config)
    unsharded = go_on(tmp_path / "one", 1, config=replace(CONFIG, collection_shards=1))
    with pytest.raises(StateMismatchError, match="shards"):
        go_on(tmp_path / "two", 1, resume=unsharded.last)


def test_one_shard_is_a_run_as_it_always_was(tmp_path):
    """Put together by hand from the parts that know nothing of shards."""
    config = replace(CONFIG, collection_shards=1)
    ours = tensors_of(go_on(tmp_path / "ours", 3, config=config))
    problem = make_problem(config)
    seed = derive_seed(config.seed, "training bank")
    bank = ScenarioBank(problem.training, config.bank_of(problem.bank), seed)
    world = problem.learn_in(bank, config.num_envs, config.seed)
    agent = make_agent(LEARNING, world, seed=derive_seed(config.seed, "agent"))
    watch = Watch(3)
    total = config.total_episodes * problem.episode_steps
    folder = CheckpointFolder(tmp_path / "theirs")
    trainer = TrainerConfig(total_env_steps=total, rollout_steps=64, seed=config.seed)
    Trainer(trainer, world, agent, watch, checkpoints=folder).train()
    assert_same(ours, tensors_of(watch))


def test_a_curriculum_reaches_the_shards_and_is_resumed(tmp_path):
    """Stages are left in both halves; each shard draws the scenarios of the place itself."""
    config = TrainingConfig(
        environment="resource_allocation",
        algorithm="ppo",
        num_envs=4,
        num_agents=2,
        total_episodes=80,
        eval_frequency=0,
        checkpoint_frequency=0,
        use_curriculum=True,
        collection_shards=2,
        seed=5,
    )
    problem = make_small(config)
    with mock.patch.object(curriculum_scheduler, "MIN_SCORES", 2):
        once = go_on(tmp_path / "once", 5, config=config, problem=problem)
        first = go_on(tmp_path / "twice", 2, config=config, problem=problem)
        second = go_on(tmp_path / "twice", 3, resume=first.last, config=config, problem=problem)
    assert_same(tensors_of(second), tensors_of(once))
    stages = {}
    for name, watch in (("first", first), ("second", second)):
        fields_ = load_checkpoint(watch.last.path, watch.last.sha256).fields
        stages[name] = len(fields_["curriculum"]["driver"]["entries"])
    assert 1 < stages["first"] < stages["second"]
    for shard in range(2):
        own = derive_seed(derive_seed(config.seed, "collection shard", shard), "curriculum")
        _, bank_seed, _ = tensors_of(once)[f"environment.shard{shard}.world.dealt"]
        assert bank_seed == derive_seed(own, "curriculum/bank", stages["second"] - 1)


# Blocks


def test_blocks_are_joined_in_the_order_of_the_shards_and_each_has_its_own_chance():
    problem = make_problem(CONFIG)
    agent = make_run_agent(problem)
    worlds = ShardedWorlds([InlineLine(ShardService(problem)) for _ in range(2)], agent)
    worlds.open([order(0), order(1)], {}, data=mark_data(problem))
    block, summary = worlds.collect()
    parts = []
    for index in range(2):
        shard = CollectionShard(order(index), problem, tuple)
        parts.append(shard.collect(acting_state(agent)))
        for field in fields(block):
            axis = 0 if field.name == "memory" else 1
            ours = getattr(block, field.name).narrow(axis, 2 * index, 2)
            assert torch.equal(ours, parts[index][0][field.name]), field.name
    assert summary == join_summaries([part[1] for part in parts])
    assert summary.env_steps == 32
    assert not torch.equal(block.observation[0, :2], block.observation[0, 2:])
    generators = [worlds.state_dict()[f"shard{index}.generator"] for index in range(2)]
    assert not torch.equal(*generators)
    torch.testing.assert_close(block.value, agent.value(block.observation))
    torch.testing.assert_close(block.cost_value, agent.cost_value(block.observation))


def test_summaries_are_weighed_by_episodes():
    def part(episodes, mean_return, load):
        return RolloutSummary(
            env_steps=8,
            episodes=episodes,
            mean_return=mean_return,
            mean_length=None if mean_return is None else 4.0,
            metrics={"load": load},
        )

    joined = join_summaries([part(3, 1.0, 0.5), part(0, None, 0.25), part(1, 5.0, 0.0)])
    assert (joined.env_steps, joined.episodes) == (24, 4)
    assert (joined.mean_return, joined.mean_length) == (2.0, 4.0)
    assert joined.metrics == {"load": 0.25}
    assert join_summaries([part(0, None, 1.0)]).mean_return is None


def test_after_a_rollback_each_shard_begins_other_episodes():
    problem = make_problem(CONFIG)
    agent = make_run_agent(problem)
    worlds = ShardedWorlds([InlineLine(ShardService(problem)) for _ in range(2)], agent)
    worlds.open([order(0), order(1)], {}, data=mark_data(problem))
    first = worlds.collect()[0].observation[0]
    agent.update(worlds.collect()[0])
    assert agent.objective.reward_scaler.trace.any()
    worlds.begin_again(7)
    assert not agent.objective.reward_scaler.trace.any()
    again = worlds.collect()[0].observation[0]
    worlds.begin_again(7)
    assert torch.equal(worlds.collect()[0].observation[0], again)
    assert not torch.equal(first, again)
    state = worlds.state_dict()
    assert not torch.equal(*(state[f"shard{index}.world.generator"] for index in range(2)))


@pytest.mark.learning
def test_ppo_learns_from_shards_what_it_learns_from_one(tmp_path):
    def train(shards):
        config = TrainingConfig(
            environment="newsvendor",
            algorithm="ppo",
            settings=LearningSettings(ppo=PPOConfig(learning_rate=1e-2, hidden_dims=(16,))),
            num_envs=32,
            total_episodes=32 * 64 * 12,
            eval_frequency=32 * 64 * 4,
            collection_shards=shards,
        )
        places = places_in(tmp_path / str(shards))
        result = train_problem(config, Watch(-1), places, run_id="r")
        rows = {row.name: row.kpi.mean for row in result.tables[0].rows}
        return rows["ppo"], rows["random"]

    (one, chance), (two, same_chance) = train(1), train(2)
    assert chance == same_chance
    assert one > chance
    assert two - chance > 0.9 * (one - chance)


# What goes wrong


def test_a_process_ends_when_its_run_does():
    line = ProcessLine()
    line._pipe.close()
    assert line._process.wait(60) == 0
    with pytest.raises(ProcessLostError, match="has hung up"):
        line.send(b"")
    line.close()


def test_what_fails_in_a_shard_is_raised_here_once_all_have_answered():
    problem = make_problem(CONFIG)
    agent = make_run_agent(problem)
    lines = [InlineLine(ShardService(problem)) for _ in range(2)]
    worlds = ShardedWorlds(lines, agent)
    with pytest.raises(ConfigError, match="shard 0 in this process: this shard was not opened"):
        worlds.collect()
    with pytest.raises(ConfigError, match=r"other data to train on.*same traces"):
        worlds.open([order(0), order(1)], {}, data="0" * 64)
    worlds.open([order(0), order(1)], {}, data=mark_data(problem))
    with (
        mock.patch.object(CollectionShard, "collect", side_effect=ZeroDivisionError("oh")),
        pytest.raises(ShardError, match=r"shard 0 (.|\n)*ZeroDivisionError: oh"),
    ):
        worlds.collect()
    saved = worlds.state_dict()
    del saved["shard1.generator"]
    with pytest.raises(StateMismatchError, match=r"shard 1.*generator"):
        worlds.load_state_dict(saved)


@pytest.mark.parametrize(
    ("fault", "changes"),
    [
        (
            "collection_shards=2: algorithm=sac collects in one piece; choose collection_shards=1",
            {"algorithm": "sac", "settings": LearningSettings(sac=SACConfig())},
        ),
        ("collection_shards=2: algorithm=apg", {"algorithm": "apg"}),
        ("num_envs=5 evenly: choose num_envs=4", {"num_envs": 5}),
        ("num_envs=1 evenly: choose num_envs=2", {"num_envs": 1}),
        ("collection_shards=0: choose at least 1", {"collection_shards": 0}),
        (
            "collection_place='proces' is unknown: did you mean process",
            {"collection_place": "proces"},
        ),
        ("'gpu' is no device; write cpu, cuda", {"collection_devices": ("gpu", "cpu")}),
        ("name one for each of the 2 shards", {"collection_devices": ("cpu",)}),
        (
            "collection_place=ray, but there is nothing to place",
            {"collection_shards": 1, "collection_place": "ray"},
        ),
        (
            "collection_devices=.*, but there is nothing to place",
            {"collection_shards": 1, "collection_devices": ("cpu",)},
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(fault, changes):
    with pytest.raises(ConfigError, match=fault.replace("[", r"\[")):
        replace(CONFIG, **changes)


def refused(folder, *, problem=None, agent=None, **changes):
    config = replace(CONFIG, **changes)
    train_problem(config, Watch(1), places_in(folder), run_id="r", problem=problem, agent=agent)


def test_runs_that_cannot_be_sharded_are_refused(tmp_path):
    problem = make_problem(CONFIG)
    memory = LearningSettings(ppo=PPOConfig(memory_size=4))
    with pytest.raises(ConfigError, match=r"memory_size=4\) collects in one piece"):
        refused(tmp_path, settings=memory)
    with pytest.raises(ConfigError, match="collection_shards=3 cannot share num_envs=16"):
        refused(tmp_path, num_envs=None, collection_shards=3)
    with pytest.raises(ConfigError, match="collection_place=process: a problem of your own"):
        refused(tmp_path, problem=problem, collection_place="process")
    with pytest.raises(ConfigError, match="collection_place=ray: nobody gave this process a way"):
        refused(tmp_path, collection_place="ray")
    with pytest.raises(ConfigError, match=r"collection_shards=2: .*leave the agent out"):
        refused(tmp_path, agent=make_run_agent(problem))


def test_a_stored_run_goes_on_in_another_place_but_not_in_other_shards():
    stored = to_json(CONFIG)
    check_resumable("r", replace(CONFIG, collection_place="process"), stored)
    with pytest.raises(ConfigError, match="collection_shards=4, but run r was started with 2"):
        check_resumable("r", replace(CONFIG, collection_shards=4), stored)
    older = {name: value for name, value in stored.items() if "collection" not in name}
    check_resumable("r", replace(CONFIG, collection_shards=1), older)


# Devices


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_a_device_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"shard 1 in .*collection_devices.* no cuda:7"):
        refused(tmp_path, collection_devices=("cpu", "cuda:7"))


def test_each_shard_has_its_device(tmp_path):
    with worlds_on("cuda:1"):
        assert LockstepOptions().device == "cuda:1"
        assert LockstepOptions(device="cpu").device == "cpu"
    assert LockstepOptions().device == "cpu"
    shard = CollectionShard(order(0, device="cpu:0"), make_problem(CONFIG), tuple)
    assert shard._world.options.device == "cpu:0"


def test_a_world_that_stays_on_the_cpu_is_refused_elsewhere():
    problem = make_problem(CONFIG)
    here = replace(problem, learn_in=lambda *given: make_problem(CONFIG).learn_in(*given))
    with (
        mock.patch("rl.training.collection_shard.check_device"),
        mock.patch("rl.training.collection_shard.worlds_on"),
        pytest.raises(ConfigError, match="played on cpu only, not on cuda"),
    ):
        CollectionShard(order(0, device="cuda"), here, tuple)
