"""Which nonlinearities a network may have, by name."""

from __future__ import annotations

from typing import Literal

Activation = Literal["tanh", "relu"]
"""What every kind of network knows."""
PlainActivation = Literal["tanh", "relu", "silu"]
"""What a plain multilayer perceptron, as autograd differentiates it, knows besides."""
