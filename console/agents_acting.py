"""What a press of a button does: ask the server, draw the page anew, and say what came of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import streamlit as st

from console.server import ask
from console.showing import plain, told
from orchestration.client.client import Client

Answer = TypeVar("Answer")
SAID = "agents_said"


def act(question: Callable[[Client], Awaitable[Answer]], said: Callable[[Answer], str]) -> None:
    """Ask for a change; on success the page is drawn anew and says so, else it says why not.

    Args:
        question: What is asked.
        said: What to say of the answer.
    """
    with told():
        st.session_state[SAID] = said(ask(question))
        st.rerun()


def say_what_happened() -> None:
    """Say what came of the last press, once."""
    if SAID in st.session_state:
        st.success(plain(st.session_state.pop(SAID)))
