"""Prometheus families of training and serving."""

from __future__ import annotations
