"""Where the A2A door answers, known before its library is loaded."""

from __future__ import annotations

CARD_PATH = "/.well-known/agent-card.json"
JSONRPC_PATH, REST_PATH = "/a2a", "/a2a/message:send"
