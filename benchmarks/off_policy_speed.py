"""Steps per second of DQN, SAC and TD3 in one copy, beside Stable-Baselines3 in the same run.

Run `python -m benchmarks.off_policy_speed`: a table, and JSON in
benchmarks/results/off_policy_speed.json. `--only dqn` measures one of them. Both libraries use one
torch thread and take turns; medians of five. On a busy machine read the column of CPU seconds. The
share of matrix products is what those of one update take in a bare loop, by what a step takes with
its share of an update: the distance to the limit of this CPU.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.measuring import REPEATS, RESULTS, write_report
from benchmarks.peer_python import run_peer
from rl.algorithms.dqn_agent import DQNAgent
from rl.algorithms.dqn_config import DQNConfig
from rl.algorithms.sac_agent import SACAgent
from rl.algorithms.sac_config import SACConfig
from rl.algorithms.td3_agent import TD3Agent
from rl.algorithms.td3_config import TD3Config
from rl.environments.adapter import GymnasiumAdapter
from rl.training.recorder import NullRecorder
from rl.training.trainer import Trainer, TrainerConfig

Agent = DQNAgent | SACAgent | TD3Agent


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One row of the table; everything else is as the peer has it."""

    name: str
    environment: str
    observation: int
    outputs: int
    """Choices, or dimensions of an action."""
    hidden: int
    batch: int
    train_frequency: int
    bar: float
    """Times the peer's speed that is asked for."""
    learning_starts: int
    warmup: int
    """Steps before those that are timed."""
    steps: int


SETTINGS = (
    Setting(
        name="dqn", environment="CartPole-v1", observation=4, outputs=2, hidden=64, batch=64,
        train_frequency=4, bar=2.0, learning_starts=100, warmup=1000, steps=6000,
    ),
    Setting(
        name="sac", environment="Pendulum-v1", observation=3, outputs=1, hidden=256, batch=256,
        train_frequency=1, bar=1.4, learning_starts=100, warmup=150, steps=400,
    ),
    Setting(
        name="td3", environment="Pendulum-v1", observation=3, outputs=1, hidden=256, batch=256,
        train_frequency=1, bar=1.4, learning_starts=100, warmup=150, steps=500,
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Of one run."""

    steps_per_second: float
    steps_per_cpu_second: float


def make_agent(setting: Setting) -> Agent:
    """Return an agent that learns as the peer's does.

    Args:
        setting: Sizes.
    """
    sizes = (setting.observation, setting.outputs)
    hidden = (setting.hidden, setting.hidden)
    if setting.name == "dqn":
        config = DQNConfig(
            hidden_dims=hidden,
            batch_size=setting.batch,
            train_frequency=setting.train_frequency,
            learning_starts=setting.learning_starts,
            double=False,
            dueling=False,
            epsilon_end=0.05,
            epsilon_decay_steps=setting.steps // 100,
        )
        return DQNAgent("speed", *sizes, config, seed=0)
    if setting.name == "sac":
        soft = SACConfig(
            hidden_dims=hidden,
            batch_size=setting.batch,
            learning_starts=setting.learning_starts,
            buffer_size=100_000,
        )
        return SACAgent("speed", *sizes, soft, seed=0)
    twin = TD3Config(
        hidden_dims=hidden,
        batch_size=setting.batch,
        learning_starts=setting.learning_starts,
        buffer_size=100_000,
    )
    return TD3Agent("speed", *sizes, twin, seed=0)


def our_speed(setting: Setting) -> Speed:
    """Train for a while, then time some steps, through the trainer that users call.

    Args:
        setting: Sizes.
    """
    environment = GymnasiumAdapter(setting.environment, 1, seed=0)
    agent = make_agent(setting)

    def train(steps: int) -> None:
        total = TrainerConfig(total_env_steps=steps)
        Trainer(total, environment, agent, NullRecorder()).train()

    train(setting.warmup)
    wall, cpu = time.perf_counter(), time.process_time()
    train(setting.steps)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    environment.close()
    return Speed(steps_per_second=setting.steps / wall, steps_per_cpu_second=setting.steps / cpu)


def peer_speed(setting: Setting) -> Speed:
    """Time the peer in a process of its own.

    Args:
        setting: Sizes.
    """
    names = ("hidden", "batch", "train_frequency", "learning_starts", "warmup", "steps")
    arguments = [f"--{name}={getattr(setting, name)}" for name in names]
    found = run_peer("sb3", "sb3_off_policy_speed.py", [f"--algorithm={setting.name}", *arguments])
    return Speed(
        steps_per_second=found["steps_per_second"],
        steps_per_cpu_second=found["steps_per_cpu_second"],
    )


def product_seconds(setting: Setting) -> float:
    """Return the CPU seconds per step that the matrix products of learning take in a bare loop.

    Args:
        setting: Sizes.
    """
    hidden, rows = (setting.hidden, setting.hidden), setting.batch
    if setting.name == "dqn":
        sizes = (setting.observation, *hidden, setting.outputs)
        per_update = 2 * _forward(rows, sizes) + _backward(rows, sizes)
        return _forward(1, sizes) + per_update / setting.train_frequency
    outputs = setting.outputs * (2 if setting.name == "sac" else 1)
    actor = (setting.observation, *hidden, outputs)
    critic = (setting.observation + setting.outputs, *hidden, 1)
    critics = 2 * (2 * _forward(rows, critic) + _backward(rows, critic))
    improved = 2 if setting.name == "sac" else 1
    through = improved * (_forward(rows, critic) + _backward(rows, critic, to_input_only=True))
    policy = _forward(rows, actor) + _backward(rows, actor) + through
    delay = 1 if setting.name == "sac" else TD3Config().policy_delay
    return _forward(1, actor) + _forward(rows, actor) + critics + policy / delay


def _forward(rows: int, sizes: tuple[int, ...]) -> float:
    layers = [
        (torch.randn(outputs), torch.randn(rows, inputs), torch.randn(inputs, outputs))
        for inputs, outputs in itertools.pairwise(sizes)
    ]
    return _seconds(lambda: [torch.addmm(*layer) for layer in layers])


def _backward(rows: int, sizes: tuple[int, ...], *, to_input_only: bool = False) -> float:
    layers = [
        (torch.randn(rows, i), torch.randn(rows, o), torch.randn(i, o), torch.empty(i, o))
        for i, o in itertools.pairwise(sizes)
    ]
    of_weights = [] if to_input_only else layers
    passed_on = layers if to_input_only else layers[1:]

    def multiply() -> None:
        for x, gradient, _, out in of_weights:
            torch.mm(x.mT, gradient, out=out)
        for _, gradient, weight, _ in passed_on:
            torch.mm(gradient, weight.mT)

    return _seconds(multiply)


def _seconds(work: Callable[[], object], calls: int = 20) -> float:
    best = float("inf")
    for _ in range(REPEATS):
        begun = time.process_time()
        for _ in range(calls):
            work()
        best = min(best, (time.process_time() - begun) / calls)
    return best


def measure(setting: Setting, repeats: int) -> dict[str, object]:
    """Let both take turns and return one row of the report.

    Args:
        setting: Sizes.
        repeats: Runs of each.
    """
    runs = [(our_speed(setting), peer_speed(setting)) for _ in range(repeats)]
    ours, peers = (list(side) for side in zip(*runs, strict=True))
    speed, peer = _median(ours), _median(peers)
    return {
        **asdict(setting),
        "ours": asdict(speed),
        "sb3": asdict(peer),
        "times": round(speed.steps_per_second / peer.steps_per_second, 2),
        "times_by_cpu": round(speed.steps_per_cpu_second / peer.steps_per_cpu_second, 2),
        "product_share": round(product_seconds(setting) * speed.steps_per_cpu_second, 2),
        "runs": {"ours": [asdict(one) for one in ours], "sb3": [asdict(one) for one in peers]},
    }


def _median(speeds: list[Speed]) -> Speed:
    return Speed(
        steps_per_second=round(statistics.median(one.steps_per_second for one in speeds), 1),
        steps_per_cpu_second=round(
            statistics.median(one.steps_per_cpu_second for one in speeds), 1
        ),
    )


def main() -> None:
    """Measure every setting, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--only", choices=[setting.name for setting in SETTINGS])
    parser.add_argument("--output", type=Path, default=RESULTS / "off_policy_speed.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("algorithm  steps/s  by SB3's  per CPU-s  by SB3's  bar  products")
    rows = []
    for setting in SETTINGS:
        if arguments.only not in {None, setting.name}:
            continue
        row = measure(setting, arguments.repeats)
        rows.append(row)
        ours = row["ours"]
        assert isinstance(ours, dict)  # noqa: S101
        print(
            f"{setting.name:9}  {ours['steps_per_second']:7,.0f}  {row['times']:8.2f}  "
            f"{ours['steps_per_cpu_second']:9,.0f}  {row['times_by_cpu']:8.2f}  {setting.bar:3}  "
            f"{row['product_share']:8.0%}",
            flush=True,
        )
    command = f"python -m benchmarks.off_policy_speed --repeats {arguments.repeats}"
    write_report(arguments.output, {"command": command, "settings": rows})


if __name__ == "__main__":
    main()
