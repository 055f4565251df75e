"""Schedules: what starts by the clock or after an event, once, whoever looks at the clock."""

from __future__ import annotations
