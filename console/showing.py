"""What pages show alike: figures with their table and their words, and errors in words."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence

import altair as alt
import streamlit as st

from console.server import TOKEN_VARIABLE, server_url
from orchestration.client.errors import ApiError, ScopeError, TokenError, UnreachableError
from utils.persistence.errors import ArtifactCorruptError

MARKUP = re.compile(r"[\\`*_\[\]<#$~|]|:(?=[\w+-])")
"""Signs that Markdown, or Streamlit's own words such as `:red[...]`, would not show."""
AXIS_ROOM = 100
"""Of a chart's height, for axis, titles and legend; what it draws gets the rest."""
Drawing = alt.Chart | alt.LayerChart | alt.FacetChart | alt.HConcatChart | alt.VConcatChart


def figure(chart: Drawing, rows: Sequence[Mapping[str, object]], summary: str, *, key: str) -> None:
    """Draw a chart, say in a sentence what it shows, and keep its numbers in a table below.

    Args:
        chart: The drawing.
        rows: Its numbers, a row each.
        summary: What one sees, for readers who do not.
        key: Of the table, unique on the page.
    """
    st.altair_chart(chart, alt=summary)
    st.caption(plain(summary))
    with st.expander("As a table"):
        st.dataframe(rows, hide_index=True, key=key)


def plain(text: object) -> str:
    """Return a text from elsewhere so that Markdown shows it as it is, and fetches no picture.

    Args:
        text: Written by users, or by programs for which this is no Markdown.
    """
    return MARKUP.sub(r"\\\g<0>", str(text))


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Turn a refusal or a damaged file into words on the page, which goes on below."""
    try:
        yield
    except (ApiError, UnreachableError) as error:
        st.error(describe(error))
    except ArtifactCorruptError as error:
        st.error(f"{plain(error)}: it is not offered. Fetch it again, or restore it from a backup.")


def describe(error: ApiError | UnreachableError) -> str:
    """Say what went wrong, and what to do where that is known.

    Args:
        error: Of the client.
    """
    if isinstance(error, UnreachableError):
        return (
            f"No answer from {server_url()}: {plain(error)}. Start a server with "
            "`python -m orchestration serve`, or `make console` for both."
        )
    problems = "".join(f"\n- {plain(field)}: {plain(why)}" for field, why in error.problems.items())
    remedy = ""
    if isinstance(error, TokenError | ScopeError):
        remedy = f" Start the console with a token that may in {TOKEN_VARIABLE}."
    return f"{plain(error.detail.rstrip('.'))}.{remedy}{problems}"
