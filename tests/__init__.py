"""Tests, laid out like the code."""

from __future__ import annotations
