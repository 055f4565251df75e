"""The doors: REST and metrics."""

from __future__ import annotations
