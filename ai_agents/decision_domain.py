"""What one domain adds to the agent that all domains share: its words, its policy, its expert."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ai_agents.base_agent import DecisionT, FieldProblem, Header, RequestError, RequestT
from ai_agents.explanation import Trace
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

    @abstractmethod
    def amounts(self, decision: DecisionT) -> Mapping[Hashable, float]:
        """Say what a decision gives to what, so that two can be told apart by how much.

        Args:
            decision: Of this domain.

        Returns:
            Amounts in units that may be added up, or 1 for each thing chosen.
        """

    def comparable(self, actions: Actions) -> Actions:
        """Return what of actions says how far apart they are: amounts, or whole numbers of choices.

        Args:
            actions: As `plan` returns them.
        """
        return actions

    def decide_all(
        self,
        situations: Sequence[SituationT],
        actions: Sequence[Any],
        *,
        headers: Sequence[Header],
        experts: Sequence[Any | None],
    ) -> list[DecisionT]:
        """Decide several at once, as `decide` would one by one.

        Args:
            situations: What they are about.
            actions: One row each of what policy or expert want.
            headers: What the decisions say about themselves.
            experts: The expert's rows where the answer shall show them.
        """
        rows = zip(situations, actions, headers, experts, strict=True)
        return [
            self.decide(situation, action, header=header, expert=expert)
            for situation, action, header, expert in rows
        ]

    def vary(self, generator: np.random.Generator) -> RequestT | None:  # noqa: ARG002
        """Return a request drawn at random; None where varying the example's fields will do.

        Args:
            generator: The only source of chance.
        """
        return None

    def trace(self, situation: SituationT) -> Trace | None:  # noqa: ARG002
        """Say how the policy sees a request, field by field; None if that cannot be told.

        Args:
            situation: What the policy was asked about.
        """
        return None

    def to_action(self, situation: SituationT, wish: Mapping[str, Any]) -> Actions:  # noqa: ARG002
        """Return what a person wants as an action, one row of `plan`.

        Args:
            situation: What it is about.
            wish: In the words of a decision.

        Raises:
            RequestError: It is malformed, or cannot be carried out as it is.
        """
        problem = "this agent takes no decisions of others: approve its own, or reject it"
        raise RequestError([FieldProblem(field="decision", problem=problem)])

    def override(
        self, situation: SituationT, wish: Mapping[str, Any], *, header: Header
    ) -> DecisionT:
        """Word a person's own decision, in place of the agent's; nothing of it may need cutting.

        Args:
            situation: What it is about.
            wish: What the person wants, in the words of a decision.
            header: What the decision says about itself.

        Raises:
            RequestError: It is malformed or infeasible; each problem names its field.
        """
        action = self.to_action(situation, wish)
        decision = self.decide(situation, action, header=header, expert=None)
        if decision.guardrails:
            problem = "beyond this limit"
            raise RequestError(
                [FieldProblem(field=name, problem=problem) for name in decision.guardrails]
            )
        if "reason" in type(decision).model_fields:
            return decision.model_copy(update={"reason": f"Decided by {header['decided_by']}."})
        return decision

    def realised(
        self,
        request: RequestT,  # noqa: ARG002
        outcome: Mapping[str, Any] | None,  # noqa: ARG002
        following: RequestT | None,  # noqa: ARG002
    ) -> Any | None:
        """Return what really came after a request, for `worth`; None if that cannot be told.

        Args:
            request: What was asked.
            outcome: What was reported later, if anything was.
            following: The next request that the same agent got, whoever it came from.
        """
        return None

    def worth(self, situation: SituationT, decision: DecisionT, came: Any | None) -> float | None:  # noqa: ARG002
        """Return what a decision was worth in its step; None if the domain has no such figure.

        Args:
            situation: What it was about.
            decision: Of policy, expert or person.
            came: What `realised` returned; None counts what was expected.
        """
        value = getattr(decision, "expected_value", None)
        return None if value is None or came is not None else float(value)
