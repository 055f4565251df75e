"""A pipeline as data: named steps, what each is told, and which it needs; checked before it runs.

Nothing here knows what the kinds of steps do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from utils.errors import ConfigError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}")
MOST_STEPS = 100
LARGEST_FILE_BYTES = 1 << 20


class PipelineError(ConfigError):
    """The declaration is no pipeline; the message says what to change."""


class UnknownKindError(PipelineError):
    """A step is of a kind that nobody can run."""


class MissingStepError(PipelineError):
    """A step needs one that is not there."""


class PipelineCycleError(PipelineError):
    """Steps wait for one another."""


class RepeatedStepError(PipelineError):
    """Two steps have the same name."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One piece of work."""

    name: str
    kind: str
    spec: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    """Steps that must succeed first; their results reach this one under their names."""

    def __post_init__(self) -> None:
        """Refuse names that cannot be told apart or written down.

        Raises:
            PipelineError: The name, or what is needed, is none.
        """
        if not NAME.fullmatch(self.name):
            raise PipelineError(f"step {self.name!r}: take up to 60 letters, digits, - and _")
        if len(set(self.needs)) < len(self.needs):
            raise PipelineError(f"step {self.name} needs the same step twice: {self.needs}")


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """Steps that belong together."""

    name: str
    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        """Refuse what cannot be carried out.

        Raises:
            PipelineError: There are no steps or too many, or the name is none.
            RepeatedStepError: Two steps share a name.
            MissingStepError: A step needs one that is not there.
            PipelineCycleError: Steps wait for one another.
        """
        if not NAME.fullmatch(self.name):
            raise PipelineError(f"pipeline {self.name!r}: take up to 60 letters, digits, - and _")
        if not 1 <= len(self.steps) <= MOST_STEPS:
            raise PipelineError(f"pipeline {self.name}: declare 1 to {MOST_STEPS} steps")
        names = [step.name for step in self.steps]
        repeated = {name for name in names if names.count(name) > 1}
        if repeated:
            raise RepeatedStepError(f"pipeline {self.name}: two steps are called {min(repeated)}")
        for step in self.steps:
            for needed in step.needs:
                if needed not in names:
                    raise MissingStepError(
                        f"step {step.name} needs {needed}, which is not a step; "
                        f"there are {', '.join(names)}"
                    )
        self.in_order()

    def in_order(self) -> list[Step]:
        """Return the steps, each after those that it needs.

        Raises:
            PipelineCycleError: There is no such order.
        """
        by_name = {step.name: step for step in self.steps}
        try:
            order = TopologicalSorter({s.name: s.needs for s in self.steps}).static_order()
            return [by_name[name] for name in order]
        except CycleError as error:
            around = " -> ".join(error.args[1])
            raise PipelineCycleError(
                f"pipeline {self.name}: steps wait for one another ({around}): cut the circle"
            ) from error

    def check_kinds(self, known: Collection[str]) -> None:
        """Refuse steps that nobody can run.

        Args:
            known: The kinds there are.

        Raises:
            UnknownKindError: A step is of another one.
        """
        for step in self.steps:
            if step.kind not in known:
                raise UnknownKindError(
                    f"step {step.name}: kind {step.kind!r} is unknown; there are "
                    f"{', '.join(sorted(known))}"
                )

    def to_json(self) -> dict[str, Any]:
        """Return the pipeline as plain JSON."""
        steps = [
            {"name": s.name, "kind": s.kind, "spec": dict(s.spec), "needs": list(s.needs)}
            for s in self.steps
        ]
        return {"name": self.name, "steps": steps}


def read_pipeline(values: Any) -> Pipeline:
    """Read a declaration.

    Args:
        values: What `Pipeline.to_json` returns; `spec` and `needs` may be left out.

    Raises:
        PipelineError: It is no pipeline; see also `Pipeline`.
    """
    fields = _fields(values, "pipeline", {"name", "steps"})
    steps = fields["steps"]
    if not isinstance(steps, list):
        raise PipelineError(f"steps wants a list, not {type(steps).__name__}")
    return Pipeline(name=fields["name"], steps=tuple(_read_step(step) for step in steps))


def load_declaration(path: Path) -> Any:
    """Read a declaration from a YAML or JSON file, not yet checked.

    Args:
        path: The file.

    Raises:
        PipelineError: It cannot be read, is too large, or is neither YAML nor JSON.
    """
    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise PipelineError(f"{path} is larger than {LARGEST_FILE_BYTES} bytes: no declaration")
        text = path.read_text(encoding="utf-8")
        # YAML 1.1 reads 1e-3 as text and `on` as true; a file that is JSON is read as JSON.
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise PipelineError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise PipelineError(f"{path} is no YAML or JSON: {' '.join(str(error).split())}") from error


def _read_step(values: Any) -> Step:
    fields = _fields(values, "step", {"name", "kind"}, {"spec", "needs"})
    spec, needs = fields.get("spec") or {}, fields.get("needs") or []
    if not isinstance(spec, Mapping):
        raise PipelineError(f"step {fields['name']}: spec wants fields, not {spec!r}")
    if not isinstance(needs, list) or not all(isinstance(one, str) for one in needs):
        raise PipelineError(f"step {fields['name']}: needs wants a list of names, not {needs!r}")
    return Step(name=fields["name"], kind=fields["kind"], spec=dict(spec), needs=tuple(needs))


def _fields(
    values: Any, what: str, required: set[str], optional: Collection[str] = ()
) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise PipelineError(f"a {what} wants fields, not {type(values).__name__}")
    missing, unknown = required - set(values), set(values) - required - set(optional)
    if missing or unknown:
        wrong = f"lacks {min(missing)}" if missing else f"knows no field {min(map(str, unknown))!r}"
        raise PipelineError(f"a {what} {wrong}; its fields are {', '.join(sorted(required))}")
    for name in required - {"steps"}:
        if not isinstance(values[name], str):
            raise PipelineError(f"{what}: {name} wants text, not {values[name]!r}")
    return dict(values)
