"""Clock, seeding, config, errors, logs, metrics and persistence; imports no package of ours."""

from __future__ import annotations
