"""What a trained world of execution has to say to the agent, and what all of them check."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ai_agents.base_agent import FieldProblem
from ai_agents.decision_domain import Situation
from ai_agents.execution_schema import OrderRequest
from ai_agents.policy_checks import problem_of
from rl.artifacts import PolicyArtifact
from utils.errors import ConfigError

Float32 = NDArray[np.float32]
Array64 = NDArray[np.float64]
BASIS_POINTS = 1e4
Choose = Callable[[Any, Any], Float32]
"""From a view, and what `roll` has read of it once for all slices, to an action `[row, 1]`."""


@dataclass(frozen=True, kw_only=True)
class SlicingTerms:
    """What slices cost, in basis points of the whole order at the arrival price.

    With s the slices and h what is held after each, as shares of the order: spread * sum s +
    temporary * sum s^2 + permanent * sum s h; risk is deviation^2 * sum h^2.
    """

    spread: float
    temporary: float
    permanent: float
    deviation: float
    risk_aversion: float


@dataclass(frozen=True, kw_only=True)
class OrderSituation(Situation):
    """A request in the numbers of its market."""

    order: OrderRequest
    numbers: dict[str, Array64]
    """Of the view, by name; no batch axis."""
    terms: SlicingTerms


@dataclass(frozen=True, kw_only=True)
class Schedules:
    """What is sold from now on, `[row, slice]` each, as shares of the whole order."""

    wished: Array64
    """`[row]`: of the next slice, before it is cut to what is left."""
    sold: Array64


class OrderMarket(Protocol):
    """A trained world behind the agent."""

    @property
    def request_type(self) -> type[OrderRequest]:
        """What it is asked with."""
        ...

    @property
    def expert_name(self) -> str:
        """Who stands in for the policy."""
        ...

    @property
    def subject(self) -> str:
        """What it sells, for people."""
        ...

    def example(self) -> OrderRequest:
        """Return an order that the policy answers for."""
        ...

    def read(self, request: Any) -> OrderSituation:
        """Turn a request into numbers.

        Args:
            request: Of the market's request type.

        Raises:
            RequestError: It does not fit.
        """
        ...

    def observe(self, view: Any, known: Any) -> Float32:
        """Return what the policy sees, `[row, observation]`.

        Args:
            view: From `roll`.
            known: From `roll`.
        """
        ...

    def ask_expert(self, view: Any, known: Any) -> Float32:
        """Return the expert's action, `[row, 1]`.

        Args:
            view: From `roll`.
            known: From `roll`.
        """
        ...

    def roll(self, situations: Sequence[OrderSituation], choose: Choose) -> Schedules:
        """Play orders to their ends, prices standing still but for own sales.

        Args:
            situations: At least one.
            choose: Who decides.
        """
        ...


def stack_numbers(situations: Sequence[OrderSituation]) -> dict[str, Float32]:
    """Put the numbers of orders behind one another, in the precision of training.

    Args:
        situations: At least one.
    """
    names = situations[0].numbers
    return {
        name: np.stack([one.numbers[name] for one in situations]).astype(np.float32)
        for name in names
    }


def known_expert(artifact: PolicyArtifact, known: dict[str, Any]) -> str:
    """Return who stands in for the policy.

    Args:
        artifact: Names the expert on its card.
        known: Experts by name.

    Raises:
        ConfigError: It is none of them.
    """
    name = artifact.card.baseline.expert
    if name not in known:
        raise ConfigError(f"expert {name!r}; known: {', '.join(known)}")
    return name


def order_problems(request: OrderRequest, most_slices: int) -> Iterator[FieldProblem]:
    """Say what is wrong with any order.

    Args:
        request: Well formed.
        most_slices: Of a whole plan.
    """
    if request.shares_left > request.shares_total:
        yield problem_of("shares_left", f"more than the whole order of {request.shares_total}")
    for name in ("shares_total", "shares_left"):
        if getattr(request, name) % request.lot:
            yield problem_of(name, f"not a multiple of the lot of {request.lot}")
    if request.slices_left > most_slices:
        yield problem_of("slices_left", f"at most {most_slices}: longer plans are not known")
