"""What people may decide in place of an agent, in the words of its decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from ai_agents.base_agent import FieldProblem, RequestError, RequestModel, problems_of

WishT = TypeVar("WishT", bound=RequestModel)
Word = Annotated[str, Field(min_length=1, max_length=200)]
Units = Annotated[float, Field(ge=0, le=1e12)]


class NodeWish(RequestModel):
    """Where a person places a pod."""

    node: Word = Field(description="Name of the node, or its position where nodes have none.")
    gpu: Annotated[int, Field(ge=0, le=7)] | None = Field(
        default=None, description="Which GPU, for a part of one; the agent's choice if absent."
    )


class WeightsWish(RequestModel):
    """How a person splits wealth."""

    weights: dict[Word, Annotated[float, Field(ge=-100, le=100)]] = Field(
        max_length=2000, description="Share of wealth by symbol; nothing of those not named."
    )


class SliceWish(RequestModel):
    """How much a person sells now."""

    next_slice: int = Field(ge=0, le=10**12, description="Shares, whole lots.")


class SkillWish(RequestModel):
    """Whom a person calls for one skill."""

    skill: Word
    called: list[Word] = Field(max_length=1000, description="Names of people who can come.")


class StaffingWish(RequestModel):
    """Whom a person calls."""

    staffing: list[SkillWish] = Field(
        max_length=32, description="Nobody for a skill that is not named."
    )


class WorkloadWish(RequestModel):
    """Where a person puts one workload."""

    workload: Word
    node: Word | None = Field(description="Nowhere if null.")


class WorkloadsWish(RequestModel):
    """Where a person puts workloads."""

    placements: list[WorkloadWish] = Field(
        max_length=64, description="Workloads not named are put nowhere."
    )


class ProductWish(RequestModel):
    """What a person orders of one product."""

    name: Word
    orders: dict[Word, Units] = Field(
        max_length=1000, description="Units by the place that orders; none of those not named."
    )


class OrdersWish(RequestModel):
    """What a person orders."""

    products: list[ProductWish] = Field(
        min_length=1, max_length=2000, description="Every product of the request once."
    )


def read_wish(kind: type[WishT], wish: Mapping[str, Any]) -> WishT:
    """Read a person's wish.

    Args:
        kind: Of the domain.
        wish: What the person sent.

    Raises:
        RequestError: It is malformed; each problem names its field.
    """
    try:
        return kind.model_validate(dict(wish))
    except ValidationError as error:
        raise RequestError(problems_of(error)) from error


def refuse(field: str, problem: str) -> RequestError:
    """Return the error of a wish that cannot be carried out.

    Args:
        field: Of the wish.
        problem: What is wrong with it.
    """
    return RequestError([FieldProblem(field=field, problem=problem)])


def read_orders(
    wish: Mapping[str, Any], names: Sequence[str], places: Sequence[str]
) -> NDArray[np.float64]:
    """Read what a person orders.

    Args:
        wish: What the person sent.
        names: Of the products, each of which must be named once.
        places: Who can order.

    Returns:
        `[product, place]`: units.

    Raises:
        RequestError: It is malformed, or names others than there are.
    """
    products = read_wish(OrdersWish, wish).products
    named = {one.name: one.orders for one in products}
    if len(named) < len(products) or set(named) != set(names):
        raise refuse("products", f"name each once: {', '.join(names)}")
    for name, orders in named.items():
        unknown = [place for place in orders if place not in places]
        if unknown:
            raise refuse(f"products.{name}.orders.{unknown[0]}", "no such place orders")
    return np.asarray([[named[name].get(place, 0.0) for place in places] for name in names])


def read_placements(
    wish: Mapping[str, Any], workloads: Sequence[str], nodes: Sequence[str]
) -> list[int | None]:
    """Read where a person puts workloads.

    Args:
        wish: What the person sent.
        workloads: Their names.
        nodes: Names of the nodes.

    Returns:
        For each workload the position of its node; None where it is put nowhere.

    Raises:
        RequestError: It is malformed, or names others than there are.
    """
    placements = read_wish(WorkloadsWish, wish).placements
    wanted = {one.workload: one.node for one in placements}
    if len(wanted) < len(placements) or not wanted.keys() <= set(workloads):
        raise refuse("placements", f"name each once, of {', '.join(workloads)}")
    unknown = [name for name, node in wanted.items() if node is not None and node not in nodes]
    if unknown:
        raise refuse(f"placements.{unknown[0]}", f"no node {wanted[unknown[0]]}")
    chosen = [wanted.get(name) for name in workloads]
    return [None if node is None else nodes.index(node) for node in chosen]
