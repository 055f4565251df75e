"""Every table of the database, gathered: what migrations compare with and fresh databases get."""

from __future__ import annotations

from utils.persistence import experiments, jobs, registry
from utils.persistence.schema import metadata

TABLES = (experiments, jobs, registry)
"""The modules that declare them; importing one adds its tables to `metadata`."""

__all__ = ["TABLES", "metadata"]
