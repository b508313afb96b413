import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of this test alone."""
    path = tmp_path / "cache"
    monkeypatch.setenv("CHARRNN_CACHE", str(path))
    return path


class Server(ThreadingHTTPServer):
    """Answers on loopback, well or badly as the path says; `requests` are the paths asked for."""

    daemon_threads = True

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body = body
        self.requests: list[str] = []
        self.closing = threading.Event()

    def address(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        getattr(self, self.path.strip("/"))()

    def log_message(self, *arguments: object) -> None:
        pass

    def _start(self, length: int | None) -> None:
        self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def good(self) -> None:
        self._start(len(self.server.body))
        self.wfile.write(self.server.body)

    def unmeasured(self) -> None:
        self._start(None)
        self.wfile.write(self.server.body)

    def truncated(self) -> None:
        self._start(len(self.server.body))
        self.wfile.write(self.server.body[:-7])

    def unmeasured_truncated(self) -> None:
        self._start(None)
        self.wfile.write(self.server.body[:-7])

    def altered(self) -> None:
        self._start(len(self.server.body))
        self.wfile.write(self.server.body[:-1] + b"?")

    def missing(self) -> None:
        self.send_error(404)

    def hanging(self) -> None:
        self._start(len(self.server.body))
        self.wfile.write(self.server.body[:10])
        self.wfile.flush()
        self.server.closing.wait(30)

    def mute(self) -> None:
        self.server.closing.wait(30)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with Server(b"What passes through here is text.\r\n" * 9000) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()
