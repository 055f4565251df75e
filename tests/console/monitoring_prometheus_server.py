"""A real Prometheus that watches a server with our rules, and one that answers by a script."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import httpx
import yaml

ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def watching(server, folder):
    """Start Prometheus; yields its address once it has scraped."""
    source = ROOT / "deploy" / "prometheus"
    shutil.copytree(source / "rules", folder / "rules")
    config = yaml.safe_load((source / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"][0]["static_configs"] = [{"targets": [server.removeprefix("http://")]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    child = subprocess.Popen(
        [
            shutil.which("prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
        ]
    )
    try:
        yield url
    finally:
        child.terminate()
        child.wait(30)


def value_of(url, query):
    """The first value of a query; None while there is none."""
    with contextlib.suppress(httpx.TransportError):
        found = httpx.get(f"{url}/api/v1/query", params={"query": query}, timeout=10).json()
        for one in found["data"]["result"]:
            return float(one["value"][1])
    return None


@contextlib.contextmanager
def scripted(answer):
    """Serve `answer(what, asked) -> (status, body)`; yields the address and what was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            url = urlparse(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            what = url.path.removeprefix("/api/v1/")
            asked.append((what, query))
            status, body = answer(what, query)
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
