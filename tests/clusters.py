"""Clusters small enough to work out by hand."""

from __future__ import annotations

import numpy as np

from data.cluster_tasks import ClusterScenarios, RelativesConfig
from data.cluster_trace import make_cluster_trace
from data.scenario import BankConfig, FixedSource, ScenarioBank
from rl.domains.cluster import ClusterConfig
from rl.domains.cluster_presets import small_cluster

TRACE = make_cluster_trace(num_nodes=60, num_types=30, seed=3)
FEW = RelativesConfig(num_nodes=6, num_tasks=40, spec_probability=0.3)


def make_scenarios(nodes, types, arrivals, typical=None):
    """Nodes (cpu, memory, gpus, model), types (cpu, memory, gpus, milli, models): one episode."""
    cpu, memory, gpus, model = np.asarray(nodes, np.int32).T[:, None]
    requests = np.asarray([one[:4] for one in types], np.int32).T[:, None]
    num_models = 1 + max(one[3] for one in nodes)
    allowed = [[one[4] is None or m in one[4] for m in range(num_models)] for one in types]
    return ClusterScenarios(
        arrivals=np.asarray([arrivals], np.int32),
        node_active=cpu > 0,
        node_cpu=cpu,
        node_memory=memory,
        node_gpus=gpus,
        node_model=model,
        **dict(zip(("type_cpu", "type_memory", "type_gpus", "type_milli"), requests, strict=True)),
        type_allowed=np.asarray([allowed]),
        typical=np.asarray([typical or [1] * len(types)], np.int32),
    )


def config_of(scenarios, **settings):
    types, models = scenarios.type_allowed.shape[1:]
    return ClusterConfig(
        num_nodes=scenarios.node_cpu.shape[1],
        num_types=types,
        num_models=models,
        num_tasks=scenarios.arrivals.shape[1],
        **settings,
    )


def bank_of(scenarios, **sizes):
    sizes = {"num_episodes": scenarios.num_episodes} | sizes
    return ScenarioBank(FixedSource(scenarios), BankConfig(**sizes), 0)


def draw_small(num_episodes, seed, relatives=FEW):
    return small_cluster(TRACE, relatives).source.draw(num_episodes, np.random.default_rng(seed))
