"""Small repairs of Streamlit's look, so that all text can be read in light and in dark."""

from __future__ import annotations

BOTH = """
/* Captions are faded, which is too faint for many. */
div[data-testid="stCaptionContainer"] { opacity: 1; }
/* Where there is room for one column, its headings would stand above each other. */
@media (max-width: 640px) { .st-key-runs-headings { display: none; } }
"""
LIGHT = """
/* Code is coloured for dark paper. */
pre .token { color: inherit !important; }
"""
DARK = """
/* What is written on the bright accent colour is white. */
button[kind^="primary"], button[kind^="primary"] p, [data-tag], [data-tag] * {
  color: #08131c !important;
}
"""


def style_for(theme: str | None) -> str:
    """Return the style sheet of a theme.

    Args:
        theme: `light` or `dark`, as Streamlit tells it; unknown before the first answer.
    """
    return f"<style>{BOTH}{DARK if theme == 'dark' else LIGHT}</style>"
