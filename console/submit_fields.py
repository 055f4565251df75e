"""One field of a training's form as a widget."""

from __future__ import annotations

import streamlit as st

from console.submit_form import about, label
from orchestration.client.training import FormField

TYPED = "submit:typed:"
"""Where the session keeps what was typed, by name of the field."""


def keep_typed() -> None:
    """Keep what was typed in fields that are not drawn now; Streamlit would forget it."""
    for name in list(st.session_state):
        if str(name).startswith(TYPED):
            st.session_state[name] = st.session_state[name]


def draw_field(field: FormField) -> None:
    """Draw a field; what is typed in it is in the session's state.

    Args:
        field: Which.
    """
    key, name, words = TYPED + field.name, label(field), about(field)
    if field.kind == "switch":
        st.checkbox(name, key=key, help=words)
    elif field.kind == "choice":
        st.selectbox(name, field.choices, key=key, help=words)
    elif field.kind == "whole":
        st.number_input(name, step=1, value=None, key=key, help=words)
    elif field.kind == "number":
        st.number_input(name, step=None, format="%g", value=None, key=key, help=words)
    else:
        st.text_input(name, key=key, help=words)
