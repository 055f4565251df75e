"""Requests drawn at random from the ranges that a policy is validated for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ai_agents.base_agent import RequestError
from ai_agents.decision_domain import Situation
from ai_agents.domains import AnyDomain
from rl.artifacts import PolicyArtifact, ValidRange

TRIES = 20


def draw_situations(
    domain: AnyDomain, artifact: PolicyArtifact, *, count: int, seed: int = 0
) -> list[Situation]:
    """Vary the domain's example, or what it draws itself: fields take any value of their range.

    What the domain refuses, or calls out of range all the same, is drawn again, so there may be
    fewer in the end.

    Args:
        domain: Made from the artifact.
        artifact: Its card names the ranges.
        count: How many are wanted.
        seed: The only source of chance.
    """
    generator = np.random.default_rng(seed)
    example = domain.example_request()
    found: list[Situation] = []
    for _ in range(TRIES * count):
        if len(found) == count:
            break
        document = (domain.vary(generator) or example).model_dump()
        for one in artifact.card.validated_for:
            _set(document, one.field.split("."), one, generator)
        try:
            situation = domain.read(domain.request_type.model_validate(document))
        except (RequestError, ValueError):
            continue
        if not situation.outside:
            found.append(situation)
    return found


def _set(node: Any, path: Sequence[str], one: ValidRange, generator: np.random.Generator) -> None:
    """Follow a path such as `services.search.waiting`; leaves out what the example has not."""
    name, rest = path[0], path[1:]
    if isinstance(node, list):
        for entry in node:
            if isinstance(entry, dict) and entry.get("name") == name and rest:
                _set(entry, rest, one, generator)
    elif not isinstance(node, dict):
        return
    elif rest:
        _set(node.get(name), rest, one, generator)
    elif name in node:
        node[name] = _draw_like(node[name], one, generator)


def _draw_like(value: Any, one: ValidRange, generator: np.random.Generator) -> Any:
    """Return numbers in the range, of the shape and kind of those that stand there."""
    if isinstance(value, dict):
        return {key: _draw_like(inner, one, generator) for key, inner in value.items()}
    if isinstance(value, list):  # the range may be that of each entry, or that of their sum
        width = (one.high - one.low) / generator.choice([1, max(len(value), 1)])
        part = replace(one, high=one.low + width)
        return [_draw_like(inner, part, generator) for inner in value]
    if isinstance(value, int):
        least = math.ceil(one.low)
        return int(generator.integers(least, max(math.floor(one.high), least) + 1))
    return float(generator.uniform(one.low, one.high))
