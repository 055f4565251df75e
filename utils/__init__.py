"""Clock, seeding, config, errors, logs, observability and persistence; imports no other package of ours."""

from __future__ import annotations
