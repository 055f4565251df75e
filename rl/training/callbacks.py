"""What watches a training run and may end it; each can be saved and continues exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rl.algorithms.policy_state import TensorDict
from rl.evaluation.contest import Numbers
from rl.evaluation.statistics import block_bootstrap_interval
from utils.errors import ConfigError

SECONDS_PER_HOUR = 3600.0


class TrainingCallback(Protocol):
    """Hears of every update and evaluation; the first one that gives a reason ends training."""

    @property
    def name(self) -> str:
        """Under which its state is saved; different for each callback of a run."""
        ...

    def after_update(self, env_steps: int, figures: Mapping[str, float]) -> str | None:
        """Return why training should end now, in words, or None.

        Args:
            env_steps: Transitions so far, over all copies.
            figures: The metrics of the update.
        """
        ...

    def after_evaluation(self, env_steps: int, scores: Mapping[str, float]) -> str | None:
        """Return why training should end now, in words, or None.

        Args:
            env_steps: Transitions so far, over all copies.
            scores: What was measured.
        """
        ...

    def state_dict(self) -> TensorDict:
        """Return what it needs to go on as if nothing had happened."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a saved state."""
        ...


class EarlyStopping:
    """Ends training on a plateau: for `patience` steps no evaluation was certainly better.

    An evaluation is certainly better than the last one that was if the 95 % bootstrap interval of
    the difference, paired over the same episodes, lies above zero.
    """

    name = "early_stopping"

    def __init__(
        self,
        patience: int,
        last_kpis: Callable[[], Numbers],
        *,
        blocks: NDArray[np.intp] | None = None,
    ) -> None:
        """Remember nothing yet.

        Args:
            patience: In env steps, over all copies.
            last_kpis: Gives the KPI of every episode of the evaluation just made.
            blocks: `[episode]`: what the bootstrap resamples; None for single episodes.

        Raises:
            ConfigError: The patience is not positive.
        """
        if patience < 1:
            raise ConfigError(f"patience={patience}: choose at least 1 step, or no early stopping")
        self._patience, self._last_kpis, self._blocks = patience, last_kpis, blocks
        self._best: Numbers | None = None
        self._best_at = 0

    def after_update(self, env_steps: int, figures: Mapping[str, float]) -> str | None:
        """Wait for evaluations.

        Args:
            env_steps: Not used.
            figures: Not used.
        """
        del env_steps, figures
        return None

    def after_evaluation(self, env_steps: int, scores: Mapping[str, float]) -> str | None:
        """Compare with the last evaluation that was certainly better than those before it.

        Args:
            env_steps: Transitions so far.
            scores: Not used; the episodes tell more.
        """
        del scores
        kpis = self._last_kpis()
        if self._best is None or self._is_certainly_positive(kpis - self._best):
            self._best, self._best_at = kpis, env_steps
            return None
        if env_steps - self._best_at < self._patience:
            return None
        return (
            f"plateau: no evaluation since step {self._best_at:,} was certainly better "
            f"(patience {self._patience:,} steps)"
        )

    def _is_certainly_positive(self, differences: Numbers) -> bool:
        blocks = np.arange(len(differences)) if self._blocks is None else self._blocks
        return block_bootstrap_interval(differences, blocks, num_resamples=1000).low > 0

    def state_dict(self) -> TensorDict:
        """Return the best evaluation so far and when it was."""
        best = np.zeros(0) if self._best is None else self._best
        return {"best": torch.from_numpy(best.copy()), "best_at": torch.tensor(self._best_at)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a saved state.

        Args:
            state: What `state_dict` returned.
        """
        best = state["best"].numpy()
        self._best = best.copy() if len(best) else None
        self._best_at = int(state["best_at"])


class TimeBudget:
    """Ends training after so many hours, pauses and restarts not counted."""

    name = "time_budget"

    def __init__(self, max_hours: float, monotonic: Callable[[], float]) -> None:
        """Start counting.

        Args:
            max_hours: Of wall time spent in training.
            monotonic: Seconds that never go back.

        Raises:
            ConfigError: There is no time at all.
        """
        if not max_hours > 0:
            raise ConfigError(f"max_hours={max_hours}: choose more than 0, or no limit")
        self._max_seconds, self._monotonic = max_hours * SECONDS_PER_HOUR, monotonic
        self._spent_before, self._since = 0.0, monotonic()

    @property
    def spent(self) -> float:
        """Seconds, those before a restart included."""
        return self._spent_before + self._monotonic() - self._since

    def after_update(self, env_steps: int, figures: Mapping[str, float]) -> str | None:
        """Say when time is up.

        Args:
            env_steps: Not used.
            figures: Not used.
        """
        del env_steps, figures
        if self.spent < self._max_seconds:
            return None
        return f"time budget of {self._max_seconds / SECONDS_PER_HOUR:g} hours spent"

    def after_evaluation(self, env_steps: int, scores: Mapping[str, float]) -> str | None:
        """Wait for updates.

        Args:
            env_steps: Not used.
            scores: Not used.
        """
        del env_steps, scores
        return None

    def state_dict(self) -> TensorDict:
        """Return the time spent."""
        return {"spent": torch.tensor(self.spent, dtype=torch.float64)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on counting from a saved state.

        Args:
            state: What `state_dict` returned.
        """
        self._spent_before, self._since = float(state["spent"]), self._monotonic()
