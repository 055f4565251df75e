"""What goes wrong in a supply network: it begins at some step, has a magnitude, and lasts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utils.errors import ConfigError

Numbers = NDArray[np.float64]
KINDS = ("demand_spike", "supplier_shortage", "logistics_delay", "quality_issue", "regulation")


@dataclass(frozen=True, kw_only=True)
class DisruptionLaw:
    """How often something begins, how bad it is and how long it lasts."""

    probability: float = 0.1
    """That one begins in a step."""
    kinds: tuple[str, ...] = KINDS
    magnitude: tuple[float, float] = (0.1, 0.5)
    """Range of the share by which demand rises or supply, quality or capacity falls; a delay is
    that share of the longest one, rounded up."""
    duration: tuple[int, int] = (5, 20)
    """Range of the steps it lasts, both included."""

    def __post_init__(self) -> None:
        """Refuse unknown kinds and empty ranges."""
        if not 0 <= self.probability <= 1:
            raise ConfigError(f"probability of disruptions must lie in [0, 1]: {self.probability}")
        if unknown := sorted(set(self.kinds) - set(KINDS)):
            raise ConfigError(f"unknown kinds {unknown}; known: {', '.join(KINDS)}")
        if not self.kinds or not 0 <= self.magnitude[0] <= self.magnitude[1] <= 1:
            raise ConfigError(f"kinds and a magnitude within [0, 1] are needed: {self}")
        if not 1 <= self.duration[0] <= self.duration[1]:
            raise ConfigError(f"a duration of 1 step or more is needed: {self.duration}")


@dataclass(frozen=True, kw_only=True)
class Disruptions:
    """Arrays of drawn disruptions, see `SupplyScenarios`; `demand_factor` is per step alone."""

    demand_factor: Numbers
    """`[episode, time, 1]`."""
    shortage: Numbers
    delay: Numbers
    quality_loss: Numbers
    capacity_loss: Numbers


def draw_disruptions(
    law: DisruptionLaw | None,
    shape: tuple[int, int, int],
    *,
    num_flows: int,
    has_disruptions: bool,
    max_delay: int,
    generator: np.random.Generator,
) -> Disruptions:
    """Draw disruptions of one node or more, each with a chance of up to a half.

    Delays strike links and recipes in the same way. Of two of a kind at once the worse counts.

    Args:
        law: How they come; None for none.
        shape: Episodes, steps and nodes.
        num_flows: Links and recipes.
        has_disruptions: Whether the arrays have room.
        max_delay: Longest delay.
        generator: The only source of chance.
    """
    episodes, steps, nodes = shape
    width = nodes if has_disruptions else 0
    spike = np.ones((episodes, steps, 1))
    per_node = {name: np.zeros((episodes, steps, width)) for name in KINDS[1:2] + KINDS[3:]}
    delay = np.zeros((episodes, steps, num_flows if has_disruptions else 0))
    if law is not None:
        for step in range(steps):
            begins = np.nonzero(generator.random(episodes) < law.probability)[0]
            kind = generator.integers(len(law.kinds), size=len(begins))
            magnitude = generator.uniform(*law.magnitude, size=len(begins))
            length = generator.integers(law.duration[0], law.duration[1] + 1, size=len(begins))
            reach = generator.random((len(begins), max(nodes, num_flows)))
            share = generator.uniform(0.0, 0.5, size=(len(begins), 1))
            for row, episode in enumerate(begins):
                name = law.kinds[kind[row]]
                lasts = slice(step, step + int(length[row]))
                if name == "demand_spike":
                    target, value = spike[episode, lasts], np.array([1.0 + magnitude[row]])
                elif name == "logistics_delay":
                    target = delay[episode, lasts]
                    value = np.ceil(magnitude[row] * max_delay) * _hit(
                        reach[row, :num_flows], share[row]
                    )
                else:
                    target = per_node[name][episode, lasts]
                    value = magnitude[row] * _hit(reach[row, :nodes], share[row])
                np.maximum(target, value, out=target)
    return Disruptions(
        demand_factor=spike,
        shortage=per_node["supplier_shortage"],
        delay=delay,
        quality_loss=per_node["quality_issue"],
        capacity_loss=per_node["regulation"],
    )


def _hit(reach: Numbers, share: Numbers) -> NDArray[np.bool_]:
    """Return who is struck: everyone within the share, and at least the nearest."""
    return np.asarray(reach <= np.maximum(share, reach.min()))
