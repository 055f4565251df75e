"""Exported policies at work: the NumPy runtime and its guardrails."""

from __future__ import annotations
