"""Webhooks: lines of the outbox sent to hosts that the operator lists, signed and retried."""

from __future__ import annotations
