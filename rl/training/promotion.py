"""Whether a new policy takes over: pure rules on what its evaluation found; no torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from rl.artifacts import PolicyArtifact
from rl.training.job_places import PlaceContext, open_artifacts
from utils.config import from_json
from utils.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean paired difference and its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Rival:
    """Somebody the candidate was compared with."""

    name: str
    difference: Interval | None
    """How much better the candidate is; None if they did not play each other."""
    violation: float
    """What it broke of the limits, mean over the episodes."""
    version: int | None = None
    """Of a champion."""
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What an evaluation found."""

    agent: str
    sha256: str
    """Of the candidate."""
    data: str
    data_sha256: str
    episodes: int
    violation: float
    """What the candidate broke of the limits, mean over the episodes."""
    expert: Rival
    champion: Rival | None
    """None if the agent had none when it was judged."""


def why_keep(evidence: Evidence, *, most_violation: float | None = None) -> list[str]:
    """Return what speaks against the candidate; nothing if it is better than everybody.

    It must beat the champion and the best expert with the whole interval above zero, and keep the
    limits: break nothing where the expert breaks nothing, or no more than is said.

    Args:
        evidence: Of its evaluation.
        most_violation: What it may break of the limits per episode, if that is said.
    """
    rivals = [evidence.expert] + ([] if evidence.champion is None else [evidence.champion])
    reasons = [reason for rival in rivals if (reason := _not_better(rival)) is not None]
    if most_violation is None and evidence.expert.violation == 0:
        most_violation = 0.0
    if most_violation is not None and not evidence.violation <= most_violation:
        reasons.append(
            f"it breaks limits by {evidence.violation:,.4g} per episode, {most_violation:,.4g} "
            "is allowed"
        )
    return reasons


def _not_better(rival: Rival) -> str | None:
    who = f"the expert {rival.name}" if rival.version is None else f"champion {rival.name}"
    found = rival.difference
    if found is None:
        return f"it was not compared with {who}"
    if not all(map(math.isfinite, (found.low, found.mean, found.high))):
        return f"its difference to {who} is not finite"
    if found.low > 0:
        return None
    return (
        f"it is not surely better than {who}: {found.mean:+,.4g}, "
        f"95 % [{found.low:+,.4g}, {found.high:+,.4g}]"
    )


class _Inputs(PlaceContext, Protocol):
    @property
    def inputs(self) -> Mapping[str, Any]: ...


def decide_promotion(spec: Mapping[str, Any], context: _Inputs) -> dict[str, Any]:
    """Weigh an evaluation and prove that the candidate's bytes are whole.

    Args:
        spec: `evaluation` names the step that judged, `alias` what would move, `most_violation`
            what may be broken, `artifact_root`.
        context: Of the attempt; its inputs hold the step's result.

    Returns:
        The verdict; the alias moves in the transaction that records it.

    Raises:
        ConfigError: The step has no evidence.
        ArtifactCorruptError: The candidate is damaged; the alias stays.
    """
    result = context.inputs.get(spec["evaluation"])
    if not result or "evidence" not in result:
        raise ConfigError(f"step {spec['evaluation']} left no evidence: need an evaluate step")
    evidence = from_json(Evidence, result["evidence"], "evidence.")
    reasons = why_keep(evidence, most_violation=spec["most_violation"])
    if not reasons:
        store = open_artifacts(spec, context)
        PolicyArtifact.from_bytes(store.get(evidence.sha256))
    champion = evidence.champion
    return {
        "agent": evidence.agent,
        "sha256": evidence.sha256,
        "alias": spec["alias"],
        "judged_against": None if champion is None else champion.version,
        "promote": not reasons,
        "reasons": reasons,
        "because": _because(evidence),
        "evidence": result["evidence"],
    }


def _because(evidence: Evidence) -> str:
    parts = []
    for rival in (evidence.expert, evidence.champion):
        if rival is not None and rival.difference is not None:
            found = rival.difference
            parts.append(
                f"{found.mean:+,.4g} [{found.low:+,.4g}, {found.high:+,.4g}] to {rival.name}"
            )
    return f"{'; '.join(parts)}; {evidence.episodes} episodes of {evidence.data}"
