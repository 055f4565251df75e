"""Where an attempt of a job runs."""

from __future__ import annotations
