"""Asking agents over REST: plain ASGI, from bytes to bytes; every microsecond counts.

The OpenAPI entries are written by hand, since no framework reads the signatures.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from ai_agents.base_agent import MOST_REQUESTS, Decision, DecisionRequest
from orchestration.endpoints.callers import Callers
from orchestration.endpoints.guard import let_in
from orchestration.endpoints.problems import explain
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

PLACES = ("/v1/agents/{name}", "/v1/agents/{name}/versions/{version}")
ADDRESS = re.compile("/v1/agents/([^/:]+)(?:/versions/([^/:]+))?:(invoke|batch)")
JSON = b"application/json"
HEADERS = {b"x-request-id": "request_id", b"x-request-key": "request_key"}
"""What callers say about a request in headers."""


class InvokeDoor:
    """Answers `:invoke` with one decision and `:batch` with as many as were asked for.

    It stands in front of the framework, whose layers take as long as wording a decision.
    """

    def __init__(self, app: ASGIApp, reception: Reception, callers: Callers) -> None:
        """Keep the way to the agents.

        Args:
            app: Answers at all other addresses.
            reception: Passes requests on.
            callers: Known ones.
        """
        self._app = app
        self._reception = reception
        self._callers = callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Args:
            scope: As ASGI defines it.
            receive: As ASGI defines it.
            send: As ASGI defines it.
        """
        found = ADDRESS.fullmatch(scope["path"]) if scope["type"] == "http" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        try:
            body, decisions = await self._ask(scope, receive, found)
        except Exception as error:  # noqa: BLE001  each has its answer
            answer = await explain(Request(scope), error)
            await answer(scope, receive, send)
            return
        await _answer(send, body, _status_of(decisions))

    async def _ask(
        self, scope: Scope, receive: Receive, found: re.Match[str]
    ) -> tuple[bytes, Sequence[Decision]]:
        if scope["method"] != "POST":
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "POST"})
        caller = await let_in(scope, self._callers, (TokenScope.INVOKE,))
        name, version, verb = found.groups()
        choice = read_choice(scope, version)
        payload: bytes = (await receive())["body"]  # whole: the outermost door has collected it
        if verb == "invoke":
            decision = await self._reception.decide(caller.name, name, payload, choice)
            return decision.model_dump_json().encode(), (decision,)
        decisions = await self._reception.decide_all(caller.name, name, payload, choice)
        joined = ",".join([one.model_dump_json() for one in decisions])
        return f"[{joined}]".encode(), decisions


def read_choice(scope: Scope, version: str | None) -> Choice:
    """Return which version a request is for, and by when.

    Args:
        scope: Of the request.
        version: In the address, if it names one.

    Raises:
        RequestValidationError: A parameter has no such value.
    """
    given: dict[str, Any] = {}
    if scope["query_string"]:
        known = Choice.model_fields.keys() - HEADERS.values()
        pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = {name: value for name, value in pairs if name in known}
    if version is not None:
        given["version"] = version
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
            path = f"{place}:{verb}"
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
