"""A priority rule sees the same in torch and NumPy, chooses what it may, and can be served."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from data.job_arrivals import JobArrivals, JobConfig
from data.scenario import BankConfig, FixedSource, ScenarioBank
from rl.artifacts import PolicyArtifact
from rl.deployment.priority_exporter import make_priority_artifact
from rl.deployment.view_exporter import ViewWorldConfig
from rl.deployment.view_policy import ViewPolicy
from rl.domains.job_priority import FEATURES, describe_choices, may_choose
from rl.domains.job_scheduling import JobSchedulingConfig, JobSchedulingDomain, JobView
from rl.environments.job_scheduling_environment import BatchedJobScheduling
from rl.environments.lockstep import LockstepOptions
from rl.environments.torch_tools import view_to_numpy
from utils.errors import ConfigError

SHIPPED = Path(__file__).parents[2] / "shipped" / "job_scheduling.safetensors"
CONFIG = JobSchedulingConfig(max_steps=60)
DOMAIN = JobSchedulingDomain(CONFIG)


@pytest.fixture
def env():
    scenarios = JobArrivals(JobConfig(arrival_rate=0.7)).draw(12, np.random.default_rng(5))
    bank = ScenarioBank(FixedSource(scenarios), BankConfig(num_episodes=12), 0)
    world = BatchedJobScheduling(CONFIG, bank, LockstepOptions(num_envs=12, shuffle=False), 0)
    world.reset(0)
    return world


def make_view(free, length, need):
    slots = CONFIG.window - len(length)
    return JobView(
        free=np.full((1, 2, CONFIG.horizon), free, np.float32),
        capacity=np.full((1, 2), 10, np.float32),
        length=np.asarray([[*length, *[0] * slots]]),
        need=np.asarray([[*need, *[(0, 0)] * slots]], np.float32),
        waited=np.zeros((1, CONFIG.window), np.int64),
        backlog=np.zeros(1, np.int64),
        arrivals_left=np.zeros(1, np.float32),
    )


def test_training_and_serving_see_the_same_and_some_choice_is_always_there(env):
    generator = torch.Generator().manual_seed(0)
    waited = False
    for _ in range(CONFIG.max_steps - 1):
        view = view_to_numpy(env.view)
        seen, may = (one(env.view, env.domain, torch) for one in (describe_choices, may_choose))
        served = describe_choices(view, DOMAIN, np)
        assert served.shape == (12, CONFIG.window + 1, len(FEATURES))
        assert served.dtype == np.float32
        assert np.allclose(seen.numpy(), served, atol=1e-6)
        assert np.array_equal(may.numpy(), may_choose(view, DOMAIN, np))
        assert may.any(1).all()
        choice = torch.where(may, torch.rand(may.shape, generator=generator), -1.0).argmax(1)
        waited |= bool(((choice == CONFIG.window) & may[:, :-1].any(1)).any())
        env.step(choice[:, None])
    assert waited


def test_features_are_what_their_names_say():
    view = make_view(6.0, [2, 12], [(5, 1), (2, 6)])
    jobs = dict(zip(FEATURES, describe_choices(view, DOMAIN, np)[0, 1], strict=True))
    assert jobs["brevity"] == pytest.approx(1 / 12)
    assert jobs["length"] == pytest.approx(12 / 20)
    assert jobs["largest_need"] == pytest.approx(0.6)
    assert jobs["mean_need"] == pytest.approx(0.4)
    assert jobs["alignment"] == pytest.approx((0.2 * 0.6 + 0.6 * 0.6) / 2)
    assert jobs["tightest_rest"] == pytest.approx(0.0)
    assert jobs["length_in_crowd"] == pytest.approx(0.6 * 2 / 20)
    assert jobs["always"] == 0
    waiting = dict(zip(FEATURES, describe_choices(view, DOMAIN, np)[0, -1], strict=True))
    assert waiting["always"] == 1
    assert waiting["free"] == pytest.approx(0.6)
    assert waiting["short_ones"] == pytest.approx(0.1)
    assert waiting["brevity"] == 0


def test_nobody_waits_in_an_empty_cluster_and_nobody_starts_what_does_not_fit():
    empty = may_choose(make_view(10.0, [2], [(5, 1)]), DOMAIN, np)[0]
    assert empty.tolist() == [True] + [False] * CONFIG.window
    busy = may_choose(make_view(6.0, [2, 3], [(5, 1), (7, 1)]), DOMAIN, np)[0]
    assert busy[[0, 1, -1]].tolist() == [True, False, True]
    nothing = may_choose(make_view(10.0, [], []), DOMAIN, np)[0]
    assert nothing.tolist() == [False] * CONFIG.window + [True]


def test_the_shipped_policy_holds_long_jobs_back_and_starts_short_ones():
    policy = ViewPolicy(PolicyArtifact.from_bytes(SHIPPED.read_bytes()))
    for length, wanted in ((15, CONFIG.window), (1, 0)):
        choice, usable = policy.act(make_view(6.0, [length], [(5, 1)]))
        assert usable.all()
        assert choice.tolist() == [wanted]
    choice, _ = policy.act(make_view(10.0, [15], [(5, 1)]))
    assert choice.tolist() == [0]


def test_weights_are_served_as_they_were_learned(env):
    shipped = PolicyArtifact.from_bytes(SHIPPED.read_bytes())
    weights = shipped.layers[0].weight[:, 0]
    policy = ViewPolicy(shipped)
    for _ in range(CONFIG.max_steps - 1):
        score = describe_choices(env.view, env.domain, torch) @ torch.as_tensor(weights)
        may = may_choose(env.view, env.domain, torch)
        choice = torch.where(may, score, -torch.inf).argmax(1)
        assert policy.act(view_to_numpy(env.view))[0].tolist() == choice.tolist()
        env.step(choice[:, None])


def test_numbers_that_are_none_are_not_used():
    view = make_view(6.0, [2], [(5, 1)])
    view.need[0, 0, 0] = np.nan
    _, usable = ViewPolicy(PolicyArtifact.from_bytes(SHIPPED.read_bytes())).act(view)
    assert not usable.any()


@pytest.mark.parametrize("weights", [np.ones(3), np.full(len(FEATURES), np.nan)])
def test_weights_that_do_not_fit_are_refused(weights):
    card = PolicyArtifact.from_bytes(SHIPPED.read_bytes()).card
    with pytest.raises(ConfigError, match="one finite weight"):
        make_priority_artifact(weights, ViewWorldConfig(world="{}", fields=()), card)


def test_it_is_served_without_torch():
    program = (
        "import sys; from pathlib import Path; from rl.artifacts import PolicyArtifact; "
        "from rl.deployment.view_policy import ViewPolicy; "
        "ViewPolicy(PolicyArtifact.from_bytes(Path(sys.argv[1]).read_bytes())); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(SHIPPED)], check=True)
