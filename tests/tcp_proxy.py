"""A way to a server by TCP that a test can close, or have swallow all that is said."""

from __future__ import annotations

import contextlib
import socket
import threading


class Proxy:
    """Passes bytes between callers and a Unix socket, in threads of its own."""

    def __init__(self, path):
        self._path = path
        self._passes, self._is_over = threading.Event(), threading.Event()
        self._passes.set()
        self._refuses = False
        self._pairs, self._forgotten, self._threads = set(), set(), []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]

    def __enter__(self):
        self._start(self._serve)
        return self

    def __exit__(self, *_):
        self._is_over.set()
        self._passes.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self.refuse()
        for thread in self._threads:
            thread.join(timeout=10)
        self._listener.close()

    def refuse(self):
        """End every conversation; whoever calls is sent away."""
        self._refuses = True
        for pair in list(self._pairs):
            hang_up(pair)

    def fall_silent(self):
        """Hold back all that is said, as a network does that has broken apart."""
        self._passes.clear()

    def forget(self):
        """Fall silent; conversations of now stay so for ever, as behind a router that restarts."""
        self.fall_silent()
        self._forgotten |= self._pairs

    def heal(self):
        """Let callers in, and what was held back through."""
        self._refuses = False
        self._passes.set()

    def _start(self, work, *arguments):
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                self._start(self._meet, self._listener.accept()[0])

    def _meet(self, caller):
        with caller:
            self._passes.wait()
            if self._refuses:
                return
            with socket.socket(socket.AF_UNIX) as server:
                server.connect(self._path)
                pair = caller, server
                self._pairs.add(pair)
                back = self._start(self._pass, server, caller, pair)
                self._pass(caller, server, pair)
                back.join()
                self._pairs.discard(pair)

    def _pass(self, one, other, pair):
        with contextlib.suppress(OSError):
            while heard := one.recv(1 << 16):
                self._passes.wait()
                if pair in self._forgotten:
                    self._is_over.wait()
                other.sendall(heard)
        hang_up(pair)


def hang_up(pair):
    for one in pair:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
