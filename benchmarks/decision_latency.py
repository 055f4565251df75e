"""Time from a request to its decision, in process: p50 and p99.

Run `OMP_NUM_THREADS=1 python -m benchmarks.decision_latency`: a table, and JSON in
var/benchmarks/decision_latency.json. The policy is untrained: weights do not change the time. A
pod's placement is that of the shipped policy, over 1,213 nodes that are half full; orders for 100
products in six places each (600 stock-keeping units), and the slices of an order, are those of the
shipped policies too.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import platform
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import anyio
import numpy as np

from ai_agents.allocation_schema import EXAMPLE_REQUEST
from ai_agents.base_agent import InvocationContext
from ai_agents.execution_domain import ExecutionDecisions
from ai_agents.placement_domain import PlacementDecisions
from ai_agents.policy_agent import PolicyAgent
from ai_agents.replenishment_domain import ReplenishmentDecisions
from ai_agents.resource_allocation_agent import ResourceAllocationAgent
from data.cluster_trace import make_cluster_trace
from rl.artifacts import (
    ActionSpec,
    Baseline,
    Evaluation,
    Layer,
    Normalizer,
    PolicyArtifact,
    PolicyCard,
)
from rl.deployment.exporters import RESOURCE_ALLOCATION
from rl.deployment.policy_runtime import PolicyRuntime
from rl.domains.resource_allocation import AllocationDomain
from rl.domains.shared_services import shared_services
from utils.config import to_json

HIDDEN = (64, 64)
BATCH = 64
PRODUCTS = 100
SHIPPED = Path(__file__).parents[1] / "shipped"
WARM_UP = 200
NODES = 1213
PLACEMENT = SHIPPED / "cluster_placement.safetensors"
INSTANT = InvocationContext(request_id="benchmark")
UNHURRIED = InvocationContext(request_id="benchmark", deadline_seconds=60.0)


def untrained_artifact() -> PolicyArtifact:
    """Return a policy of the demo's size with random weights, validated for everything."""
    config = shared_services(4).allocation
    domain = AllocationDomain(config)
    generator = np.random.default_rng(0)
    sizes = (domain.observation_size, *HIDDEN, domain.num_services * domain.num_resources)

    def draw(*shape: int) -> np.ndarray:
        return (0.1 * generator.standard_normal(shape)).astype(np.float32)

    layers = [Layer(draw(i, o), draw(o)) for i, o in itertools.pairwise(sizes)]
    card = PolicyCard(
        agent="benchmark",
        run_id="none",
        checkpoint_sha256="",
        commit="",
        data="none: untrained",
        evaluation=Evaluation(scenarios="none", num_episodes=0, kpi=0, kpi_low=0, kpi_high=0),
        baseline=Baseline(expert="urgent_value", parameters=(), kpi=0),
        validated_for=(),
        limits=("Untrained.",),
        created_at="",
    )
    return PolicyArtifact(
        layers=tuple(layers),
        activation="tanh",
        normalizer=Normalizer(draw(sizes[0]), np.ones(sizes[0], np.float32), 10.0),
        action=ActionSpec(kind="continuous", size=sizes[-1], meaning="shares"),
        domain=RESOURCE_ALLOCATION,
        domain_config=json.dumps(to_json(config)),
        card=card,
    )


async def measure(call: Callable[[], Awaitable[object]], repeats: int) -> dict[str, float]:
    """Time single calls after a warm-up, by the clock and in CPU of the thread that calls.

    The two differ where the machine is shared; a policy asked with a deadline runs in another one.

    Args:
        call: What is timed.
        repeats: How often.
    """
    for _ in range(WARM_UP):
        await call()
    seconds, cpu = np.empty(repeats), np.empty(repeats)
    for index in range(repeats):
        started, begun = time.perf_counter(), time.thread_time()
        await call()
        seconds[index], cpu[index] = time.perf_counter() - started, time.thread_time() - begun
    p50, p99 = np.percentile(seconds, [50, 99])
    cpu_p50, cpu_p99 = np.percentile(cpu, [50, 99])
    return {
        "p50_seconds": float(p50),
        "p99_seconds": float(p99),
        "cpu_p50_seconds": float(cpu_p50),
        "cpu_p99_seconds": float(cpu_p99),
    }


def forward_of(runtime: PolicyRuntime, rows: int) -> Callable[[], Awaitable[object]]:
    """Return the bare forward pass of a batch.

    Args:
        runtime: The policy.
        rows: Size of the batch.
    """
    observation = np.ones((rows, runtime.observation_size), np.float32)

    async def call() -> object:
        return runtime.act(observation)

    return call


def placement_requests(models: tuple[str, ...]) -> dict[str, str]:
    """Return a pod and a cluster as JSON text, in rows and in columns.

    Args:
        models: GPU models that the agent knows.
    """
    nodes, generator = make_cluster_trace(NODES).nodes, np.random.default_rng(0)
    rests = [generator.choice([0, 190, 530, 1000, 1000], gpus).tolist() for gpus in nodes.num_gpus]
    model = (nodes.model % len(models)).tolist()
    columns = {
        "free_cpu_milli": (nodes.cpu_milli * generator.random(NODES)).astype(int).tolist(),
        "free_memory_mib": nodes.memory_mib.tolist(),
        "free_gpu_milli": rests,
    }
    rows = [
        {"name": f"node-{row:04}", "model": models[model[row]]}
        | {name: values[row] for name, values in columns.items()}
        for row in range(NODES)
    ]
    pod = {"cpu_milli": 3152, "memory_mib": 5600, "gpus": 1, "gpu_milli": 810}
    snapshot = {"models": models, "model": model, **columns}
    return {
        "rows": json.dumps({"pod": pod, "nodes": rows}),
        "columns": json.dumps({"pod": pod, "snapshot": snapshot}),
    }


async def run_placement(repeats: int) -> dict[str, dict[str, float]]:
    """Time a placement over 1,213 nodes, reading the request included.

    Args:
        repeats: Calls per way.
    """
    artifact = PolicyArtifact.from_bytes(PLACEMENT.read_bytes())
    domain = PlacementDecisions(artifact)
    results = {}
    async with PolicyAgent(artifact, domain) as agent:
        for form, text in placement_requests(domain.prices.models).items():

            async def from_text(text: str = text) -> object:
                return (await agent.invoke(agent.parse(text), INSTANT)).model_dump_json()

            results[f"placement from {len(text) // 1000} kB of {form}"] = await measure(
                from_text, repeats
            )
    return results


def replenishment_request(places: Sequence[str]) -> str:
    """Return 100 products that lie in some places as JSON text, 30 days of demand each.

    Args:
        places: From the customers upstream.
    """
    generator = np.random.default_rng(0)
    products = [
        {
            "name": f"sku-{number:03}",
            "usual_sales": float(generator.integers(5, 200)),
            "stock": dict(zip(places, generator.integers(0, 90, len(places)) * 1.0, strict=True)),
            "on_the_way": {place: [float(generator.integers(0, 30))] for place in places},
            "recent_demand": (generator.integers(0, 40, 30) * 1.0).tolist(),
        }
        for number in range(PRODUCTS)
    ]
    return json.dumps({"products": products})


async def run_supply_and_trading(repeats: int) -> dict[str, dict[str, float]]:
    """Time orders for 100 products, and the next slice of an order with the plan after it.

    Args:
        repeats: Calls per way.
    """
    results = {}
    chain = PolicyArtifact.from_bytes((SHIPPED / "supply_chain.safetensors").read_bytes())
    async with PolicyAgent(chain, ReplenishmentDecisions(chain)) as agent:
        places = list(agent.example_request().products[0].stock)
        text = replenishment_request(places)
        request = agent.parse(text)

        async def from_text() -> object:
            return (await agent.invoke(agent.parse(text), INSTANT)).model_dump_json()

        decision = await agent.invoke(request, INSTANT)
        if decision.fallback_used:
            raise RuntimeError(f"the policy was not asked: {decision.warnings[0]}")
        name = f"{PRODUCTS} products, {len(places)} places"
        results[name] = await measure(lambda: agent.invoke(request, INSTANT), repeats)
        results[f"{name}, JSON to JSON"] = await measure(from_text, repeats)
    desk = PolicyArtifact.from_bytes((SHIPPED / "trading.safetensors").read_bytes())
    async with PolicyAgent(desk, ExecutionDecisions(desk)) as seller:
        order = seller.example_request().model_copy(update={"compare": False})
        results[f"next of {order.slices_left} slices, and plan"] = await measure(
            lambda: seller.invoke(order, INSTANT), repeats
        )
    return results


async def run(repeats: int) -> dict[str, dict[str, float]]:
    """Time every way to a decision.

    Args:
        repeats: Calls per way.
    """
    artifact = untrained_artifact()
    runtime = PolicyRuntime(artifact)
    async with ResourceAllocationAgent(artifact) as agent:
        compared = agent.parse(EXAMPLE_REQUEST)
        request = compared.model_copy(update={"compare": False})
        requests = [request] * BATCH
        text = request.model_dump_json()

        async def from_text() -> object:
            return (await agent.invoke(agent.parse(text), INSTANT)).model_dump_json()

        ways: dict[str, Callable[[], Awaitable[object]]] = {
            "forward, batch 1": forward_of(runtime, 1),
            f"forward, batch {BATCH}": forward_of(runtime, BATCH),
            "invoke": lambda: agent.invoke(request, INSTANT),
            "invoke with the expert beside": lambda: agent.invoke(compared, INSTANT),
            "invoke with a deadline": lambda: agent.invoke(request, UNHURRIED),
            "invoke, JSON text to JSON text": from_text,
            f"invoke_batch of {BATCH}": lambda: agent.invoke_batch(requests, INSTANT),
        }
        return {name: await measure(call, repeats) for name, call in ways.items()}


def main() -> None:
    """Measure, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--output", type=Path, default=Path("var/benchmarks/decision_latency.json"))
    arguments = parser.parse_args()
    gc.collect()
    gc.freeze()  # as `serve` does once its agents are set up
    results = anyio.run(run, arguments.repeats)
    results |= anyio.run(run_placement, arguments.repeats)
    results |= anyio.run(run_supply_and_trading, arguments.repeats)
    print(f"{'':36} {'p50 us':>9} {'p99 us':>9} {'CPU p50':>9} {'CPU p99':>9}")
    for name, result in results.items():
        print(f"{name:36}", *(f"{1e6 * value:9.1f}" for value in result.values()))
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    report = {
        "command": "python -m benchmarks.decision_latency",
        "commit": commit.stdout.strip() or None,
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "hidden_dims": HIDDEN,
        "repeats": arguments.repeats,
        "results": results,
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=1))
    print(f"written to {arguments.output}")


if __name__ == "__main__":
    main()
