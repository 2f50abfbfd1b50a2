"""A local dump server that misbehaves when it is told to, and counts what it is asked for."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, unquote

from producers.fetch.clock import StopClock

PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"


@dataclass(frozen=True)
class Fault:
    """How one GET is answered wrongly; the request after it is answered well."""

    status: int = 0
    """Instead of the file."""
    headers: dict[str, str] = field(default_factory=dict)
    close_after: int | None = None
    """Bytes of the body, then the connection is closed."""
    stall_after: int | None = None
    """Bytes of the body, then silence."""
    length: int | None = None
    """A Content-Length that is not the body's."""
    page: bool = False
    """HTML instead of the file."""
    content_type: str = "application/octet-stream"
    ranges: bool = True
    without_length: bool = False
    blind: bool = False
    """Serves ranges without looking at If-Range."""


class DumpServer:
    """Serves `files`, by path, and a listing of every folder in between."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.links: dict[str, list[str]] = defaultdict(list)
        """More links for a folder's listing, as they are."""
        self.faults: dict[str, deque[Fault]] = defaultdict(deque)
        self.always = Fault()
        self.sizes_listed = True
        self.sent: Counter[str] = Counter()
        """Bytes of bodies, by path."""
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.most_connections = 0
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self._http = _Server(self)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> DumpServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/"

    def add_dump(self, wiki: str, date: str, shards: list[bytes], done: bool = True) -> list[str]:
        """A snapshot in Wikimedia's layout; the paths of its shards."""
        folder = f"{date}/index_name={wiki}_content"
        paths = [f"{folder}/{wiki}_content-{date}-{number:05}.json.bz2" for number in range(len(shards))]
        self.files.update(zip(paths, shards, strict=True))
        if done:
            self.files[f"{folder}/_SUCCESS"] = b""
        return paths

    def asked(self, method: str, path: str) -> int:
        """How often a path was asked for."""
        return sum((made, of) == (method, path) for made, of, _ in self.requests)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, dumps: DumpServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.dumps = dumps
        self._open: set[socket.socket] = set()

    def process_request(self, request: object, client_address: object) -> None:
        assert isinstance(request, socket.socket)
        with self.dumps.lock:
            self._open = {connection for connection in self._open if _is_open(connection)} | {request}
            self.dumps.most_connections = max(self.dumps.most_connections, len(self._open))
        super().process_request(request, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle is what some tests are about."""


def _is_open(connection: socket.socket) -> bool:
    """Whether the client has not closed it: asked of the socket, so that no thread's slowness counts."""
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(Fault())

    def do_GET(self) -> None:
        dumps = self.server.dumps
        with dumps.lock:
            waiting = dumps.faults[self._path]
            fault = waiting.popleft() if waiting else dumps.always
        self._answer(fault)

    @property
    def _path(self) -> str:
        return unquote(self.path).lstrip("/")

    def _answer(self, fault: Fault) -> None:
        dumps = self.server.dumps
        with dumps.lock:
            dumps.requests.append((self.command, self._path, {k.lower(): v for k, v in self.headers.items()}))
        if fault.status:
            self._send(fault.status, b"no", fault)
        elif fault.page:
            self._send(200, PAGE, fault)
        elif self._path in dumps.files:
            self._send_file(dumps.files[self._path], fault)
        elif (page := _listing(dumps, self._path)) is not None:
            self._send(200, page, Fault(content_type="text/html", close_after=fault.close_after))
        else:
            self._send(404, b"", Fault())

    def _send_file(self, body: bytes, fault: Fault) -> None:
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        extra = {"ETag": tag, "Last-Modified": "Sun, 15 Nov 2026 12:00:00 GMT"}
        fits = fault.blind or self.headers.get("If-Range", tag) == tag
        if not (asked and fault.ranges and fits):
            self._send(200, body, fault, extra)
        elif int(asked[1]) >= len(body):
            self._send(416, b"", fault, {"Content-Range": f"bytes */{len(body)}"})
        else:
            start = int(asked[1])
            extra["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            self._send(206, body[start:], fault, extra)

    def _send(self, status: int, body: bytes, fault: Fault, extra: dict[str, str] | None = None) -> None:
        self.send_response(status)
        length = len(body) if fault.length is None else fault.length
        headers = {"Content-Type": fault.content_type, **(extra or {}), **fault.headers}
        if not fault.without_length:
            headers["Content-Length"] = str(length)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        if self.command == "HEAD":
            return
        stop = next((n for n in (fault.close_after, fault.stall_after) if n is not None), length)
        sent = body[:stop]
        with self.server.dumps.lock:
            self.server.dumps.sent[self._path] += len(sent)
        self.wfile.write(sent)
        if fault.stall_after is not None:
            self.server.dumps.closing.wait(10)


def _listing(dumps: DumpServer, path: str) -> bytes | None:
    folder = path if path == "" or path.endswith("/") else f"{path}/"
    below = {name.removeprefix(folder) for name in dumps.files if name.startswith(folder)}
    names = sorted({name.partition("/")[0] + ("/" if "/" in name else "") for name in below})
    if not names and folder not in dumps.links:
        return None
    lines = ['<a href="../">../</a>']
    for name in names:
        size = len(dumps.files.get(folder + name, b""))
        behind = f"   15-Nov-2026 12:00   {size}" if dumps.sizes_listed and not name.endswith("/") else ""
        lines.append(f'<a href="{quote(name, safe="/")}">{name}</a>{behind}')
    lines += [f'<a href="{link}">more</a>' for link in dumps.links[folder]]
    return f"<html><body><h1>Index</h1><pre>{chr(10).join(lines)}</pre></body></html>".encode()


class QuickClock(StopClock):
    """A clock on which waiting takes no time; `slept` is what was waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    def now(self) -> float:
        return super().now() + sum(self.slept)

    def today(self) -> float:
        return super().today() + sum(self.slept)

    def sleep(self, seconds: float) -> None:
        self.check()
        self.slept.append(seconds)
