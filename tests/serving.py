"""A small policy and its card, made up for tests of what serves."""

from __future__ import annotations

import itertools
import json

import numpy as np

from rl.artifacts import (
    ActionSpec,
    Baseline,
    Evaluation,
    Figure,
    Layer,
    Normalizer,
    PolicyArtifact,
    PolicyCard,
    ValidRange,
)
from rl.deployment.exporters import AllocationAction, planner_action_size
from rl.domains.resource_allocation import AllocationConfig, AllocationDomain
from rl.domains.shared_services import shared_services
from utils.config import to_json

WORLD = shared_services(4).allocation
NAMES = tuple(service.name for service in WORLD.services)


def make_ranges(config: AllocationConfig) -> tuple[ValidRange, ...]:
    ranges = [
        *(ValidRange(field=f"capacity.{r}", low=40.0, high=80.0) for r in config.resources),
        *(ValidRange(field=f"price.{r}", low=0.1, high=0.2) for r in config.resources),
    ]
    for service in config.services:
        prefix = f"services.{service.name}"
        most = 300.0 if service.patience > 1 else 0.0
        ranges += [
            ValidRange(field=f"{prefix}.recent_demand", low=0.0, high=100.0),
            ValidRange(field=f"{prefix}.priority", low=0.5, high=6.0),
            ValidRange(field=f"{prefix}.waiting", low=0.0, high=most),
        ]
    return tuple(ranges)


def make_card(config: AllocationConfig = WORLD, expert: str = "urgent_value") -> PolicyCard:
    return PolicyCard(
        agent="resource_allocator",
        run_id="run-1",
        checkpoint_sha256="0" * 64,
        commit="abc1234",
        data="synthetic days 1 to 9",
        evaluation=Evaluation(
            scenarios="days 10 to 14", num_episodes=20, kpi=100.0, kpi_low=98.0, kpi_high=102.0
        ),
        baseline=Baseline(
            expert=expert,
            parameters=(Figure(name="headroom", value=1.1), Figure(name="lookback", value=2.0)),
            kpi=90.0,
        ),
        validated_for=make_ranges(config),
        limits=("Simulated worlds only.",),
        created_at="2026-01-01T00:00:00+00:00",
        bound=130.0,
    )


def make_artifact(
    seed: int = 0,
    *,
    config: AllocationConfig = WORLD,
    scale: float = 0.3,
    bias: float = 0.2,
    action: AllocationAction = "shares",
) -> PolicyArtifact:
    generator = np.random.default_rng(seed)
    domain = AllocationDomain(config)
    sizes = [domain.observation_size, 16, 16, planner_action_size(domain, action)]

    def draw(*shape: int) -> np.ndarray:
        return (generator.standard_normal(shape) * scale).astype(np.float32)

    layers = [Layer(draw(i, o), draw(o)) for i, o in itertools.pairwise(sizes)]
    layers[-1] = Layer(layers[-1].weight, layers[-1].bias + np.float32(bias))
    std = (0.5 + generator.random(sizes[0])).astype(np.float32)
    return PolicyArtifact(
        layers=tuple(layers),
        activation="tanh",
        normalizer=Normalizer(draw(sizes[0]), std, 10.0),
        action=ActionSpec(kind="continuous", size=sizes[-1], meaning=action),
        domain="resource_allocation",
        domain_config=json.dumps(to_json(config), sort_keys=True),
        card=make_card(config),
    )
