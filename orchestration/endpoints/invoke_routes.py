"""Asking agents over REST: plain ASGI, from bytes to bytes; every microsecond counts.

The OpenAPI entries are written by hand, since no framework reads the signatures.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ai_agents.base_agent import MOST_REQUESTS, Decision, DecisionRequest
from orchestration.endpoints.callers import Callers
from orchestration.endpoints.guard import Guard
from orchestration.endpoints.reception import (
    ALIAS_PATTERN,
    LARGEST_VERSION,
    LONGEST_DEADLINE_SECONDS,
    USUAL,
    Choice,
    Reception,
)
from orchestration.endpoints.shapes import AGENT_PATTERN, SCHEMAS, may_fail
from utils.persistence.access_tokens import Scope as TokenScope

PLACES = ("/v1/agents/{name:word}", "/v1/agents/{name:word}/versions/{version:word}")
JSON = b"application/json"
HEADERS = {b"x-request-id": "request_id", b"x-request-key": "request_key"}
"""What callers say about a request in headers."""


class InvokeDoor:
    """Answers `:invoke` with one decision and `:batch` with as many as were asked for."""

    def __init__(self, reception: Reception) -> None:
        """Keep the way to the agents.

        Args:
            reception: Passes requests on.
        """
        self._reception = reception

    async def invoke(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request by one decision.

        Args:
            scope: As ASGI defines it.
            receive: As ASGI defines it.
            send: As ASGI defines it.
        """
        caller, name = scope["state"]["caller"].name, scope["path_params"]["name"]
        body = await _read(receive)
        decision = await self._reception.decide(caller, name, body, read_choice(scope))
        await _answer(send, decision.model_dump_json().encode(), _status_of([decision]))

    async def batch(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a list of requests by a list of decisions.

        Args:
            scope: As ASGI defines it.
            receive: As ASGI defines it.
            send: As ASGI defines it.
        """
        caller, name = scope["state"]["caller"].name, scope["path_params"]["name"]
        body = await _read(receive)
        decisions = await self._reception.decide_all(caller, name, body, read_choice(scope))
        joined = ",".join([one.model_dump_json() for one in decisions])
        await _answer(send, f"[{joined}]".encode(), _status_of(decisions))


def make_routes(reception: Reception, callers: Callers) -> list[Route]:
    """Return the routes that ask agents.

    Args:
        reception: Passes requests on.
        callers: Known ones.
    """
    door = InvokeDoor(reception)
    return [
        Route(
            f"{place}:{verb}",
            Guard(endpoint, callers, TokenScope.INVOKE),
            methods=["POST"],
            include_in_schema=False,
        )
        for place in PLACES
        for verb, endpoint in (("invoke", door.invoke), ("batch", door.batch))
    ]


def read_choice(scope: Scope) -> Choice:
    """Return which version a request is for, and by when.

    Args:
        scope: Of the request.

    Raises:
        RequestValidationError: A parameter has no such value.
    """
    given: dict[str, Any] = {}
    if scope["query_string"]:
        known = Choice.model_fields.keys() - HEADERS.values()
        pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = {name: value for name, value in pairs if name in known}
    if "version" in scope["path_params"]:
        given["version"] = scope["path_params"]["version"]
    for header, value in scope["headers"]:
        if header in HEADERS:
            given.setdefault(HEADERS[header], value.decode("latin-1"))
    if not given:
        return USUAL
    try:
        return Choice.model_validate(given)
    except ValidationError as error:
        found = [{**one, "loc": ("query", *one["loc"])} for one in error.errors()]
        raise RequestValidationError(found) from error


async def _read(receive: Receive) -> bytes:
    body: bytes = (await receive())["body"]  # whole: the outermost door has collected it
    return body


def _status_of(decisions: Sequence[Decision]) -> HTTPStatus:
    """Return 202 where somebody must approve first."""
    waits = any(decision.approval == "waiting" for decision in decisions)
    return HTTPStatus.ACCEPTED if waits else HTTPStatus.OK


async def _answer(send: Send, body: bytes, status: HTTPStatus) -> None:
    length = str(len(body)).encode()
    headers = [(b"content-type", JSON), (b"content-length", length)]
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    await send({"type": "http.response.body", "body": body})


def describe_routes(
    document: dict[str, Any],
    *,
    requests: Sequence[type[DecisionRequest]],
    decisions: Sequence[type[Decision]],
) -> None:
    """Add the routes to an OpenAPI document that holds the schemas already.

    Args:
        document: Changed.
        requests: Of all kinds of agents.
        decisions: Of all kinds of agents.
    """
    other = {"type": "object", "description": "Of an agent whose words only its card lists."}
    request = {"anyOf": [*({"$ref": SCHEMAS + one.__name__} for one in requests), other]}
    decision = {"anyOf": [{"$ref": SCHEMAS + one.__name__} for one in decisions]}
    batch = {"type": "array", "items": request, "minItems": 1, "maxItems": MOST_REQUESTS}
    words: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
        "invoke": ("Ask an agent for a decision.", request, decision),
        "batch": (
            "Ask an agent for several decisions by one pass of its policy.",
            batch,
            {"type": "array", "items": decision},
        ),
    }
    for place in PLACES:
        for verb, (summary, body, answer) in words.items():
            path = f"{place}:{verb}".replace(":word", "")
            kind = "_of_version" if "version" in place else ""
            document["paths"][path] = {
                "post": {
                    "tags": ["agents"],
                    "summary": summary,
                    "operationId": f"{verb}{kind}",
                    "security": [{"bearer": [TokenScope.INVOKE.value]}],
                    "parameters": _parameters(place),
                    "requestBody": {"required": True, "content": _json(body)},
                    "responses": {
                        "200": {"description": "What the agent decides.", "content": _json(answer)},
                        "202": {
                            "description": "It waits for a person's approval.",
                            "content": _json(answer),
                        },
                        **{str(k): v for k, v in may_fail(404, 429).items()},
                    },
                }
            }


def _parameters(place: str) -> list[dict[str, Any]]:
    name = {"type": "string", "minLength": 1, "maxLength": 100, "pattern": AGENT_PATTERN}
    version = {"type": "integer", "minimum": 1, "maximum": LARGEST_VERSION}
    seconds = {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": LONGEST_DEADLINE_SECONDS,
        "description": "Time until the expert answers in place of the policy.",
    }
    found = [{"name": "name", "in": "path", "required": True, "schema": name}]
    if "{version" in place:
        found.append({"name": "version", "in": "path", "required": True, "schema": version})
    else:
        alias = {"type": "string", "pattern": ALIAS_PATTERN}
        found.append({"name": "alias", "in": "query", "required": False, "schema": alias})
        found.append({"name": "version", "in": "query", "required": False, "schema": version})
    text = {"type": "string", "maxLength": 100}
    return [
        *found,
        {"name": "deadline_seconds", "in": "query", "required": False, "schema": seconds},
        {"name": "X-Request-Id", "in": "header", "required": False, "schema": text},
        {"name": "X-Request-Key", "in": "header", "required": False, "schema": text},
    ]


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {JSON.decode(): {"schema": schema}}
