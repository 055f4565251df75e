"""Scores, intervals, bounds and reports."""

from __future__ import annotations
