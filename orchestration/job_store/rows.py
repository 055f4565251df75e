"""Rows of the job table and back."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from orchestration.jobs import Desired, Job, JobState, Limits, Resources
from utils.errors import QuartermasterError

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

_LIMITS = tuple(field.name for field in dataclasses.fields(Limits))
_RESOURCES = tuple(field.name for field in dataclasses.fields(Resources))


class JobNotFoundError(QuartermasterError, LookupError):
    """No job has this id."""


def to_job(row: RowMapping) -> Job:
    """Read a row of the job table.

    Args:
        row: All of its columns by name.
    """
    fields: dict[str, Any] = dict(row)
    fields["state"] = JobState(fields["state"])
    fields["desired"] = Desired(fields["desired"])
    fields["limits"] = Limits(**{name: fields.pop(name) for name in _LIMITS})
    fields["resources"] = Resources(**{name: fields.pop(name) for name in _RESOURCES})
    return Job(**fields)


def to_row(job: Job) -> dict[str, Any]:
    """Return a job as a row of its table.

    Args:
        job: Any.
    """
    row: dict[str, Any] = dict(vars(job))
    row |= vars(row.pop("limits")) | vars(row.pop("resources"))
    return {**row, "state": job.state.value, "desired": job.desired.value}


def changed_columns(before: Job, after: Job) -> dict[str, Any]:
    """Return the columns in which a job after a decision differs from before.

    Args:
        before: As its row is.
        after: What its row shall be; decisions leave limits and resources as they are.
    """
    old, changed = vars(before), {}
    for name, value in vars(after).items():
        if value is not old[name] and value != old[name]:
            changed[name] = value.value if isinstance(value, JobState | Desired) else value
    return changed
