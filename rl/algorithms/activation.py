"""Which nonlinearities a network may have, by name."""

from __future__ import annotations

from typing import Literal

Activation = Literal["tanh", "relu", "silu"]
