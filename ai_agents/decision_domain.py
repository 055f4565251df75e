"""What one domain adds to the agent that all domains share: its words, its policy, its expert."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ai_agents.base_agent import DecisionT, Header, RequestT
from rl.deployment.guardrails import OutOfRange

Actions = NDArray[np.floating[Any]] | NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True)
class Situation:
    """A request in the domain's own terms; each domain adds its arrays."""

    outside: tuple[OutOfRange, ...]
    """Fields outside the validated ranges."""
    warnings: tuple[str, ...]
    """What the caller should know about the answer."""


SituationT = TypeVar("SituationT", bound=Situation)


class Plan(NamedTuple):
    """What a policy wants."""

    actions: Actions
    """`[row, ...]`, one for each situation."""
    is_usable: NDArray[np.bool_]
    """`[row]`: whether it holds numbers only."""


class DecisionDomain(ABC, Generic[RequestT, DecisionT, SituationT]):
    """Reads requests about one world, asks policy and expert, and words what they decide.

    Made from one artifact; holds nothing that changes between calls, so threads may share it.
    """

    title: str
    """Such as `Resource allocation agent`."""
    tags: tuple[str, ...] = ()
    """Words to find the agent by, beside the domain's name."""
    request_type: type[RequestT]
    decision_type: type[DecisionT]
    expert_name: str
    """Who answers where the policy must not or cannot."""

    @abstractmethod
    def describe(self) -> str:
        """Say in a sentence what the agent decides, and what for."""

    @abstractmethod
    def example_request(self) -> RequestT:
        """Return a request that the policy answers."""

    @abstractmethod
    def read(self, request: RequestT) -> SituationT:
        """Match names and sizes, fill in what may be left out.

        Args:
            request: Well formed, but perhaps about another world.

        Raises:
            RequestError: It does not fit; each problem names its field.
        """

    @abstractmethod
    def plan(self, situations: Sequence[SituationT]) -> Plan:
        """Ask the policy, all rows at once.

        Args:
            situations: At least one.
        """

    @abstractmethod
    def ask_expert(self, situations: Sequence[SituationT]) -> Actions:
        """Ask the expert; `[row, ...]`.

        Args:
            situations: At least one.
        """

    @abstractmethod
    def decide(
        self, situation: SituationT, action: Any, *, header: Header, expert: Any | None
    ) -> DecisionT:
        """Cut an action to what is feasible, exactly, and word it with reasons.

        Args:
            situation: What it is about.
            action: One row of what policy or expert want.
            header: What the decision says about itself.
            expert: The expert's row, if the answer shall show it.
        """
