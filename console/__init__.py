"""The console in the browser: a client of the HTTP API, drawn by Streamlit."""

from __future__ import annotations
