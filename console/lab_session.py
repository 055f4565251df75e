"""The open world of one browser tab: opened, played on, read and closed over HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import streamlit as st

from console.server import ask
from orchestration.client.errors import ApiError, NotFoundError, OverError, UnreachableError
from orchestration.endpoints.session_play_routes import DeciderRequest, StateView
from orchestration.endpoints.session_routes import SessionView, TrajectoryStep
from orchestration.endpoints.world_routes import WorldView

KEY = "lab"
PAGE = 500
PATIENCE = 75.0
"""Seconds: the server gives a world a minute to be built or to answer."""
EXPERT = DeciderRequest(kind="expert")


@dataclass(kw_only=True)
class Lab:
    """A world, and what is known of its episode."""

    world: WorldView
    seed: int
    sizes: Mapping[str, float | str]
    session: SessionView
    steps: list[TrajectoryStep] = field(default_factory=list)
    reference: list[float | None] = field(default_factory=list)
    """What the expert earned in the same episode, as far as it has played."""
    over: str = ""
    """Why the server keeps the session no more; empty while it does."""

    @property
    def has_ended(self) -> bool:
        """Whether the episode is played to its end."""
        return bool(self.steps) and self.steps[-1].has_ended

    @property
    def expert(self) -> str:
        """The usual rule; empty where there is none."""
        return next(iter(self.session.experts), "")


def current() -> Lab | None:
    """Return the world that is open, or was until the server closed it."""
    lab: Lab | None = st.session_state.get(KEY)
    return lab


def open_lab(world: WorldView, *, seed: int, sizes: Mapping[str, float | str]) -> Lab:
    """Open a world in place of the one before.

    Args:
        world: Which.
        seed: Of its scenarios.
        sizes: Those that were chosen.

    Raises:
        ApiError: The server refuses.
        UnreachableError: No answer came.
    """
    leave()
    session = open_session(world, seed=seed, sizes=sizes)
    lab = Lab(world=world, seed=seed, sizes=dict(sizes), session=session)
    st.session_state[KEY] = lab
    return lab


def open_session(world: WorldView, *, seed: int, sizes: Mapping[str, float | str]) -> SessionView:
    """Open a world and return what the server says of it; the caller closes it.

    Args:
        world: Which.
        seed: Of its scenarios.
        sizes: Those that were chosen.
    """
    return ask(
        lambda client: client.sessions.open(world.name, seed=seed, sizes=sizes), seconds=PATIENCE
    )


def leave() -> None:
    """Close the open world, if there is one; a server that is away closes it by itself later."""
    lab: Lab | None = st.session_state.pop(KEY, None)
    if lab is None or lab.over:
        return
    with contextlib.suppress(ApiError, UnreachableError):
        ask(lambda client: client.sessions.close(lab.session.id))


@contextlib.contextmanager
def noticing(lab: Lab) -> Iterator[None]:
    """Keep what a session that is over said; its steps stay to be looked at.

    Args:
        lab: Whose.
    """
    try:
        yield
    except (OverError, NotFoundError) as error:
        lab.over = error.detail


def act(lab: Lab, actions: Mapping[str, object], *, steps: int) -> None:
    """Do the same for some steps, or until the end.

    Args:
        lab: An open world.
        actions: By agent.
        steps: How many.
    """
    for _ in range(steps):
        answer = ask(lambda client: client.sessions.step(lab.session.id, actions), seconds=PATIENCE)
        if answer.has_ended:
            break
    read(lab)


def play(lab: Lab, decider: DeciderRequest, *, steps: int) -> None:
    """Let somebody decide for some steps, or until the end, and show how far it is.

    Args:
        lab: An open world.
        decider: Who.
        steps: How many.
    """
    left = steps
    with st.spinner("Playing …"):
        while left > 0:
            asked = left
            view = ask(
                lambda client: client.sessions.play(lab.session.id, decider, steps=asked),  # noqa: B023
                seconds=PATIENCE,
            )
            left -= view.played
            if view.has_ended:
                break
        read(lab)


def read(lab: Lab) -> None:
    """Fetch the steps that are not known yet, and as much of the expert's episode.

    Args:
        lab: An open world.
    """
    while True:
        known = len(lab.steps)
        page = ask(
            lambda client: client.sessions.trajectory(lab.session.id, offset=known, limit=PAGE),  # noqa: B023
            seconds=PATIENCE,
        )
        lab.steps += page.steps
        if not page.steps or len(lab.steps) >= page.total:
            break
    ended = False
    while lab.expert and len(lab.reference) < len(lab.steps) and not ended:
        view = ask(
            lambda client: client.sessions.reference(lab.session.id, EXPERT), seconds=PATIENCE
        )
        lab.reference, ended = view.rewards, view.has_ended


def look(lab: Lab) -> StateView:
    """Return what is known in the world now.

    Args:
        lab: An open world.
    """
    return ask(lambda client: client.sessions.state(lab.session.id), seconds=PATIENCE)


def list_worlds() -> Sequence[WorldView]:
    """Return the worlds of the server."""
    return ask(lambda client: client.sessions.worlds())
