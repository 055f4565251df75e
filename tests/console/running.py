"""A real server for pages to speak with, and pages run as a browser would run them."""

from __future__ import annotations

import contextlib
import re
import socket

from anyio.from_thread import start_blocking_portal
from streamlit.testing.v1 import AppTest

from console import server
from tests.orchestration.served import serve

PATIENCE_SECONDS = 120
PAGES = ("agents", "analysis", "engine", "lab", "monitoring", "runs", "submit")


@contextlib.contextmanager
def running_server(var, **settings):
    """Serve in a thread; yields the doors, and the portal to call their application through."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serve(var, **settings)) as doors,
    ):
        yield doors, portal


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


def speak_with(monkeypatch, url, token=None):
    """Have the console's pages use a server."""
    monkeypatch.setenv(server.URL_VARIABLE, url)
    if token is None:
        monkeypatch.delenv(server.TOKEN_VARIABLE, raising=False)
    else:
        monkeypatch.setenv(server.TOKEN_VARIABLE, token)


def open_page(name):
    """Run a page once."""
    script = f"from console import {name}_page\n{name}_page.show()\n"
    return AppTest.from_string(script, default_timeout=PATIENCE_SECONDS).run()


def texts(page):
    """All that a page says in boxes, titles, paragraphs and on buttons."""
    kinds = (page.title, page.error, page.warning, page.info, page.success, page.markdown)
    said = [element.value for kind in (*kinds, page.caption) for element in kind]
    return shown("\n".join([*said, *(button.label for button in page.button)]))


def shown(markdown):
    """What one sees of a text, without the signs that keep Markdown from meaning more."""
    return re.sub(r"\\([^a-zA-Z0-9\s])", r"\1", markdown)
