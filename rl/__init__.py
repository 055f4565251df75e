"""Reinforcement learning: domains, environments, algorithms, training, evaluation, deployment."""

from __future__ import annotations
