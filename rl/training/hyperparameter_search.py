"""Searches settings with Optuna: what to try next, when to give a trial up, what mattered.

Trials are kept in a journal file of Optuna's, next to nothing of ours. What is asked next depends
on the finished trials and the number of the trial alone, so a search that was killed goes on as if
it had not been; a trial that was under way is tried again.
"""

from __future__ import annotations

import fcntl
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import FrozenTrial, TrialState

from utils.config import to_json
from utils.errors import ConfigError, QuartermasterError
from utils.persistence.files import make_folder
from utils.search_axis import Axis
from utils.seeding import derive_seed

MOST_GP_AXES: Final = 8
"""Above it the Gaussian process gives way to TPE."""
STARTUP_TRIALS: Final = 5
"""Drawn at random, and never given up."""
MOST_FAILURES: Final = 5
"""In a row, after which the search itself has failed."""
SETTINGS, PROBLEM_KEY = "search", "base"
ERROR, KILLED = "error", "killed"


class SearchFailedError(QuartermasterError):
    """One trial after the other fails."""


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How to search."""

    study: str
    """Its name, and the experiment of its runs."""
    num_trials: int = 20
    """Finished, given up or failed; those that were killed do not count."""
    sampler: Literal["auto", "gp", "tpe", "random"] = "auto"
    """`auto` is a Gaussian process up to 8 axes, and TPE above."""
    prune: bool = True
    """Give up a trial whose best score so far is below the median of the others at that point."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            ConfigError: A field is out of range.
        """
        if not self.study.strip() or "/" in self.study:
            raise ConfigError(f"study={self.study!r}: give it a name without a slash")
        if self.num_trials < 1 or self.seed < 0:
            raise ConfigError(f"num_trials must be at least 1 and seed not negative: {self}")
        if self.sampler not in {"auto", "gp", "tpe", "random"}:
            raise ConfigError(f"sampler={self.sampler!r}: choose auto, gp, tpe or random")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One set of values to try."""

    number: int
    values: Mapping[str, Any]
    """JSON values by the axes' names."""


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """What became of a trial."""

    number: int
    values: Mapping[str, Any]
    state: Literal["complete", "pruned", "failed", "killed", "running"]
    score: float | None
    """Of a complete trial; of a pruned one its best."""
    error: str = ""


class HyperparameterSearch:
    """A study: asks for values, hears scores, survives its process."""

    def __init__(self, config: SearchConfig, axes: Sequence[Axis], journal: Path) -> None:
        """Begin the study, or go on with it; use `open_search`, which keeps others out.

        Args:
            config: How to search.
            axes: What to search over.
            journal: Optuna's file.

        Raises:
            ConfigError: There are no axes, or the study was begun with others.
        """
        if not axes:
            raise ConfigError("nothing to search over: give at least one interval or choice")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.config, self.axes = config, tuple(axes)
        self._live: dict[int, optuna.Trial] = {}
        self._space = {axis.name: _distribution(axis) for axis in axes}
        self._study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(journal))),
            study_name=config.study,
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS),
        )
        self._check_same()
        self._retry_killed()

    def has_more(self) -> bool:
        """Say whether a trial is still to be begun.

        Raises:
            SearchFailedError: The last five trials failed.
        """
        records = [one for one in self.records() if one.state != "killed"]
        ended = [one for one in records if one.state != "running"]
        if len(ended) >= MOST_FAILURES and all(
            one.state == "failed" for one in ended[-MOST_FAILURES:]
        ):
            raise SearchFailedError(f"{MOST_FAILURES} trials failed in a row: {ended[-1].error}")
        return len(records) < self.config.num_trials

    def ask(self) -> Trial:
        """Return the values to try next."""
        begun = sum(one.state != "killed" for one in self.records())
        self._study.sampler = self._sampler(derive_seed(self.config.seed, "ask", begun))
        live = self._study.ask(self._space)
        self._live[live.number] = live
        return Trial(number=live.number, values=self._values(live.params))

    def report(self, trial: Trial, index: int, score: float) -> bool:
        """Tell how a trial does so far.

        Args:
            trial: Which.
            index: How many evaluations it had before.
            score: Of this one; higher is better.

        Returns:
            True if it is not worth going on.
        """
        live = self._live[trial.number]
        if math.isfinite(score):
            live.report(score, index)
        return self.config.prune and live.should_prune()

    def complete(self, trial: Trial, score: float) -> None:
        """Tell what a trial came to; a score that is not finite is a failure.

        Args:
            trial: Which.
            score: Higher is better.
        """
        if not math.isfinite(score):
            self.fail(trial, f"its score is {score}")
            return
        self._study.tell(trial.number, score)

    def prune(self, trial: Trial) -> None:
        """Tell that a trial was given up.

        Args:
            trial: Which.
        """
        self._study.tell(trial.number, state=TrialState.PRUNED)

    def fail(self, trial: Trial, reason: str) -> None:
        """Tell that a trial came to nothing.

        Args:
            trial: Which.
            reason: In words.
        """
        self._live[trial.number].set_user_attr(ERROR, reason)
        self._study.tell(trial.number, state=TrialState.FAIL)

    def records(self) -> list[TrialRecord]:
        """Return all trials that were begun, oldest first."""
        begun = self._study.get_trials(deepcopy=False)
        killed = self._study.user_attrs.get(KILLED, [])
        return [self._record(one, killed) for one in begun if one.state != TrialState.WAITING]

    def best(self) -> TrialRecord | None:
        """Return the complete trial with the highest score, the first of equals; None if none."""
        complete = [one for one in self.records() if one.state == "complete"]
        return max(complete, key=lambda one: one.score or 0.0, default=None)

    def importances(self) -> dict[str, float]:
        """Return each axis's share of what made good trials good (PED-ANOVA), largest first.

        Empty with fewer than `STARTUP_TRIALS` complete trials, or if all scores are equal.
        """
        scores = [one.score for one in self.records() if one.state == "complete"]
        if len(scores) < STARTUP_TRIALS or len(set(scores)) < 2:
            return {}
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        return dict(optuna.importance.get_param_importances(self._study, evaluator=evaluator))

    def _check_same(self) -> None:
        ours = json.dumps([to_json(axis) for axis in self.axes])
        stored = self._study.user_attrs.get(SETTINGS)
        if stored is None:
            self._study.set_user_attr(SETTINGS, ours)
        elif stored != ours:
            raise ConfigError(
                f"study {self.config.study!r} was begun with other axes: go on with the same ones "
                "or give a new study another name"
            )

    def require_same(self, base: Mapping[str, Any]) -> None:
        """Refuse to go on with another problem than the study was begun with.

        Args:
            base: All that is not searched over, as JSON.

        Raises:
            ConfigError: The study was begun with something else; the difference is named.
        """
        stored = self._study.user_attrs.get(PROBLEM_KEY)
        if stored is None:
            self._study.set_user_attr(PROBLEM_KEY, dict(base))
            return
        for name, value in base.items():
            if stored.get(name) != value:
                raise ConfigError(
                    f"study {self.config.study!r} was begun with {name}={stored.get(name)!r}, not "
                    f"{value!r}: go on with that or give a new study another name"
                )

    def _retry_killed(self) -> None:
        """Fail trials whose process is gone, and ask for the same values first."""
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            killed = [*self._study.user_attrs.get(KILLED, []), trial.number]
            self._study.set_user_attr(KILLED, killed)
            self._study.tell(trial.number, state=TrialState.FAIL)
            if set(trial.params) == set(self._space):
                self._study.enqueue_trial(trial.params)

    def _sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        kind = self.config.sampler
        if kind == "auto":
            kind = "gp" if len(self.axes) <= MOST_GP_AXES else "tpe"
        seed %= 2**32
        if kind == "gp":
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
        if kind == "tpe":
            return optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
        return optuna.samplers.RandomSampler(seed=seed)

    def _values(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Turn the numbers of options back into the options."""
        return {
            axis.name: axis.options[params[axis.name]] if axis.options else params[axis.name]
            for axis in self.axes
            if axis.name in params
        }

    def _record(self, trial: FrozenTrial, killed: Sequence[int]) -> TrialRecord:
        states: dict[TrialState, Literal["complete", "pruned", "failed", "running"]] = {
            TrialState.COMPLETE: "complete",
            TrialState.PRUNED: "pruned",
            TrialState.FAIL: "failed",
            TrialState.RUNNING: "running",
        }
        seen = trial.intermediate_values.values()
        score = max(seen, default=None) if trial.state == TrialState.PRUNED else trial.value
        return TrialRecord(
            number=trial.number,
            values=self._values(trial.params),
            state="killed" if trial.number in killed else states[trial.state],
            score=score,
            error=trial.user_attrs.get(ERROR, ""),
        )


@contextmanager
def open_search(
    config: SearchConfig, axes: Sequence[Axis], folder: Path
) -> Iterator[HyperparameterSearch]:
    """Begin a study or go on with it, and keep other processes out meanwhile.

    Args:
        config: How to search.
        axes: What to search over.
        folder: Holds `optuna.journal`; made if absent.

    Raises:
        ConfigError: Another process searches here, or the study was begun with other axes.
    """
    make_folder(folder)
    with (folder / "search.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(
                f"another process searches in {folder}: wait for it, or name another study"
            ) from error
        yield HyperparameterSearch(config, axes, folder / "optuna.journal")


Watch = Callable[[int, float], bool]
"""Told the index of an evaluation and its score; True says to stop."""
Objective = Callable[[Trial, Watch], float | None]
"""Tries values and returns the score, or None if it was told to stop."""


def run_search(search: HyperparameterSearch, objective: Objective) -> None:
    """Try one set of values after the other in this process.

    Args:
        search: The study.
        objective: Tries values; what it refuses is a failed trial, anything else ends the search.

    Raises:
        SearchFailedError: One trial after the other fails.
    """
    while search.has_more():
        trial = search.ask()
        try:
            score = objective(trial, partial(search.report, trial))
        except QuartermasterError as error:
            search.fail(trial, str(error))
            continue
        if score is None:
            search.prune(trial)
        else:
            search.complete(trial, score)


def _distribution(axis: Axis) -> BaseDistribution:
    if axis.options:
        return CategoricalDistribution(tuple(range(len(axis.options))))
    if axis.is_int:
        return IntDistribution(int(axis.low), int(axis.high), log=axis.is_log)
    return FloatDistribution(axis.low, axis.high, log=axis.is_log)
