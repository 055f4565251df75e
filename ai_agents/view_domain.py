"""Any world whose view is a dataclass of arrays, as an agent: fields in, a feasible action out."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_agents.base_agent import DecisionRequest, FieldProblem, Header, RequestError
from ai_agents.policy_checks import range_warning
from ai_agents.view_plans import ViewPlans, ViewSituation
from ai_agents.view_schema import ActionWish, ExpertAction, ViewDecision, make_request_type
from ai_agents.wishes import read_wish, refuse
from rl.artifacts import PolicyArtifact
from rl.deployment.guardrails import find_out_of_range
from rl.deployment.view_policy import ViewPolicy


class ViewDecisions(ViewPlans[DecisionRequest, ViewDecision, ViewSituation]):
    """Decides in one world of the catalogue."""

    decision_type = ViewDecision

    def __init__(self, artifact: PolicyArtifact) -> None:
        """Read the world from the artifact, and make its request.

        Args:
            artifact: As `export_view_policy` made it.

        Raises:
            ConfigError: The world is not known, or the network does not fit it.
        """
        self._policy = ViewPolicy(artifact)
        self._name = artifact.domain
        self._valid = artifact.card.validated_for
        self.title = f"{artifact.domain.replace('_', ' ').capitalize()} agent"
        self.expert_name = self._policy.expert_name
        self.request_type = make_request_type(
            artifact.domain, self._policy.world, self._policy.fields
        )

    def describe(self) -> str:
        """Say what is decided."""
        return self._policy.world.about

    def example_request(self) -> DecisionRequest:
        """Return a request in the middle of what the policy is validated for."""
        middle = {one.field: (one.low + one.high) / 2 for one in self._valid}
        most = {one.field: one.high for one in self._valid}
        values = {}
        for one in self._policy.fields:
            value = middle.get(one.name, 1.0)
            if one.kind == "whole" or one.name in self._policy.world.flags:
                value = int(most.get(one.name, 1))
            values[one.name] = np.full(one.shape, value).tolist()
        return self.request_type.model_validate(values)

    def read(self, request: DecisionRequest) -> ViewSituation:
        """Turn the fields into arrays.

        Args:
            request: Of this agent's type.

        Raises:
            RequestError: Nothing is active where something must be.
        """
        arrays: dict[str, NDArray[Any]] = {}
        for one in self._policy.fields:
            kind = np.int64 if one.kind == "whole" else np.float64
            arrays[one.name] = np.asarray(getattr(request, one.name), kind)[None]
        empty = [name for name in self._policy.world.anything if not arrays[name].any()]
        if empty:
            raise RequestError(
                [FieldProblem(field=name, problem="at least one must be 1") for name in empty]
            )
        values = {name: values.ravel().tolist() for name, values in arrays.items()}
        outside = find_out_of_range(values, self._valid)
        return ViewSituation(
            outside=outside,
            warnings=tuple(map(range_warning, outside)),
            view=self._policy.world.view(**arrays),
        )

    def decide(
        self,
        situation: ViewSituation,
        action: Any,
        *,
        header: Header,
        expert: Any | None,
    ) -> ViewDecision:
        """Project an action exactly.

        Args:
            situation: What it is about.
            action: One row.
            header: What the decision says about itself.
            expert: The expert's row, if the answer shall show it.
        """
        world = self._policy.world
        compared = None
        if expert is not None:
            compared = ExpertAction(name=self.expert_name, action=self._project(expert, situation))
        who = (
            f"the expert {self.expert_name} stood in for it"
            if header["fallback_used"]
            else f"the policy trained in {self._name} decided"
        )
        return ViewDecision(
            **header,
            action=self._project(action, situation),
            meaning=world.decision,
            reason=f"{world.about} Here {who}.",
            guardrails=[] if header["fallback_used"] else self._cut(action, situation),
            expert=compared,
        )

    def amounts(self, decision: ViewDecision) -> Mapping[Hashable, float]:
        """Return the amounts of the action by position, or one for the choice.

        Args:
            decision: Of policy, expert or person.
        """
        if np.ndim(decision.action) == 0:
            return {decision.action: 1.0}  # type: ignore[dict-item]  # a number
        return dict(enumerate(np.ravel(decision.action).tolist()))

    def to_action(self, situation: ViewSituation, wish: Mapping[str, Any]) -> Any:
        """Return the action that comes to what a person wants.

        Args:
            situation: What it is about.
            wish: `action`, with axes and unit as in a decision.

        Raises:
            RequestError: It has another shape, or cannot be carried out as it is.
        """
        wanted = read_wish(ActionWish, wish).action
        shape = np.shape(self._project(self.ask_expert([situation])[0], situation))
        try:
            feasible = np.asarray(wanted, np.float64)
        except ValueError:  # lists of unlike lengths
            feasible = np.empty(0)
        if feasible.shape != shape:
            raise refuse("action", f"shape {list(shape)}: {self._policy.world.decision}")
        action = self._policy.undo(feasible[None], situation.view)
        if action is None:
            raise refuse("action", "this cannot be carried out: beyond a limit, or not there")
        return action[0]

    def _project(self, action: Any, situation: ViewSituation) -> Any:
        return self._policy.project(np.asarray(action)[None], situation.view)[0].tolist()

    def _cut(self, action: Any, situation: ViewSituation) -> list[str]:
        """Name what a choice was cut to; amounts are cut by the world's projection, unnamed."""
        allowed = self._policy.world.allowed
        if allowed is None:
            return []
        choices = allowed(self._policy.domain, situation.view)[0]
        return [] if choices[int(action)] else ["allowed"]
