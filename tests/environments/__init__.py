"""Tests of rl.environments."""

from __future__ import annotations
