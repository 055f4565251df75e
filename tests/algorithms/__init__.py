"""Tests of rl.algorithms."""

from __future__ import annotations
