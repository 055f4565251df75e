"""Every table of the database, gathered: what migrations compare with and fresh databases get."""

from __future__ import annotations

from utils.persistence import (
    access,
    approvals,
    decisions,
    experiments,
    jobs,
    registry,
    rollouts,
    schedules,
)
from utils.persistence.schema import metadata

TABLES = (access, approvals, decisions, experiments, jobs, registry, rollouts, schedules)
"""The modules that declare them; importing one adds its tables to `metadata`."""

__all__ = ["TABLES", "metadata"]
