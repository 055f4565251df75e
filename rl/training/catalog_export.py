"""How a policy leaves a world of the catalogue that has a view, and who stands in for it there."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.scenario import ScenarioArrays
from rl.artifacts import PolicyArtifact, PolicyCard, ValidRange
from rl.deployment.exporters import ExportableAgent
from rl.deployment.view_exporter import (
    ViewActions,
    ViewField,
    ViewWorldConfig,
    export_view_policy,
)
from rl.deployment.view_policy import ViewPolicy
from rl.domains.view_worlds import VIEW_WORLDS
from rl.environments.base_environment import BatchedEnvironment, StepRecord
from rl.environments.torch_tools import view_to_numpy
from rl.evaluation.players import Player, random_player
from rl.training.problem import ExpertRule, Exporter
from utils.config import to_json

Judge = Callable[[ScenarioArrays], BatchedEnvironment]
"""Builds one copy per episode, played in order."""
LIMITS = (
    "Trained and judged on synthetic scenarios of one preset only.",
    "Ranges are those of single numbers; combinations of them may still be new to the policy.",
)
NUM_SEEN = 64
"""Episodes that are played to see how far numbers of the view go."""


def view_experts(name: str) -> dict[str, ExpertRule]:
    """Return the experts of a world with a view; none of them has anything to tune.

    Args:
        name: Of the world.
    """
    if name not in VIEW_WORLDS:
        return {}

    def none() -> tuple[()]:
        return ()

    def play(rule: Any, _: object) -> Player:
        return _rule_player(lambda environment, view: rule(view, _numpy_domain(name, environment)))

    return {
        expert: ExpertRule(tune=none, player=partial(play, rule))
        for expert, rule in VIEW_WORLDS[name].experts.items()
    }


def view_exporter(name: str, judge: Judge, held_out: ScenarioArrays) -> Exporter | None:
    """Return how a policy of a world leaves it; None if the world has no view.

    Args:
        name: Of the world.
        judge: Builds it, with actions as the policy takes them.
        held_out: Scenarios that the policy plays to see how far it takes the world.
    """
    if name not in VIEW_WORLDS:
        return None
    return Exporter(
        make=partial(_export, name=name, judge=judge, held_out=held_out.take(_first(held_out))),
        ranges=partial(_measure_ranges, name, judge),
        limits=LIMITS,
    )


def describe_world(environment: Any) -> tuple[ViewWorldConfig, ViewActions]:
    """Return what an artifact says of a world, and what actions mean there.

    Args:
        environment: Reset, with a view.
    """
    spec = environment.groups[0].action
    config = ViewWorldConfig(
        world=json.dumps(to_json(environment.config), sort_keys=True),
        fields=_fields_of(environment.view),
    )
    return config, ViewActions(
        is_choice=spec.kind == "discrete", size=spec.size, low=spec.low, high=spec.high
    )


def _export(
    agent: ExportableAgent,
    card: PolicyCard,
    *,
    name: str,
    judge: Judge,
    held_out: ScenarioArrays,
) -> PolicyArtifact:
    """Export, then widen the ranges by what the policy itself meets."""
    environment = judge(held_out)
    environment.reset()
    config, actions = describe_world(environment)
    artifact = export_view_policy(agent, card, name=name, config=config, actions=actions)
    policy = ViewPolicy(artifact)
    player = _rule_player(lambda _, view: policy.act(view)[0])
    reached = _play_ranges(judge, held_out, player)
    known = {one.field: one for one in card.validated_for}
    wider = tuple(_widest([known[one.field], one]) for one in reached if one.field in known)
    return artifact.with_card(replace(card, validated_for=wider))


def _measure_ranges(
    name: str, judge: Judge, sets: Sequence[ScenarioArrays]
) -> tuple[ValidRange, ...]:
    """Let chance and every expert play the scenarios; return how far each number goes."""
    players = [random_player(0), *(rule.player(()) for rule in view_experts(name).values())]
    found = [
        _play_ranges(judge, scenarios.take(_first(scenarios)), player)
        for scenarios in sets
        for player in players
    ]
    return tuple(_widest(same) for same in zip(*found, strict=True))


def _play_ranges(judge: Judge, scenarios: ScenarioArrays, player: Player) -> tuple[ValidRange, ...]:
    environment: Any = judge(scenarios)
    record = environment.reset()
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    with torch.no_grad():
        for _ in range(environment.shape.num_steps):
            for field, values in vars(environment.view).items():
                low[field] = min(low.get(field, np.inf), float(values.min()))
                high[field] = max(high.get(field, -np.inf), float(values.max()))
            record = environment.step(player(environment, record))
    return tuple(ValidRange(field=field, low=low[field], high=high[field]) for field in low)


def _rule_player(rule: Callable[[Any, Any], Any]) -> Player:
    """Let a rule act from the NumPy view, for one agent or for all of a world at once."""

    def act(environment: Any, record: StepRecord) -> Tensor:
        action = np.asarray(rule(environment, view_to_numpy(environment.view)))
        if environment.groups[0].action.kind == "continuous":
            action = action.astype(np.float32)
            per_agent = action.ndim == 3
        else:
            action = action.astype(np.int64)
            per_agent = action.ndim == 2
        tensor = torch.from_numpy(action).to(record.observation.device)
        return tensor if per_agent else tensor[:, None]

    return act


def _numpy_domain(name: str, environment: Any) -> Any:
    return VIEW_WORLDS[name].make_domain(environment.config)


def _fields_of(view: Any) -> tuple[ViewField, ...]:
    return tuple(
        ViewField(
            name=name,
            shape=tuple(values.shape[1:]),
            kind="number" if values.is_floating_point() else "whole",
        )
        for name, values in vars(view).items()
    )


def _first(scenarios: ScenarioArrays) -> np.ndarray[Any, Any]:
    return np.arange(min(NUM_SEEN, scenarios.num_episodes))


def _widest(ranges: Sequence[ValidRange]) -> ValidRange:
    return ValidRange(
        field=ranges[0].field,
        low=min(one.low for one in ranges),
        high=max(one.high for one in ranges),
    )
