"""Domains whose policy and expert see one view: both are asked for all rows at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from numpy.typing import NDArray

from ai_agents.base_agent import DecisionT, RequestT
from ai_agents.decision_domain import DecisionDomain, Plan, Situation
from rl.deployment.view_policy import ViewPolicy, join_views


@dataclass(frozen=True, kw_only=True)
class ViewSituation(Situation):
    """A request as a view."""

    view: Any
    """In double precision, with a batch axis of one."""


ViewSituationT = TypeVar("ViewSituationT", bound=ViewSituation)


class ViewPlans(DecisionDomain[RequestT, DecisionT, ViewSituationT]):
    """Asks a policy of a world with a view; subclasses read requests and word decisions."""

    _policy: ViewPolicy

    def plan(self, situations: Sequence[ViewSituationT]) -> Plan:
        """Ask the policy.

        Args:
            situations: At least one.

        Returns:
            Actions as the world is played, `[row, ...]`.
        """
        return Plan(*self._policy.act(join_views([one.view for one in situations])))

    def ask_expert(self, situations: Sequence[ViewSituationT]) -> NDArray[Any]:
        """Ask the expert.

        Args:
            situations: At least one.
        """
        return self._policy.ask_expert(join_views([one.view for one in situations]))
