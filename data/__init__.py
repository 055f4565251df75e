"""Scenarios as arrays: synthetic generators and real traces; NumPy only."""

from __future__ import annotations
