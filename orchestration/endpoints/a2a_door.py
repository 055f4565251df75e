"""The A2A door: one card for this server, one skill per agent, a data part in and a data part out.

An answer is a message at once: there are no tasks to follow, and nothing is pushed anywhere.
Numbers in a data part cost the SDK some 60 us each, on the event loop: hence a cap on values.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NoReturn

from a2a.helpers import new_data_message
from a2a.server.context import ServerCallContext
from a2a.server.request_handlers.request_handler import RequestHandler
from a2a.server.routes.common import DefaultServerCallContextBuilder
from a2a.server.routes.jsonrpc_dispatcher import JsonRpcDispatcher
from a2a.server.routes.rest_dispatcher import RestDispatcher
from a2a.types import a2a_pb2 as wire
from a2a.utils.errors import (
    A2A_ERROR_MAPPING,
    A2AError,
    ErrorMapping,
    ExtendedAgentCardNotConfiguredError,
    InvalidParamsError,
    PushNotificationNotSupportedError,
    TaskNotFoundError,
    UnsupportedOperationError,
)
from fastapi import HTTPException
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Value
from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ai_agents.base_agent import RequestError
from ai_agents.registry import UnknownAgentError, UnknownVersionError
from orchestration.endpoints.a2a_paths import CARD_PATH, JSONRPC_PATH, REST_PATH
from orchestration.endpoints.reception import Reception, TooManyCallsError
from utils.errors import QuartermasterError

if TYPE_CHECKING:
    from ai_agents.cards import AgentCard
    from ai_agents.registry import AgentRegistry

PROTOCOL_VERSION = "1.0"
SCHEMAS_URI = "urn:quartermaster:a2a:schemas"
JSON_MODE = "application/json"
MOST_VALUES = 4096
"""In one message; by a comma each."""


class BusyAgentError(A2AError):
    """More is asked than is answered now."""


class AwayError(A2AError):
    """What an agent needs is out of reach now."""


class A2aDoor(RequestHandler):
    """Agents as skills; a message's metadata names the agent, unless there is only one."""

    def __init__(self, registry: AgentRegistry, reception: Reception) -> None:
        """Keep the parts.

        Args:
            registry: Knows the agents.
            reception: Passes requests on to them.
        """
        self._registry = registry
        self._reception = reception
        # Kinds of errors that the SDK's table of HTTP statuses lacks.
        A2A_ERROR_MAPPING[BusyAgentError] = ErrorMapping(429, "RESOURCE_EXHAUSTED", "BUSY")
        A2A_ERROR_MAPPING[AwayError] = ErrorMapping(503, "UNAVAILABLE", "AWAY")

    def make_apps(self) -> dict[str, ASGIApp]:
        """Return what answers callers that may enter, by path."""
        context = _CallerContext()
        rest = RestDispatcher(self, context)
        rpc = JsonRpcDispatcher(self, context)

        async def serve_card(scope: Scope, receive: Receive, send: Send) -> None:
            base = str(Request(scope).base_url).rstrip("/")
            card = MessageToDict(make_card(base, await self._registry.cards()))
            await JSONResponse(card)(scope, receive, send)

        return {
            CARD_PATH: serve_card,
            REST_PATH: _Bounded(rest.on_message_send),
            JSONRPC_PATH: _Bounded(rpc.handle_requests),
        }

    async def on_message_send(
        self, params: wire.SendMessageRequest, context: ServerCallContext
    ) -> wire.Message:
        """Answer a message by a decision.

        Args:
            params: Holds the message.
            context: Of the call.

        Raises:
            A2AError: The message is no request of an agent, or cannot be answered now.
        """
        message = params.message
        name = await self._find_name(message)
        payload = json.dumps(_request_of(message)).encode()
        try:
            decision = await self._reception.decide(context.state["caller"], name, payload)
        except (RequestError, UnknownAgentError, UnknownVersionError) as error:
            found = error.problems if isinstance(error, RequestError) else ()
            problems = [{"field": one.field, "message": one.problem} for one in found]
            data = {"errors": problems} if problems else None
            raise InvalidParamsError(str(error), data) from error
        except TooManyCallsError as error:
            raise BusyAgentError(str(error)) from error
        except QuartermasterError as error:
            raise AwayError(str(error)) from error
        answer = new_data_message(decision.model_dump(mode="json"), media_type=JSON_MODE)
        answer.context_id = message.context_id
        return answer

    async def _find_name(self, message: wire.Message) -> str:
        if "agent" in message.metadata.fields:
            return str(message.metadata.fields["agent"].string_value)
        names = [card.name for card in await self._registry.cards()]
        if len(names) != 1:
            raise InvalidParamsError(f"metadata.agent: name one of {', '.join(names) or 'none'}")
        return names[0]

    async def on_message_send_stream(
        self, params: wire.SendMessageRequest, context: ServerCallContext
    ) -> AsyncGenerator[Any]:
        """Refuse: answers come whole.

        Args:
            params: Any.
            context: Of the call.

        Raises:
            UnsupportedOperationError: Always.
        """
        del params, context
        raise UnsupportedOperationError("answers come whole; send without streaming")
        yield

    async def on_subscribe_to_task(
        self, params: wire.SubscribeToTaskRequest, context: ServerCallContext
    ) -> AsyncGenerator[Any]:
        """Refuse: there are no tasks.

        Args:
            params: Any.
            context: Of the call.

        Raises:
            TaskNotFoundError: Always.
        """
        del params, context
        raise TaskNotFoundError
        yield

    async def on_get_task(self, params: wire.GetTaskRequest, context: ServerCallContext) -> None:
        """Find none: answers come at once.

        Args:
            params: Any.
            context: Of the call.
        """
        del params, context

    async def on_list_tasks(
        self, params: wire.ListTasksRequest, context: ServerCallContext
    ) -> wire.ListTasksResponse:
        """List none.

        Args:
            params: Any.
            context: Of the call.
        """
        del params, context
        return wire.ListTasksResponse()

    async def on_cancel_task(
        self, params: wire.CancelTaskRequest, context: ServerCallContext
    ) -> None:
        """Find none.

        Args:
            params: Any.
            context: Of the call.
        """
        del params, context

    async def on_create_task_push_notification_config(
        self, params: Any, context: ServerCallContext
    ) -> NoReturn:
        """Refuse: this server calls nobody.

        Args:
            params: Any.
            context: Of the call.

        Raises:
            PushNotificationNotSupportedError: Always.
        """
        del params, context
        raise PushNotificationNotSupportedError

    on_get_task_push_notification_config = on_create_task_push_notification_config
    on_list_task_push_notification_configs = on_create_task_push_notification_config
    on_delete_task_push_notification_config = on_create_task_push_notification_config

    async def on_get_extended_agent_card(
        self, params: wire.GetExtendedAgentCardRequest, context: ServerCallContext
    ) -> NoReturn:
        """Refuse: the card says all.

        Args:
            params: Any.
            context: Of the call.

        Raises:
            ExtendedAgentCardNotConfiguredError: Always.
        """
        del params, context
        raise ExtendedAgentCardNotConfiguredError


class _Bounded:
    """Refuses bodies that the SDK would parse for long, or not at all."""

    def __init__(self, endpoint: Any) -> None:
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; its body has come whole."""
        request = Request(scope, receive)
        body = await request.body()
        if body.count(b",") > MOST_VALUES:
            detail = f"a message holds at most {MOST_VALUES} values; use :invoke for more"
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
        try:
            from_json(body, allow_inf_nan=False)
        except ValueError as error:
            raise HTTPException(HTTPStatus.BAD_REQUEST, f"the body is no JSON: {error}") from error
        response: Response = await self._endpoint(request)
        await response(scope, receive, send)


class _CallerContext(DefaultServerCallContextBuilder):
    """Tells the handler who calls."""

    def build(self, request: Request) -> ServerCallContext:
        """Return what the SDK needs, and the caller's name."""
        context = super().build(request)
        context.state["caller"] = request.state.caller.name
        return context


def make_card(base: str, cards: Sequence[AgentCard]) -> wire.AgentCard:
    """Return the card of this server.

    Args:
        base: Its URL, as the caller knows it.
        cards: Of the agents.
    """
    schemas = {
        card.name: {
            "version": card.version,
            "request": card.request_schema,
            "decision": card.decision_schema,
        }
        for card in cards
    }
    interfaces = [
        wire.AgentInterface(
            url=base + JSONRPC_PATH, protocol_binding=binding, protocol_version=PROTOCOL_VERSION
        )
        for binding in ("JSONRPC", "HTTP+JSON")
    ]
    extension = wire.AgentExtension(
        uri=SCHEMAS_URI, description="JSON schemas of each skill's request and decision, by skill."
    )
    ParseDict(schemas, extension.params)
    return wire.AgentCard(
        name="Quartermaster",
        description="Trained agents that decide how to allocate scarce things. Send one data part "
        "that holds a request; the metadata's `agent` names the skill.",
        version=", ".join(f"{card.name} {card.version}" for card in cards) or "none",
        supported_interfaces=interfaces,
        documentation_url=f"{base}/openapi.json",
        capabilities=wire.AgentCapabilities(
            streaming=False, push_notifications=False, extensions=[extension]
        ),
        security_schemes={
            "bearer": wire.SecurityScheme(
                http_auth_security_scheme=wire.HTTPAuthSecurityScheme(scheme="bearer")
            )
        },
        default_input_modes=[JSON_MODE],
        default_output_modes=[JSON_MODE],
        skills=[_skill_of(card) for card in cards],
    )


def _skill_of(card: AgentCard) -> wire.AgentSkill:
    return wire.AgentSkill(
        id=card.name,
        name=card.title,
        description=f"{card.description} Version {card.version} answers.",
        tags=card.tags,
        examples=[json.dumps(example) for example in card.examples],
        input_modes=[JSON_MODE],
        output_modes=[JSON_MODE],
    )


def _request_of(message: wire.Message) -> Any:
    """Return the one data part; numbers without a fraction are whole again."""
    parts = [part.data for part in message.parts if part.HasField("data")]
    if len(parts) != 1 or len(message.parts) != 1:
        raise InvalidParamsError("parts: send one data part that holds the request")
    return _plain(parts[0])


def _plain(value: Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "struct_value":
        fields: Mapping[str, Value] = value.struct_value.fields
        return {name: _plain(one) for name, one in fields.items()}
    if kind == "list_value":
        return [_plain(one) for one in value.list_value.values]
    return None if kind in {None, "null_value"} else getattr(value, kind)
