"""Networks of agents of the requested size, and the readings of their days."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np

from data.agent_profiles import PROFILES, AgentType
from data.demand_law import Floats
from data.diurnal_law import DiurnalLaw
from data.synthetic_records import (
    METRICS,
    AgentNetwork,
    AgentRecord,
    ConnectionRecord,
    MetricRecord,
)

MINUTES_PER_DAY = 1440
COVERAGE = 0.8
"""Share of the readings that arrive."""
HIGHEST_UTILIZATION = 0.95
ACCURACY_LOSS = 0.1
"""Share of accuracy that a fully used agent loses."""


def make_network(num_agents: int, timestamp: str, generator: np.random.Generator) -> AgentNetwork:
    """Draw a connected network; types come in turn, so that each has its share.

    Args:
        num_agents: How many, at least 1.
        timestamp: When.
        generator: The only source of chance.
    """
    types = list(AgentType)
    agents = [
        _draw_agent(number, types[number % len(types)], generator) for number in range(num_agents)
    ]
    collaboration = np.asarray([agent["collaboration"] for agent in agents])
    chance = np.sqrt(np.outer(collaboration, collaboration))
    linked = generator.random((num_agents, num_agents)) < chance
    # Each agent but the first is joined to an earlier one: the network is in one piece.
    later = np.arange(1, num_agents)
    linked[(generator.random(len(later)) * later).astype(int), later] = True
    strength = generator.uniform(0.1, 1.0, (num_agents, num_agents))
    connections: list[ConnectionRecord] = []
    for i, j in zip(*np.nonzero(np.triu(linked, 1)), strict=True):
        source, target = agents[i], agents[j]
        source["connections"].append(target["id"])
        target["connections"].append(source["id"])
        connections.append(
            {
                "source": source["id"],
                "target": target["id"],
                "strength": round(float(strength[i, j]), 4),
            }
        )
    count = len(connections)
    pairs = num_agents * (num_agents - 1) / 2
    return {
        "agents": agents,
        "connections": connections,
        "metrics": {
            "num_agents": num_agents,
            "num_connections": count,
            "mean_degree": round(2 * count / num_agents, 4),
            "density": round(count / pairs, 4) if pairs else 0.0,
            "agents_by_type": {
                one.value: sum(agent["type"] == one.value for agent in agents) for one in types
            },
        },
        "timestamp": timestamp,
    }


def make_performance(
    agents: Sequence[AgentRecord],
    num_minutes: int,
    start: datetime,
    generator: np.random.Generator,
) -> list[MetricRecord]:
    """Draw four metrics per agent and minute, in order of time, of which 80 % arrive.

    One load drives all four: utilisation follows the hours of the agent with persistent noise,
    throughput is proportional to it, response time grows as 1 / (1 - utilisation), the queueing
    law of a single server, and accuracy falls with it.

    Args:
        agents: Whose.
        num_minutes: How many, at least 1.
        start: Time of the first reading.
        generator: The only source of chance.
    """
    first_slot = start.hour * 60 + start.minute
    # Stacked to minute, agent, metric.
    values = [_draw_day(agent, num_minutes, first_slot, generator) for agent in agents]
    table = np.stack(values, axis=1)
    arrives = generator.random(table.shape) < COVERAGE
    stamps = [(start + timedelta(minutes=minute)).isoformat() for minute in range(num_minutes)]
    return [
        {
            "timestamp": stamps[minute],
            "agentId": agents[agent]["id"],
            "metric": METRICS[metric],
            "value": round(float(table[minute, agent, metric]), 6),
        }
        for minute, agent, metric in np.argwhere(arrives)
    ]


def _draw_agent(number: int, kind: AgentType, generator: np.random.Generator) -> AgentRecord:
    profile = PROFILES[kind]
    utilization = np.asarray(profile.utilization) * generator.uniform(0.8, 1.1)

    def between(ends: tuple[float, float]) -> float:
        return round(float(generator.uniform(*ends)), 4)

    return {
        "id": f"agent_{number:03d}",
        "type": kind.value,
        "throughput": between(profile.throughput),
        "accuracy": between(profile.accuracy),
        "responseTime": between(profile.response_time),
        "utilization": np.minimum(utilization, HIGHEST_UTILIZATION).round(4).tolist(),
        "errorProbability": profile.error_probability,
        "learningRate": profile.learning_rate,
        "collaboration": profile.collaboration,
        "domains": list(profile.domains),
        "connections": [],
    }


def _draw_day(
    agent: AgentRecord, num_minutes: int, first_slot: int, generator: np.random.Generator
) -> Floats:
    """Return `[minute, metric]`."""
    hours = agent["utilization"]
    law = DiurnalLaw(
        level=float(np.mean(hours)),
        profile=tuple(hours),
        slow_sd=0.15,
        persistence=0.98,
        fast_sd=0.05,
        steps_per_day=MINUTES_PER_DAY,
    )
    load = law.draw(1, num_minutes, generator, first_slot=first_slot)[0].astype(np.float64)
    used = np.minimum(load, HIGHEST_UTILIZATION)
    days = np.arange(num_minutes) / MINUTES_PER_DAY
    best = 1 - (1 - agent["accuracy"]) * (1 - agent["learningRate"]) ** days
    accuracy = best * (1 - ACCURACY_LOSS * used**2)
    response = agent["responseTime"] / (1 - used)
    day: Floats = np.stack([agent["throughput"] * used, accuracy, response, used], axis=-1)
    return day
