"""What every business agent offers: a typed request in, a typed decision out, always an answer.

A policy that fails, is late or is asked about unknown ground is replaced by the domain's expert,
and the decision says so.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Annotated, Any, Generic, Literal, Self, TypedDict, TypeVar

import anyio
import anyio.to_thread
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ai_agents.explanation import Explanation
from rl.deployment.guardrails import FallbackReason
from utils.errors import QuartermasterError
from utils.logs import get_logger

logger = get_logger(__name__)
ApprovalState = Literal["not_needed", "waiting", "approved", "overridden", "rejected"]
MOST_PROBLEMS = 20
MOST_REQUESTS = 256
"""In one batch."""
LONGEST_NAME = 100
"""Characters of a name that a problem repeats."""


@dataclass(frozen=True, kw_only=True)
class FieldProblem:
    """What is wrong with one field of a request."""

    field: str
    """Its path, such as `services[1].recent_demand[0]`; `request` for the whole."""
    problem: str


class RequestError(QuartermasterError, ValueError):
    """A request cannot be answered as it is; `problems` names each field and what is wrong."""

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        """Keep the problems.

        Args:
            problems: At least one; the first 20 are kept.
        """
        self.problems = tuple(problems[:MOST_PROBLEMS])
        super().__init__("; ".join(f"{one.field}: {one.problem}" for one in self.problems))

    def under(self, place: str) -> RequestError:
        """Return the same problems of a request that is part of something larger.

        Args:
            place: Where the request lies in it, such as `[3]`.
        """
        return RequestError(
            [FieldProblem(field=f"{place}.{p.field}", problem=p.problem) for p in self.problems]
        )


class AgentNotReadyError(QuartermasterError):
    """The agent was not set up, or was closed; await setup() first."""


class RequestModel(BaseModel):
    """Base of requests: nothing unknown, nothing coerced, nothing infinite."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)


class DecisionRequest(RequestModel):
    """What every request for a decision may ask besides."""

    compare: bool = Field(
        default=False, description="Whether to give the expert's answer beside the decision."
    )
    explain: bool = Field(
        default=False,
        description="Whether to say why: what bound the decision, what the expert would have done "
        "and on which fields it hangs. Takes a tenth of a second or so more.",
    )


class Decision(BaseModel):
    """What every answer says about itself."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    agent: str = Field(description="Name of the agent that answered.")
    version: str = Field(description="Which version of it.")
    request_id: str = Field(description="The caller's name for the request.")
    decision_id: str = Field(
        description="Name of this decision in the records; what came of it is told under it."
    )
    decided_by: str = Field(description="`policy`, or the name of the expert that stood in for it.")
    fallback_used: bool = Field(description="Whether an expert answered in place of the policy.")
    fallback_reason: FallbackReason | None = Field(description="Why, if so.")
    duration_seconds: float = Field(
        ge=0, description="From request to decision; for a batch, that of the whole batch."
    )
    warnings: list[str] = Field(description="What the caller should know about this answer.")
    guardrails: list[str] = Field(
        description="Constraints that the policy's wish was cut to, such as `capacity.compute`."
    )
    explanation: Explanation | None = Field(default=None, description="Why, if asked for.")
    approval: ApprovalState = Field(
        default="not_needed",
        description="`waiting`: do nothing before a person has approved it; ask for it again by "
        "its `decision_id`. `overridden`: a person's decision in place of the agent's.",
    )


class Header(TypedDict):
    """What a decision says about itself, apart from what its domain adds."""

    agent: str
    version: str
    request_id: str
    decision_id: str
    decided_by: str
    fallback_used: bool
    fallback_reason: FallbackReason | None
    duration_seconds: float
    warnings: list[str]


@dataclass(frozen=True, kw_only=True)
class InvocationContext:
    """What comes with a call besides the request."""

    request_id: str
    decision_ids: tuple[str, ...] = ()
    """Names in the records of the decisions to come, one a request; the request id if absent."""
    deadline_seconds: float | None = None
    """Time the policy has, from the call on; with none it runs at once on the event loop, which is
    fastest, with one it runs in a thread and the expert answers if it is late."""
    stand_in: FallbackReason | None = None
    """Why the expert shall answer without the policy being asked; None asks the policy."""


@dataclass(frozen=True, kw_only=True)
class Health:
    """Whether an agent can answer."""

    status: Literal["starting", "ready", "degraded", "closed"]
    """Degraded: it answers, but by its expert, because the policy failed last time."""
    reason: str = ""


RequestT = TypeVar("RequestT", bound=DecisionRequest)
DecisionT = TypeVar("DecisionT", bound=Decision)
ResultT = TypeVar("ResultT")


class BusinessAgent(ABC, Generic[RequestT, DecisionT]):
    """A frozen policy that people and programs call."""

    name: str
    version: str
    request_type: type[RequestT]
    decision_type: type[DecisionT]

    @abstractmethod
    async def setup(self) -> None:
        """Load what is needed and warm up."""

    @abstractmethod
    async def invoke_batch(
        self, requests: Sequence[RequestT], context: InvocationContext
    ) -> list[DecisionT]:
        """Answer several requests by one forward pass.

        Args:
            requests: At least one.
            context: Of the call.

        Raises:
            RequestError: A request does not fit the agent; none is answered.
            AgentNotReadyError: The agent was not set up, or was closed.
        """

    @abstractmethod
    async def health(self) -> Health:
        """Tell whether the agent can answer."""

    @abstractmethod
    async def aclose(self) -> None:
        """Answer no more requests."""

    async def invoke(self, request: RequestT, context: InvocationContext) -> DecisionT:
        """Answer one request.

        Args:
            request: As `parse` returned it.
            context: Of the call.

        Raises:
            RequestError: The request does not fit the agent.
            AgentNotReadyError: The agent was not set up, or was closed.
        """
        return (await self.invoke_batch([request], context))[0]

    def parse(self, payload: bytes | str | Mapping[str, Any] | DecisionRequest) -> RequestT:
        """Read a request from outside.

        Args:
            payload: JSON text, the object it holds, or a request that is read already.

        Raises:
            RequestError: It is malformed; each problem names its field.
        """
        try:
            if isinstance(payload, (bytes, str)):
                return self.request_type.model_validate_json(payload)
            if isinstance(payload, DecisionRequest) and not isinstance(payload, self.request_type):
                payload = payload.model_dump()
            return self.request_type.model_validate(payload)
        except ValidationError as error:
            raise RequestError(problems_of(error)) from error

    def parse_batch(
        self, payload: bytes | str | Sequence[RequestT | Mapping[str, Any]]
    ) -> list[RequestT]:
        """Read several requests from outside.

        Args:
            payload: JSON text of a list, or the requests, as objects or read already.

        Raises:
            RequestError: One is malformed, or there are none or too many; each problem names the
                request's place and the field.
        """
        batch = _batch_of(self.request_type)
        try:
            if isinstance(payload, (bytes, str)):
                read: list[RequestT] = batch.validate_json(payload)
            else:
                read = batch.validate_python(list(payload))
        except ValidationError as error:
            raise RequestError(problems_of(error)) from error
        return read

    async def __aenter__(self) -> Self:
        """Set up."""
        await self.setup()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        await self.aclose()


async def attempt(
    policy: Callable[[], ResultT], deadline_seconds: float | None
) -> ResultT | FallbackReason:
    """Ask the policy, or say why it has no answer.

    Args:
        policy: Computes the answer; must not touch anything that others write.
        deadline_seconds: How long it may take; it then goes on unheard in its thread.
    """
    try:
        if deadline_seconds is None:
            return policy()
        with anyio.move_on_after(deadline_seconds):
            return await anyio.to_thread.run_sync(policy, abandon_on_cancel=True)
    except Exception as error:  # noqa: BLE001  whatever breaks, the caller gets an answer
        logger.warning("policy_failed", error=f"{type(error).__name__}: {error}")
        return FallbackReason.ERROR
    return FallbackReason.DEADLINE


def field_path(location: Sequence[str | int]) -> str:
    """Write a field's place as people do, such as `services[1].name`.

    Args:
        location: Names and positions from the outside in; empty for the whole request. Names may be
            as long as a caller likes; their beginning is kept.
    """
    path = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part[:LONGEST_NAME]}" for part in location
    )
    return path.removeprefix(".") or "request"


@functools.cache
def _batch_of(kind: type[DecisionRequest]) -> TypeAdapter[Any]:
    sized = Field(min_length=1, max_length=MOST_REQUESTS)
    return TypeAdapter(Annotated[list[kind], sized])  # type: ignore[valid-type, arg-type]


def problems_of(error: ValidationError) -> list[FieldProblem]:
    """Return what pydantic found wrong, by field.

    Args:
        error: Of a validation.
    """
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [FieldProblem(field=field_path(one["loc"]), problem=one["msg"]) for one in found]
