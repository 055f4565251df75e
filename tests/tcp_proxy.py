"""A way to a server by TCP that a test can close, or have swallow all that is said."""

from __future__ import annotations

import contextlib
import socket
from functools import partial

import anyio
from anyio.abc import SocketAttribute


class Proxy:
    """Passes bytes between callers and a Unix socket."""

    def __init__(self, path):
        self._path = path
        self._passes = anyio.Event()
        self._passes.set()
        self._refuses = False
        self._pairs = set()
        self._forgotten = set()
        self.port = 0

    async def run(self, *, task_status):
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", family=socket.AF_INET)
        self.port = listener.extra(SocketAttribute.local_port)
        task_status.started()
        async with listener:
            await listener.serve(self._serve)

    def refuse(self):
        """End every conversation; whoever calls is sent away."""
        self._refuses = True
        for scope in self._pairs:
            scope.cancel()

    def fall_silent(self):
        """Hold back all that is said, as a network does that has broken apart."""
        self._passes = anyio.Event()

    def forget(self):
        """Fall silent; conversations of now stay so for ever, as behind a router that restarts."""
        self.fall_silent()
        self._forgotten |= self._pairs

    def heal(self):
        """Let callers in, and what was held back through."""
        self._refuses = False
        self._passes.set()

    async def _serve(self, caller):
        async with caller:
            if self._refuses:
                return
            await self._passes.wait()
            async with await anyio.connect_unix(self._path) as server:
                with anyio.CancelScope() as scope:
                    self._pairs.add(scope)
                    async with anyio.create_task_group() as group:
                        for one, other in ((caller, server), (server, caller)):
                            group.start_soon(partial(self._pass, one, other, scope))
                self._pairs.discard(scope)

    async def _pass(self, one, other, scope):
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while True:
                heard = await one.receive()
                await self._passes.wait()
                if scope in self._forgotten:
                    await anyio.sleep_forever()
                await other.send(heard)
        scope.cancel()
