"""Forms that requests share: ids, names, page sizes, and the errors that every route may answer."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from fastapi import Path, Query
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field
from starlette.convertors import StringConvertor, register_url_convertor

from ai_agents.base_agent import FieldProblem
from orchestration.endpoints.bodies import PROBLEM

ID_PATTERN = r"^[A-Za-z0-9_-]{1,36}$"
AGENT_PATTERN = r"^[A-Za-z0-9_.-]+$"
TEXT_PATTERN = r"^[^\x00-\x1f\x7f]*$"
SHA256_PATTERN = r"^[0-9a-f]{64}$"
LARGEST_SEQ = 2**31 - 1
LARGEST_OFFSET = 2**40
LARGEST_WHOLE = 2**53
Model = TypeVar("Model", bound=BaseModel)
SCHEMAS = "#/components/schemas/"


class Word(StringConvertor):
    """A part of a path that ends before a colon, so that `{name}:verb` is another path."""

    regex = "[^/:]+"


register_url_convertor("word", Word())


JobId = Annotated[str, Path(pattern=ID_PATTERN, description="Id of a job.")]
RunId = Annotated[str, Path(pattern=ID_PATTERN, description="Id of a run.")]
AgentName = Annotated[
    str,
    Path(min_length=1, max_length=100, pattern=AGENT_PATTERN, description="Of an agent."),
]
Cursor = Annotated[
    str | None, Query(pattern=ID_PATTERN, description="`next` of the page before; older ones.")
]
Limit = Annotated[int, Query(ge=1, le=1000, description="At most so many.")]


class Problem(BaseModel):
    """What went wrong and what to do (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    problems: list[FieldProblem] = Field(default=[], description="Wrong fields, by name.")


def to_whole(value: Any) -> Any:
    """Return a number such as 2.0, which JSON does not tell from 2, as a whole one.

    Args:
        value: What JSON held; all else comes back as it is.
    """
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(to_whole)]


def check_values(value: Any) -> Any:
    """Return a value whose texts and numbers every database and JSON reader can keep.

    Args:
        value: What JSON held.

    Raises:
        ValueError: A text holds NUL or half a character, or a whole number is beyond 2^53.
    """
    if isinstance(value, dict):
        for name, one in value.items():
            check_values(name)
            check_values(one)
    elif isinstance(value, list):
        for one in value:
            check_values(one)
    elif isinstance(value, int) and abs(value) > LARGEST_WHOLE:
        raise ValueError(
            f"a number of {value.bit_length()} bits is beyond 2^53, where whole numbers get lost"
        )
    elif isinstance(value, str) and any(c == "\0" or "\ud800" <= c <= "\udfff" for c in value):
        raise ValueError("a text holds NUL or half a character (a lone surrogate)")
    return value


Settings = Annotated[dict[str, Any], AfterValidator(check_values)]
"""An object of fields that are checked elsewhere."""


def may_fail(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the errors that a route may answer, for its documentation.

    Args:
        statuses: Beside those that any route may.
    """
    described = {
        400: "What was sent is no HTTP request of ours.",
        401: "A token is needed, or this one opens nothing.",
        403: "The token's scopes do not open this, or the Host or Origin is not ours.",
        404: "There is no such thing.",
        409: "Its state does not allow this.",
        410: "It is over.",
        413: "The body is too large.",
        422: "A value is wrong; `problems` names it.",
        429: "Too many at once.",
        507: "The disk is full.",
        503: "The database or a file is out of reach now; try again.",
    }
    content = {PROBLEM: {"schema": {"$ref": f"{SCHEMAS}Problem"}}}
    every = {400, 401, 403, 413, 422, 503}
    return {
        status: {"description": text, "content": content}
        for status, text in described.items()
        if status in every | set(statuses)
    }


def kinds_of(base: type[Model]) -> list[type[Model]]:
    """Return the models that agents made of a base, by name.

    Args:
        base: Such as that of all requests.
    """
    made = base.__subclasses__()
    leaves = [one for kind in made for one in (kinds_of(kind) or [kind])]
    return sorted(
        {one for one in leaves if one.__module__.startswith("ai_agents.")},
        key=lambda one: one.__name__,
    )


def add_models(document: dict[str, Any], *models: type[BaseModel]) -> dict[str, Any]:
    """Return an OpenAPI document that describes models that no route names by itself.

    Args:
        document: Without them.
        models: Such as those of bodies that routes read themselves.
    """
    for model in models:
        schema = model.model_json_schema(ref_template=SCHEMAS + "{model}")
        document["components"]["schemas"] |= {**schema.pop("$defs", {}), model.__name__: schema}
    return document
