"""Learning algorithms: pure functions of arrays and the agents that wire them."""

from __future__ import annotations
