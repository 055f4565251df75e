"""Pipelines: steps of work as data, checked and submitted together."""

from __future__ import annotations
