"""The training loop, its checkpoints, its recorder and its async face."""

from __future__ import annotations
