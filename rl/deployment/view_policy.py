"""A policy and the experts of any world with a view, asked with NumPy views."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from rl.artifacts import PolicyArtifact
from rl.deployment.guardrails import finite_rows
from rl.deployment.policy_runtime import PolicyRuntime
from rl.deployment.view_exporter import ViewField, ViewWorldConfig
from rl.domains.view_worlds import VIEW_WORLDS
from utils.config import from_json
from utils.errors import ConfigError

Floats = NDArray[np.float64]
View = TypeVar("View")
SMALLEST = np.finfo(np.float32).min
TOLERANCE = 1e-9
"""Amounts this close are the same, relative to their size and to 1."""


def scores_choices(artifact: PolicyArtifact) -> bool:
    """Tell whether a policy gives one number to one choice, asked for each by the same weights.

    Args:
        artifact: Of a world with a view.
    """
    return artifact.action.kind == "discrete" and artifact.action.size == 1


class ViewPolicy:
    """Answers views by the policy or by an expert; holds no state, so threads may share it."""

    def __init__(self, artifact: PolicyArtifact) -> None:
        """Read the world from the artifact.

        Args:
            artifact: As `export_view_policy` made it.

        Raises:
            ConfigError: The world is not known, its view has other fields, or the network does not
                observe it.
        """
        if artifact.domain not in VIEW_WORLDS:
            known = ", ".join(VIEW_WORLDS)
            raise ConfigError(f"no world {artifact.domain!r} with a view; known: {known}")
        self.world = VIEW_WORLDS[artifact.domain]
        config = from_json(ViewWorldConfig, json.loads(artifact.domain_config))
        self.fields: tuple[ViewField, ...] = config.fields
        self.domain: Any = config.make_domain(artifact.domain)
        self.action = artifact.action
        if (self.action.kind == "discrete") != (self.world.allowed is not None):
            raise ConfigError(f"{artifact.domain} is not played with {self.action.kind} actions")
        names = [one.name for one in fields(self.world.view)]
        if [one.name for one in self.fields] != names:
            raise ConfigError(f"the view of {artifact.domain} has the fields {', '.join(names)}")
        expert = artifact.card.baseline.expert
        self.expert_name = (
            expert if expert in self.world.experts else next(iter(self.world.experts))
        )
        self._runtime = PolicyRuntime(artifact)
        self._scores_choices = scores_choices(artifact)
        if self._scores_choices and self.world.describe is None:
            raise ConfigError(f"choices of {artifact.domain} have no features to be scored by")
        observed = self._observe(self.in_training_precision(self.blank())).shape[-1]
        if observed != artifact.observation_size:
            raise ConfigError("the artifact's network does not fit its own world; export it again")

    def blank(self) -> Any:
        """Return a batch of one view with ones in it, for shapes."""
        return self.world.view(
            **{
                one.name: np.ones((1, *one.shape), np.int64 if one.kind == "whole" else np.float64)
                for one in self.fields
            }
        )

    def in_training_precision(self, view: Any) -> Any:
        """Return a view as it was seen in training: float32, and whole numbers as they are.

        Args:
            view: NumPy.
        """
        arrays = {name: np.asarray(values) for name, values in vars(view).items()}
        return type(view)(
            **{
                name: values.astype(np.float32) if values.dtype.kind == "f" else values
                for name, values in arrays.items()
            }
        )

    def act(self, view: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return what the policy wants, and which rows hold numbers only.

        Args:
            view: NumPy, with a batch axis.

        Returns:
            Actions `[row, ...]`, or choices `[row]` among those there are; usable `[row]`.
        """
        with np.errstate(all="ignore"):
            seen = self.in_training_precision(view)
            output = self._runtime.output(self._observe(seen))
            allowed = self.world.allowed
            if self._scores_choices:
                output, allowed = output[..., 0], self.world.may_score
            sound = finite_rows(output)
            usable = np.asarray(sound.reshape(len(sound), -1).all(-1))
            if allowed is not None:
                output = np.where(allowed(self.domain, seen), output, SMALLEST)
            return self._runtime.choose(output), usable

    def _observe(self, seen: Any) -> Any:
        """Return what the network takes: the whole view, or features of every choice."""
        if self._scores_choices and self.world.describe is not None:
            return self.world.describe(self.domain, seen)
        return self.domain.encode(seen)

    def ask_expert(self, view: Any) -> NDArray[Any]:
        """Return what the expert wants; the lowest amount where it has no answer.

        Args:
            view: NumPy, with a batch axis.
        """
        rule = self.world.experts[self.expert_name]
        with np.errstate(all="ignore"):
            action = np.asarray(rule(self.in_training_precision(view), self.domain))
        if self.world.allowed is not None:
            return action
        low, high = self.action.low, self.action.high
        return np.nan_to_num(action.astype(np.float32), nan=low, posinf=high, neginf=low)

    def project(self, action: NDArray[Any], view: Any) -> NDArray[Any]:
        """Turn actions into what is feasible, in double precision and without negative zeros.

        Args:
            action: `[row, ...]`, finite; of choices that there are not, the last one is taken,
                which changes nothing.
            view: As the request has it, NumPy, with a batch axis.
        """
        exact = action.astype(np.float64)
        with np.errstate(all="ignore"):
            if self.world.allowed is not None:
                choices = self.world.allowed(self.domain, view)
                chosen = np.clip(action, 0, choices.shape[-1] - 1).astype(np.int64)
                is_there = np.take_along_axis(choices, chosen[:, None], -1)[:, 0]
                exact = np.where(is_there, chosen, choices.shape[-1] - 1)
            return np.asarray(self.world.project(self.domain, exact, view)) + 0.0

    def undo(self, feasible: NDArray[Any], view: Any) -> NDArray[Any] | None:
        """Return an action that `project` turns into something feasible; None if there is none.

        Amounts are projected in proportion up to a limit (and to whole units), each by itself.

        Args:
            feasible: `[1, ...]`, as `project` returns it, finite.
            view: As the request has it, NumPy, with a batch axis of one.
        """
        if self.world.allowed is not None:
            choices = np.flatnonzero(self.world.allowed(self.domain, view)[0])
            tries = [choices[[place]] for place in range(len(choices))]
        else:
            shape = self.ask_expert(view).shape
            least, most = (self.project(make(shape), view) for make in (np.zeros, np.ones))
            width = most - least
            share = np.divide(feasible - least, width, out=np.zeros(width.shape), where=width != 0)
            tries = [share.reshape(shape)]
        for action in tries:
            if np.allclose(self.project(action, view), feasible, rtol=TOLERANCE, atol=TOLERANCE):
                return action
        return None


def join_views(views: Sequence[View]) -> View:
    """Put views behind one another.

    Args:
        views: At least one, of one world, each with a batch axis.
    """
    names = vars(views[0])
    return type(views[0])(
        **{name: np.concatenate([getattr(view, name) for view in views]) for name in names}
    )
