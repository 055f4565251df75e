"""The peer of the speed benchmark still plays the world that the core plays."""

from __future__ import annotations

import pytest

from benchmarks import environment_speed


def test_the_plain_loop_earns_and_sees_the_same():
    assert environment_speed.check_plain(0) < 1e-3


def test_a_peer_that_sees_less_is_noticed(monkeypatch):
    monkeypatch.setattr(environment_speed.PlainAllocation, "load", lambda self, last: [])
    with pytest.raises(ValueError, match="shapes"):
        environment_speed.check_plain(0)
