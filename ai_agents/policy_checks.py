"""Checks that several domains make: of a network against its world, of a request against ranges."""

from __future__ import annotations

from collections.abc import Sequence

from ai_agents.base_agent import FieldProblem
from rl.artifacts import PolicyArtifact
from rl.deployment.guardrails import OutOfRange
from utils.errors import ConfigError


def check_policy(artifact: PolicyArtifact, meaning: str, observed: int, size: int) -> None:
    """Refuse a network that does not fit the world in its artifact.

    Args:
        artifact: The policy.
        meaning: What its action has to mean.
        observed: Numbers in an observation.
        size: Numbers in an action.

    Raises:
        ConfigError: It does not.
    """
    action = artifact.action
    if action.kind == "discrete" or action.meaning != meaning:
        raise ConfigError(f"{action}: this agent knows continuous {meaning}")
    if (artifact.observation_size, action.size) != (observed, size):
        raise ConfigError("the artifact's network does not fit its own world; export it again")


def range_warning(found: OutOfRange) -> str:
    """Say that a field lies outside its validated range.

    Args:
        found: Which.
    """
    valid = found.valid
    return f"{found.field} = {found.value:g}: validated for {valid.low:g} to {valid.high:g} only"


def problem_of(field: str, problem: str) -> FieldProblem:
    """Say what is wrong with a field.

    Args:
        field: Its path.
        problem: What.
    """
    return FieldProblem(field=field, problem=problem)


def find_repeated(where: str, names: Sequence[str]) -> list[FieldProblem]:
    """Say which names stand twice where no two may be alike.

    Args:
        where: Path of a name, with `{}` for its position.
        names: In their order.
    """
    return [
        problem_of(where.format(place), f"{name} is named twice")
        for place, name in enumerate(names)
        if name in names[:place]
    ]
