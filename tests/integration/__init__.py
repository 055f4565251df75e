"""Tests of whole programs."""

from __future__ import annotations
