"""Files of a web server, asked for politely: our name, two connections, ranges, and a pause when it says so."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import httpx
import structlog

from pipeline.errors import one_line
from producers.fetch.clock import StopClock
from producers.fetch.part_file import PartFile
from producers.fetch.remote_file import NotThere, Refused, RemoteFile, Unavailable, Version
from producers.fetch.retry import Retries, rest_asked

LISTING_BYTES = 8 * 1024 * 1024
"""A listing of all of Wikimedia's wikis has about 0.3 MB."""

CONNECTIONS = 2
"""To one server at once; public ones ask for no more."""

CONNECT_SECONDS = 20.0
_LOOK_SECONDS = 0.2
_PARTIAL, _RANGE_WRONG = 206, 416
_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,18})-\d{1,18}|\*)/(\d{1,18})")


class HttpFiles:
    """Files by their addresses, asked for as `agent` (see `contact`). One object may serve several threads."""

    def __init__(self, agent: str, stall_seconds: float = 60.0, clock: StopClock | None = None) -> None:
        self.clock = clock or StopClock()
        self._client = httpx.Client(
            headers={"User-Agent": agent, "Accept-Encoding": "identity", "Connection": "close"},
            timeout=httpx.Timeout(stall_seconds, connect=min(CONNECT_SECONDS, stall_seconds), pool=None),
            # A connection that is kept for later counts at the server as one in use.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        )
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()

    def stop(self) -> None:
        """Ends what is under way, also a read that waits for a silent server."""
        self.clock.stop()
        with self._lock:
            for connection in self._sockets:
                with contextlib.suppress(OSError):
                    # Not the TLS socket's own shutdown: it takes the session away from under the reading thread.
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def listing(self, address: str) -> str:
        """The HTML of a folder's listing. Raises NotThere, Refused, Stopped, or Unavailable after several tries."""
        return Retries(self.clock, failed=_say).call(lambda: self._listing(address))

    def look(self, file: RemoteFile) -> Version:
        """The version that the server has now; nothing is known of it when the server does not answer HEAD."""
        with self._answer("HEAD", file.address, {}) as response:
            if response.status_code in (405, 501):
                return Version()
            _refuse_page(response)
            return _version_of(response)

    def fetch(self, file: RemoteFile, part: PartFile) -> None:
        """One try: goes on behind what `part` has when the server still has that version, else starts over."""
        wanted = _range_after(part)
        with self._answer("GET", file.address, wanted) as response:
            if response.status_code == _RANGE_WRONG:
                _correct_size(response, part)
                return
            _refuse_page(response)
            if response.status_code != _PARTIAL:
                part.begin(_version_of(response))
            elif not wanted or not _continues(response, part):
                part.discard()
                raise Unavailable(f"{file.address}: the server has another version now; starting over")
            self._copy(response, part)

    def _copy(self, response: httpx.Response, part: PartFile) -> None:
        # No chunk size: chunks of a fixed size would keep the last bytes before a break to themselves.
        for data in response.iter_raw():
            self.clock.check()
            if part.have == 0 and data.lstrip()[:1] == b"<":
                raise Refused(f"{response.url}: a page of HTML came instead of the file; look at it in a browser")
            part.write(data)

    def _listing(self, address: str) -> str:
        with self._answer("GET", address, {}) as response:
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise Refused(f"{address}: the server sends it compressed, though asked not to")
            page = bytearray()
            for data in response.iter_raw():
                self.clock.check()
                page += data
                if len(page) > LISTING_BYTES:
                    raise Refused(f"{address}: the listing is larger than {LISTING_BYTES:,} bytes; is this a mirror?")
        return page.decode(errors="replace")

    @contextlib.contextmanager
    def _answer(self, method: str, address: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        gate = _gate_of(address)
        with gate.connection(self.clock):
            try:
                with self._client.stream(method, address, headers=headers) as response, self._stoppable(response):
                    if (rest := rest_asked(response.headers.get("Retry-After", ""), self.clock.today())) > 0:
                        gate.rest(rest, self.clock)
                    _judge(response, address)
                    yield response
            except httpx.TransportError as error:
                self.clock.check()
                raise _as_ours(error, address) from error

    @contextlib.contextmanager
    def _stoppable(self, response: httpx.Response) -> Iterator[None]:
        connection: socket.socket = response.extensions["network_stream"].get_extra_info("socket")
        with self._lock:
            self._sockets.add(connection)
        try:
            self.clock.check()
            yield
        finally:
            with self._lock:
                self._sockets.discard(connection)


def _say(error: str, pause: float) -> None:
    structlog.get_logger().warning("another try", error=error, pause_seconds=round(pause, 1))


def _as_ours(error: httpx.TransportError, address: str) -> Exception:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return Refused(f"{address}: the server's certificate is not valid here ({error})")
    if isinstance(error, httpx.UnsupportedProtocol | httpx.ProxyError):
        return Refused(f"{address}: {error}")
    what = "the server sent nothing for too long" if isinstance(error, httpx.ReadTimeout) else one_line(error)
    return Unavailable(f"{address}: {what}")


def _judge(response: httpx.Response, address: str) -> None:
    status = response.status_code
    if response.is_success or status == _RANGE_WRONG or (response.request.method == "HEAD" and status in (405, 501)):
        return
    said = f"{address}: the server answers {status} {response.reason_phrase}".rstrip()
    if status in (408, 425, 429) or status >= 500:
        raise Unavailable(said)
    if status in (404, 410):
        raise NotThere(f"{said}: it is not there; old snapshots are deleted after some weeks")
    if status == 403:
        raise Refused(
            f"{said}: it refuses you; check --contact, that nothing else downloads from your address, and its rules"
        )
    if response.is_redirect:
        raise Refused(f"{said} and points to {response.headers.get('Location', '')[:200]!r}; give that as --mirror")
    raise Refused(said)


def _refuse_page(response: httpx.Response) -> None:
    if response.headers.get("Content-Type", "").lower().startswith(("text/html", "application/xhtml")):
        raise Refused(f"{response.url}: a page of HTML came instead of the file; look at it in a browser")


def _version_of(response: httpx.Response) -> Version:
    length = response.headers.get("Content-Length", "")
    size = int(length) if re.fullmatch(r"\d{1,18}", length) else None
    return Version(size, response.headers.get("ETag", ""), response.headers.get("Last-Modified", ""))


def _range_after(part: PartFile) -> dict[str, str]:
    """Headers that ask for the rest of `part`; none when there is no way to know that it would fit."""
    if not part.have or not part.version.validator:
        return {}
    return {"Range": f"bytes={part.have}-", "If-Range": part.version.validator}


def _continues(response: httpx.Response, part: PartFile) -> bool:
    """True when these bytes follow on those of `part`. Some servers answer a range without looking at If-Range."""
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if found is None or found[1] is None or int(found[1]) != part.have:
        return False
    served = _version_of(response)
    return not part.version.differs(Version(int(found[2]), served.etag, served.modified))


def _correct_size(response: httpx.Response, part: PartFile) -> None:
    """There is nothing behind what we have: it is the whole file when its size is what the server says now.

    So a server that first promised too many bytes is believed the second time, and the file's end is looked at.
    """
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if found is None or int(found[2]) != part.have:
        part.discard()
        raise Unavailable(f"{response.url}: the server has another version now; starting over")
    part.correct(part.have)


class _Gate:
    """One server's connections, and silence when it asks for it."""

    def __init__(self, connections: int = CONNECTIONS) -> None:
        self._free = threading.BoundedSemaphore(connections)
        self._rest_until = 0.0

    @contextlib.contextmanager
    def connection(self, clock: StopClock) -> Iterator[None]:
        """Held from before a connection is opened until after it is closed. Raises Stopped."""
        clock.check()
        while not self._free.acquire(timeout=_LOOK_SECONDS):
            clock.check()
        try:
            while (left := self._rest_until - clock.now()) > 0:
                clock.sleep(left)
            yield
        finally:
            self._free.release()

    def rest(self, seconds: float, clock: StopClock) -> None:
        """Opens no connection for so long: a server that says so to one request means all."""
        self._rest_until = max(self._rest_until, clock.now() + seconds)


# The one state that belongs to the process and not to an object: a server counts connections by the address that they
# come from, whoever opened them here.
_GATES: dict[str, _Gate] = {}
_LOCK = threading.Lock()


def _gate_of(address: str) -> _Gate:
    """The gate of the server that this address is on."""
    parts = urlsplit(address)
    server = f"{parts.hostname}:{parts.port or parts.scheme}"
    with _LOCK:
        return _GATES.setdefault(server, _Gate())
