"""What every agent offers, whatever it learns from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from rl.algorithms.heads import ActionSample
from rl.algorithms.policy_state import TensorDict


class Policy(Protocol):
    """An agent as the trainer, evaluation and checkpoints see it."""

    def act(
        self, observation: Tensor, action_mask: Tensor | None, *, deterministic: bool
    ) -> ActionSample:
        """Choose an action for every agent of every copy."""
        ...

    def policy_state(self) -> TensorDict:
        """Return copies of all that acting needs."""
        ...

    def load_policy_state(self, state: Mapping[str, Tensor]) -> None:
        """Act from now on as the saved policy did."""
        ...

    def state_dict(self) -> TensorDict:
        """Return copies of everything that learning needs to go on bit for bit."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a saved state."""
        ...
