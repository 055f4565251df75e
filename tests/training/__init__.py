"""Tests of rl.training."""

from __future__ import annotations
