"""Trained policies as callable business agents."""

from __future__ import annotations
