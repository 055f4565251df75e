"""Steps per second of PPO on CartPole-v1, beside Stable-Baselines3 in the same run.

Run `python -m benchmarks.ppo_speed`: a table, and JSON in benchmarks/results/ppo_speed.json. Both
use one torch thread and take turns (the peer steps SyncVectorEnv); medians of five. On a busy
machine read the column of CPU seconds. The share of matrix products is what those of one block
take in a bare loop, by what the whole block takes: the distance to the limit of this CPU.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.measuring import RESULTS, write_report
from benchmarks.peer_python import peer_python
from rl.algorithms.ppo_agent import PPOAgent, PPOConfig
from rl.environments.adapter import GymnasiumAdapter
from rl.training.recorder import NullRecorder
from rl.training.trainer import Trainer, TrainerConfig

PEER = Path(__file__).parent / "peers" / "sb3_ppo_speed.py"
OBSERVATION, CHOICES = 4, 2


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One row of the table."""

    name: str
    copies: int
    steps: int
    """Per copy and block."""
    minibatch: int
    epochs: int
    hidden: int
    bar: float
    """Times the peer's speed that is asked for."""
    blocks: int
    """How many are timed, after a warm-up of two."""


SETTINGS = (
    Setting(
        name="RL-Zoo CartPole", copies=8, steps=32, minibatch=256, epochs=20, hidden=64, bar=1.7,
        blocks=40,
    ),
    Setting(
        name="4 copies x 128", copies=4, steps=128, minibatch=128, epochs=4, hidden=64, bar=3.0,
        blocks=30,
    ),
    Setting(
        name="64 copies x 128, 256x256", copies=64, steps=128, minibatch=2048, epochs=4,
        hidden=256, bar=1.4, blocks=4,
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Of one run."""

    steps_per_second: float
    steps_per_cpu_second: float


def our_speed(setting: Setting) -> Speed:
    """Train for some blocks, then time more of them, through the trainer that users call.

    Args:
        setting: Sizes.
    """
    block = setting.copies * setting.steps
    environment = GymnasiumAdapter("CartPole-v1", setting.copies, seed=0)
    config = PPOConfig(
        hidden_dims=(setting.hidden, setting.hidden),
        ppo_epochs=setting.epochs,
        num_minibatches=block // setting.minibatch,
        normalize_observations=False,
    )
    agent = PPOAgent("speed", OBSERVATION, CHOICES, config, discrete=True, seed=0)

    def train(blocks: int) -> None:
        total = TrainerConfig(total_env_steps=blocks * block, rollout_steps=setting.steps)
        Trainer(total, environment, agent, NullRecorder()).train()

    train(2)
    wall, cpu = time.perf_counter(), time.process_time()
    train(setting.blocks)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    environment.close()
    steps = setting.blocks * block
    return Speed(steps_per_second=steps / wall, steps_per_cpu_second=steps / cpu)


def peer_speed(setting: Setting) -> Speed:
    """Time the peer in a process of its own.

    Args:
        setting: Sizes.
    """
    sizes = ("copies", "steps", "minibatch", "epochs", "hidden", "blocks")
    arguments = [f"--{name}={getattr(setting, name)}" for name in sizes]
    command = [str(peer_python("sb3")), str(PEER), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    found = json.loads(done.stdout.splitlines()[-1])
    return Speed(
        steps_per_second=found["steps_per_second"],
        steps_per_cpu_second=found["steps_per_cpu_second"],
    )


def product_seconds(setting: Setting) -> float:
    """Return the CPU seconds that the matrix products of one block take in a bare loop.

    Args:
        setting: Sizes.
    """
    block = setting.copies * setting.steps
    updates = setting.epochs * (block // setting.minibatch)
    actor = (OBSERVATION, setting.hidden, setting.hidden, CHOICES)
    critic = (OBSERVATION, setting.hidden, setting.hidden, 1)
    forward = [(setting.steps, setting.copies, actor), (1, block, critic)]
    total = sum(times * _forward_seconds(rows, sizes) for times, rows, sizes in forward)
    for sizes in (actor, critic):
        once = _forward_seconds(setting.minibatch, sizes)
        total += updates * (once + _backward_seconds(setting.minibatch, sizes))
    return total


def _forward_seconds(rows: int, sizes: tuple[int, ...]) -> float:
    layers = [
        (torch.randn(outputs), torch.randn(rows, inputs), torch.randn(inputs, outputs))
        for inputs, outputs in itertools.pairwise(sizes)
    ]
    return _seconds(lambda: [torch.addmm(*layer) for layer in layers])


def _backward_seconds(rows: int, sizes: tuple[int, ...]) -> float:
    pairs = list(itertools.pairwise(sizes))
    layers = [
        (torch.randn(rows, i), torch.randn(rows, o), torch.randn(i, o), torch.empty(i, o))
        for i, o in pairs
    ]

    def run() -> None:
        for index, (inputs, grad, weight, out) in enumerate(layers):
            torch.mm(inputs.T, grad, out=out)
            if index > 0:
                torch.mm(grad, weight.T)

    return _seconds(run)


def _seconds(run: object) -> float:
    """Return the CPU seconds of one call, the median of five measurements."""
    assert callable(run)  # noqa: S101
    found = []
    for _ in range(5):
        begun, calls = time.process_time(), 0
        while time.process_time() - begun < 0.02:
            run()
            calls += 1
        found.append((time.process_time() - begun) / calls)
    return statistics.median(found)


def measure(setting: Setting, repeats: int) -> dict[str, object]:
    """Let both libraries take turns.

    Args:
        setting: Sizes.
        repeats: Turns of each.
    """
    ours, peers = [], []
    for _ in range(repeats):
        ours.append(our_speed(setting))
        peers.append(peer_speed(setting))
    products = product_seconds(setting)
    speed, peer = _median(ours), _median(peers)
    block = setting.copies * setting.steps
    return {
        **asdict(setting),
        "ours": asdict(speed),
        "sb3": asdict(peer),
        "times": round(speed.steps_per_second / peer.steps_per_second, 2),
        "times_by_cpu": round(speed.steps_per_cpu_second / peer.steps_per_cpu_second, 2),
        "product_share": round(products * speed.steps_per_cpu_second / block, 2),
        "runs": {"ours": [asdict(one) for one in ours], "sb3": [asdict(one) for one in peers]},
    }


def _median(speeds: list[Speed]) -> Speed:
    return Speed(
        steps_per_second=round(statistics.median(one.steps_per_second for one in speeds)),
        steps_per_cpu_second=round(statistics.median(one.steps_per_cpu_second for one in speeds)),
    )


def main() -> None:
    """Measure every setting, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS / "ppo_speed.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("setting                     steps/s  by SB3's  per CPU-s  by SB3's  bar  products")
    rows = []
    for setting in SETTINGS:
        row = measure(setting, arguments.repeats)
        rows.append(row)
        ours = row["ours"]
        assert isinstance(ours, dict)  # noqa: S101
        print(
            f"{setting.name:26}  {ours['steps_per_second']:7,}  {row['times']:8.2f}  "
            f"{ours['steps_per_cpu_second']:9,}  {row['times_by_cpu']:8.2f}  {setting.bar:3}  "
            f"{row['product_share']:8.0%}",
            flush=True,
        )
    write_report(arguments.output, {"command": "python -m benchmarks.ppo_speed", "settings": rows})


if __name__ == "__main__":
    main()
