"""Supervision of agents: approval by people, outcomes, regret and drift."""

from __future__ import annotations
