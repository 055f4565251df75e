"""The promotion gate: what speaks against a challenger, by the newest evaluation of its policy.

It must beat the champion of today and the tuned expert on held-out scenarios, each with the whole
paired interval above zero, and break no limit after projection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rl.training.promotion import Evidence, why_keep
from utils.config import from_json
from utils.errors import QuartermasterError


class GateClosedError(QuartermasterError):
    """The gate refused a challenger; the message says which conditions failed, with figures."""


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """What the gate said of one version."""

    agent: str
    version: int
    champion: int | None
    """Whom it had to beat."""
    is_passed: bool
    reasons: tuple[str, ...]
    """What speaks against it; nothing if it passed."""
    evidence: Mapping[str, Any] | None
    """What the evaluation found; None if there was none."""
    forced_because: str | None
    """Why a person let it through all the same; None if nobody did."""
    at: datetime

    @property
    def is_open(self) -> bool:
        """Whether the version may become champion."""
        return self.is_passed or self.forced_because is not None


def weigh(evidence: Mapping[str, Any] | None, *, version: int, champion: int | None) -> list[str]:
    """Return what speaks against a challenger; nothing if it is better than everybody.

    Args:
        evidence: A `rl.training.promotion.Evidence` as JSON; None if nobody judged it.
        version: The challenger's.
        champion: The version to beat; None if there is none yet.
    """
    if evidence is None:
        return [f"version {version} was never judged on held-out scenarios: evaluate it first"]
    found = from_json(Evidence, dict(evidence), "evidence.")
    judged = None if found.champion is None else found.champion.version
    reasons = why_keep(found, most_violation=0.0)
    if judged != champion:
        reasons.append(
            f"champion is version {champion or 'none'} by now, and it was judged against "
            f"{judged or 'none'}: evaluate it again"
        )
    return reasons
