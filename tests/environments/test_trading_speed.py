"""The plain loop beside the batched trading world is a fair peer: it plays the same world."""

from __future__ import annotations

import pytest

from benchmarks.plain_trading import PlainTrading, check_plain_trading


def test_plain_loop_earns_the_same():
    assert check_plain_trading(1) < 1e-3


def test_another_world_is_no_peer(monkeypatch):
    monkeypatch.setattr(PlainTrading, "_cost", lambda self, order, price: 0.0)
    with pytest.raises(SystemExit, match="it is no peer"):
        check_plain_trading(1)
