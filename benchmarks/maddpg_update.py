"""Speed of one MADDPG update of all agents, beside a loop over agents; memory of a hundred agents.

Run `python -m benchmarks.maddpg_update`: JSON, also in benchmarks/results/maddpg_update.json.
The loop is what a careful engineer writes with torch.nn: target actions once for all agents, fused
Adam, one `_foreach_lerp_` per agent. `loop` calls backward() on the actor's loss, as is usual, and
so computes gradients of the critic that nobody reads; `loop_lean` asks for the actor's alone.
Speeds are given as the process starts, and once it keeps the memory that it frees.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from benchmarks.measuring import REPEATS, RESULTS, write_report
from rl.algorithms.maddpg_agent import MADDPGAgent, MADDPGConfig
from rl.algorithms.replay_buffer import Step, TransitionBatch
from rl.training.freed_memory import keep_freed_memory

OBSERVATION, ACTION, BATCH = 8, 4, 256
CONFIG = MADDPGConfig(hidden_dims=(256, 256), batch_size=BATCH, buffer_size=10_000)
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm")
MEMORY_CASES = ("maddpg", "maddpg_shared", "matd3", "matd3_shared")


def draw_batch(num_agents: int) -> TransitionBatch:
    """Return a random batch.

    Args:
        num_agents: How many agents.
    """
    chance = torch.Generator().manual_seed(0)
    rows = (BATCH, num_agents)
    return TransitionBatch(
        observation=torch.randn(*rows, OBSERVATION, generator=chance),
        action_mask=torch.ones(*rows, ACTION, dtype=torch.bool),
        alive=torch.ones(rows, dtype=torch.bool),
        action=2.0 * torch.rand(*rows, ACTION, generator=chance) - 1.0,
        reward=torch.randn(rows, generator=chance),
        discount=torch.full(rows, CONFIG.gamma),
        next_observation=torch.randn(*rows, OBSERVATION, generator=chance),
        next_action_mask=torch.ones(*rows, ACTION, dtype=torch.bool),
        state=torch.zeros(BATCH, 0),
        next_state=torch.zeros(BATCH, 0),
        weight=torch.ones(BATCH),
        index=torch.arange(BATCH),
    )


def make_team(num_agents: int, config: MADDPGConfig = CONFIG) -> MADDPGAgent:
    """Make a team of ours.

    Args:
        num_agents: How many agents.
        config: Settings.
    """
    return MADDPGAgent(
        "team", OBSERVATION, ACTION, config, num_agents=num_agents, discrete=False, seed=0
    )


def perceptron(inputs: int, outputs: int, *, layer_norm: bool) -> nn.Sequential:
    """Make the same network as ours of torch's own layers.

    Args:
        inputs: Length of the input.
        outputs: Length of the output.
        layer_norm: After the first layer.
    """
    first, second = CONFIG.hidden_dims
    norm = [nn.LayerNorm(first, elementwise_affine=False)] if layer_norm else []
    layers = [nn.Linear(inputs, first), *norm, nn.ReLU(), nn.Linear(first, second), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(second, outputs))


class OneByOne:
    """The loop over agents."""

    def __init__(self, num_agents: int, *, lean: bool) -> None:
        """Make actors, critics, targets and optimisers.

        Args:
            num_agents: How many agents.
            lean: Leave out the critic's gradient of the actor's loss.
        """
        self.lean = lean
        joint = num_agents * (OBSERVATION + ACTION)
        self.actors = [perceptron(OBSERVATION, ACTION, layer_norm=False) for _ in range(num_agents)]
        self.critics = [perceptron(joint, 1, layer_norm=True) for _ in range(num_agents)]
        self.target_actors = copy.deepcopy(self.actors)
        self.target_critics = copy.deepcopy(self.critics)
        self.optimizers = [
            (
                torch.optim.Adam(actor.parameters(), lr=CONFIG.actor_learning_rate, fused=True),
                torch.optim.Adam(critic.parameters(), lr=CONFIG.learning_rate, fused=True),
            )
            for actor, critic in zip(self.actors, self.critics, strict=True)
        ]

    def learn(self, batch: TransitionBatch) -> Tensor:
        """Take one step of every critic and actor; returns the critics' loss.

        Args:
            batch: What is learnt from.
        """
        context, played = batch.observation.flatten(1), batch.action
        with torch.no_grad():
            next_actions = [
                actor(batch.next_observation[:, i]).tanh()
                for i, actor in enumerate(self.target_actors)
            ]
            next_joint = torch.cat((batch.next_observation.flatten(1), *next_actions), -1)
        joint = torch.cat((context, played.flatten(1)), -1)
        losses = [self._learn_one(i, batch, joint, next_joint) for i in range(len(self.actors))]
        return torch.stack(losses).mean()

    def _learn_one(
        self, agent: int, batch: TransitionBatch, joint: Tensor, next_joint: Tensor
    ) -> Tensor:
        actor, critic = self.actors[agent], self.critics[agent]
        actor_optimizer, critic_optimizer = self.optimizers[agent]
        with torch.no_grad():
            next_value = self.target_critics[agent](next_joint).squeeze(-1)
            target = batch.reward[:, agent] + batch.discount[:, agent] * next_value
        loss = 0.5 * nn.functional.mse_loss(critic(joint).squeeze(-1), target)
        critic_optimizer.zero_grad()
        loss.backward()
        critic_optimizer.step()

        output = actor(batch.observation[:, agent])
        start = batch.observation[0].numel() + agent * ACTION
        own = torch.cat((joint[:, :start], output.tanh(), joint[:, start + ACTION :]), -1)
        actor_loss = CONFIG.output_penalty * output.square().mean() - critic(own).mean()
        weights = list(actor.parameters())
        if self.lean:
            gradients = torch.autograd.grad(actor_loss, weights)
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient
        else:
            actor_optimizer.zero_grad()
            actor_loss.backward()
        actor_optimizer.step()
        with torch.no_grad():
            online = [*weights, *critic.parameters()]
            followers = [
                *self.target_actors[agent].parameters(),
                *self.target_critics[agent].parameters(),
            ]
            torch._foreach_lerp_(followers, online, CONFIG.tau)
        return loss.detach()


def copy_weights(team: MADDPGAgent, loop: OneByOne) -> None:
    """Give the loop the team's numbers, to see that both compute the same.

    Args:
        team: Ours.
        loop: Theirs.
    """
    actors, critics = team.actors.network.network, team.critics.network
    with torch.no_grad():
        for agent in range(len(loop.actors)):
            rows = [*zip(actors.weights, actors.biases, strict=True)]
            for linear, (weight, bias) in zip(linears(loop.actors[agent]), rows, strict=True):
                linear.weight.copy_(weight[agent].T)
                linear.bias.copy_(bias[agent, 0])
            rest = zip(critics.rest.weights, critics.rest.biases, strict=True)
            rows = [(critics.weight, critics.bias[0]), *rest]
            for linear, (weight, bias) in zip(linears(loop.critics[agent]), rows, strict=True):
                linear.weight.copy_(weight[agent].T)
                linear.bias.copy_(bias[agent, 0])
    loop.target_actors = copy.deepcopy(loop.actors)
    loop.target_critics = copy.deepcopy(loop.critics)


def linears(network: nn.Sequential) -> list[nn.Linear]:
    """Return the linear layers.

    Args:
        network: Of `perceptron`.
    """
    return [layer for layer in network if isinstance(layer, nn.Linear)]


def time_in_turn(
    calls: dict[str, Callable[[], object]], updates: int
) -> dict[str, dict[str, float]]:
    """Return median milliseconds per call, wall and CPU, of functions timed in turn.

    Args:
        calls: By name; in each repeat all of them run, so that a busy machine is busy for all.
        updates: Calls of each in a repeat.
    """
    wall: dict[str, list[float]] = {name: [] for name in calls}
    cpu: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(REPEATS):
        for name, call in calls.items():
            wall_begun, cpu_begun = time.perf_counter(), time.process_time()
            for _ in range(updates):
                call()
            wall[name].append(1e3 * (time.perf_counter() - wall_begun) / updates)
            cpu[name].append(1e3 * (time.process_time() - cpu_begun) / updates)
    return {
        name: {
            "wall_ms": round(statistics.median(wall[name]), 2),
            "cpu_ms": round(statistics.median(cpu[name]), 2),
        }
        for name in calls
    }


def compare(num_agents: int, updates: int) -> dict[str, object]:
    """Time our update and the two loops on one batch.

    Args:
        num_agents: How many agents.
        updates: Per repeat.
    """
    batch, team = draw_batch(num_agents), make_team(num_agents)
    loops = {"loop": OneByOne(num_agents, lean=False), "loop_lean": OneByOne(num_agents, lean=True)}
    copy_weights(team, loops["loop"])
    ours, theirs = (
        float(x) for x in (team.learn(batch)["critic_loss"], loops["loop"].learn(batch))
    )
    if abs(ours - theirs) > 1e-4 * theirs:
        raise RuntimeError(f"not the same computation: critic loss {ours} and {theirs}")
    calls: dict[str, Callable[[], object]] = {"ours": lambda: team.learn(batch)}
    calls |= {name: (lambda loop=loop: loop.learn(batch)) for name, loop in loops.items()}
    times = time_in_turn(calls, updates)
    ratios = {name: round(times[name]["cpu_ms"] / times["ours"]["cpu_ms"], 2) for name in loops}
    return {
        "num_agents": num_agents,
        "times": times,
        "times_faster_than": ratios,
        "share_in_matrix_products": product_share(lambda: team.learn(batch), updates),
    }


def product_share(call: Callable[[], object], calls: int) -> float:
    """Return the share of time inside matrix products.

    Args:
        call: What is profiled.
        calls: How often it runs.
    """
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(calls):
            call()
    events = profiler.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    inside = sum(event.self_cpu_time_total for event in events if event.key in PRODUCTS)
    return round(inside / total, 3)


def train_hundred(case: str) -> None:
    """Fill a replay of 10,000 steps with a hundred agents, update, print the peak memory in MiB.

    Args:
        case: Variant, and whether weights are shared.
    """
    before = _peak_mib()
    variant, _, shared = case.partition("_")
    config = dataclasses.replace(
        CONFIG, variant=variant, shared=bool(shared), learning_starts=1000, gradient_steps=4
    )
    agents, copies = 100, 100
    team = make_team(agents, config)
    chance = torch.Generator().manual_seed(0)
    seen = torch.randn(copies, agents, OBSERVATION, generator=chance)
    mask = torch.ones(copies, agents, ACTION, dtype=torch.bool)
    alive, never = (
        torch.ones(copies, agents, dtype=torch.bool),
        torch.zeros(copies, dtype=torch.bool),
    )
    nothing = torch.zeros(copies, 0)
    for _ in range(CONFIG.buffer_size // copies):
        action = team.act(seen, mask).action
        following = torch.randn(copies, agents, OBSERVATION, generator=chance)
        step = Step(
            observation=seen,
            action_mask=mask,
            alive=alive,
            action=action,
            reward=following[..., 0],
            terminated=never,
            truncated=never,
            next_observation=following,
            next_action_mask=mask,
            next_alive=alive,
            final_observation=following,
            state=nothing,
            next_state=nothing,
            final_state=nothing,
        )
        team.observe(step)
        seen = following
    team.update()
    peak = _peak_mib()
    weights = sum(w.numel() for part in (team.actors, team.critics) for w in part.weights)
    print(json.dumps({"peak_mib": peak, "imports_mib": before, "weights": weights}))


def _peak_mib() -> int:
    """Return the most memory that this process has had; `ru_maxrss` counts its parent's too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024)


def measure_memory(case: str) -> dict[str, int]:
    """Return the peak memory of training a hundred agents in a process of its own.

    Args:
        case: One of `MEMORY_CASES`.
    """
    command = [sys.executable, "-m", "benchmarks.maddpg_update", "--memory", case]
    found = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    result: dict[str, int] = json.loads(found.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Measure everything, print it and write it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory", choices=MEMORY_CASES, help="only this, in this process")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.memory:
        train_hundred(arguments.memory)
        return
    as_started = compare(10, 6)
    keep_freed_memory()
    report: dict[str, object] = {
        "command": "python -m benchmarks.maddpg_update",
        "batch": BATCH,
        "hidden_dims": CONFIG.hidden_dims,
        "speed_as_started": [as_started],
        "speed_with_kept_memory": [compare(10, 6), compare(30, 1)],
        "memory_of_100_agents": {case: measure_memory(case) for case in MEMORY_CASES},
    }
    print(json.dumps(report, indent=1))
    write_report(RESULTS / "maddpg_update.json", report)


if __name__ == "__main__":
    main()
