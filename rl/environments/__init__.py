"""Batched simulations and their faces."""

from __future__ import annotations
