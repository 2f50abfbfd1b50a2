"""A small wiki on this machine: it speaks the MediaWiki Action API and the stream of page changes, and misbehaves when
told to."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

MEMBERS_AN_ANSWER = 2
CATEGORIES_AN_ANSWER = 1


@dataclass
class FakePage:
    page_id: int
    title: str
    text: str
    revision: int
    namespace: int = 0
    leads_to: str = ""
    categories: tuple[str, ...] = ()
    exists: bool = True
    model: str = "wikitext"


@dataclass(frozen=True)
class Reply:
    """What to answer in place of the truth."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    kind: str = "application/json"
    after_s: float = 0.0


@dataclass(frozen=True)
class Request:
    path: str
    parameters: dict[str, str]
    agent: str
    method: str
    last_event_id: str
    authorization: str = ""


class FakeWiki:
    """The wiki's pages, its log of events, and what has been asked of it."""

    def __init__(self, wiki: str = "testwiki", *, cirrus: bool = True) -> None:
        self.wiki = wiki
        self.cirrus = cirrus
        self.pages: dict[int, FakePage] = {}
        self.requests: list[Request] = []
        self.replies: deque[Reply] = deque()
        """Answers of the API to the next requests, before it says the truth again."""
        self.stream_replies: deque[Reply] = deque()
        self.room = 1_000_000
        """Bytes of documents that fit into an answer."""
        self.broken_pages: set[int] = set()
        """Asking for these gives an internal error."""
        self.namespaces = {-2: "Media", 0: "", 6: "File", 14: "Category"}
        self.aliases: list[tuple[int, str]] = []
        self.base = "https://wiki.example.org/wiki/Main_Page"
        self.addresses = True
        """It says where its pages are."""
        self.user: dict[str, Any] = {"id": 0, "name": "127.0.0.1", "anon": True, "groups": ["*"]}
        self.most_at_once = 0
        self._at_once = 0
        self._revision = 100
        self._events: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._cut = 0
        self._closing = False

    # What users do on the wiki

    def write(self, page_id: int, title: str, text: str, **fields: Any) -> FakePage:
        """Creates or edits a page, and says so on the stream."""
        with self._changed:
            page = self.pages.get(page_id)
            kind = "edit" if page is not None and page.exists else "create"
            self._revision += 1
            self.pages[page_id] = page = FakePage(page_id, title, text, self._revision, **fields)
        self.say(kind, page)
        return page

    def delete(self, page_id: int) -> None:
        self.pages[page_id].exists = False
        self.say("delete", self.pages[page_id])

    def restore(self, page_id: int) -> None:
        self.pages[page_id].exists = True
        self.say("undelete", self.pages[page_id])

    def move(self, page_id: int, title: str, namespace: int = 0) -> None:
        page = self.pages[page_id]
        before = {"namespace_id": page.namespace} if namespace != page.namespace else {}
        self._revision += 1
        page.title, page.namespace, page.revision = title, namespace, self._revision
        self.say("move", page, prior_state={"page": {"page_title": "Before", **before}})

    # The stream

    def say(self, kind: str, page: FakePage, /, **more: Any) -> dict[str, Any]:
        """Puts an event on the stream; `more` replaces what it would say."""
        event = self.event(kind, page, **more)
        self.push(event)
        return event

    def event(self, kind: str, page: FakePage, /, **more: Any) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {
            "$schema": "/mediawiki/page/change/1.11.0",
            "meta": {"domain": "wiki.example.org", "dt": now, "id": f"id-{time.time_ns()}", "stream": "page_change"},
            "dt": now,
            "wiki_id": self.wiki,
            "page_change_kind": kind,
            "page": {
                "page_id": page.page_id,
                "page_title": page.title.replace(" ", "_"),
                "namespace_id": page.namespace,
                "is_redirect": bool(page.leads_to),
            },
            "revision": {"rev_id": page.revision},
        } | more

    def push(self, event: dict[str, Any] | bytes) -> None:
        """Puts an event, or bytes in place of one, on the stream."""
        with self._changed:
            self._events.append(event if isinstance(event, dict) else {"raw": event})
            self._changed.notify_all()

    def break_off(self) -> None:
        """Ends all connections to the stream."""
        with self._changed:
            self._cut += 1
            self._changed.notify_all()

    @property
    def listeners(self) -> list[Request]:
        return [request for request in self.requests if request.path == "/stream"]

    @property
    def asked(self) -> list[dict[str, str]]:
        """The parameters of all requests for pages."""
        return [r.parameters for r in self.requests if "pageids" in r.parameters or "titles" in r.parameters]

    # What the server makes of it

    def answer(self, parameters: dict[str, str]) -> dict[str, Any]:
        if "siteinfo" in parameters.get("meta", "").split("|"):
            return {"query": self._site()}
        if parameters.get("list") == "categorymembers":
            return self._members(parameters)
        return self._query(parameters)

    def _site(self) -> dict[str, Any]:
        extensions = [{"name": "CirrusSearch"}] if self.cirrus else [{"name": "ParserFunctions"}]
        return {
            "general": {"wikiid": self.wiki, "sitename": "A test", "lang": "en", "base": self.base},
            "extensions": extensions,
            "namespaces": {str(key): {"id": key, "name": name} for key, name in self.namespaces.items()},
            "namespacealiases": [{"id": key, "alias": alias} for key, alias in self.aliases],
            "userinfo": self.user,
        }

    def _members(self, parameters: dict[str, str]) -> dict[str, Any]:
        name = parameters["cmtitle"].partition(":")[2]
        found = [page for page in self.pages.values() if page.exists and name in page.categories]
        start = int(parameters.get("cmcontinue", "0"))
        end = start + MEMBERS_AN_ANSWER
        members = [{"pageid": p.page_id, "ns": p.namespace, "title": p.title} for p in found[start:end]]
        more = {"continue": {"cmcontinue": str(end), "continue": "-||"}} if end < len(found) else {}
        return {"query": {"categorymembers": members}, **more}

    def _query(self, parameters: dict[str, str]) -> dict[str, Any]:
        query: dict[str, Any] = {"pages": []}
        chosen: list[FakePage] = []
        if "pageids" in parameters:
            for page_id in map(int, parameters["pageids"].split("|")):
                page = self.pages.get(page_id)
                if page is None or not page.exists:
                    query["pages"].append({"pageid": page_id, "missing": True})
                else:
                    chosen.append(page)
        else:
            self._resolve(parameters["titles"].split("|"), query, chosen)
        if self.broken_pages & {page.page_id for page in chosen}:
            return {"error": {"code": "internal_api_error_RuntimeException", "info": "Caught exception"}}
        offset = int(parameters.get("clcontinue", "0"))
        room = self.room
        for page in chosen:
            said = self._said(page, offset)
            room -= len(page.text)
            if room < 0:
                said.pop("cirrusbuilddoc", None)
            query["pages"].append(said)
        more = {}
        if not self.cirrus and any(len(page.categories) > offset + CATEGORIES_AN_ANSWER for page in chosen):
            more = {"continue": {"clcontinue": str(offset + CATEGORIES_AN_ANSWER), "continue": "||info"}}
        return {"query": query, **more}

    def _resolve(self, titles: list[str], query: dict[str, Any], chosen: list[FakePage]) -> None:
        by_title = {page.title: page for page in self.pages.values() if page.exists}
        for title in titles:
            name = title.replace("_", " ")
            name = name[:1].upper() + name[1:]
            if name != title:
                query.setdefault("normalized", []).append({"from": title, "to": name})
            if name.startswith("Commons:"):
                query.setdefault("interwiki", []).append({"title": name, "iw": "commons"})
                continue
            page = by_title.get(name)
            if page is not None and page.leads_to:
                query.setdefault("redirects", []).append({"from": name, "to": page.leads_to})
                name = page.leads_to
                page = by_title.get(name)
            if page is None:
                query["pages"].append({"ns": 0, "title": name, "missing": True})
            elif page not in chosen:
                chosen.append(page)

    def _said(self, page: FakePage, offset: int) -> dict[str, Any]:
        said: dict[str, Any] = {
            "pageid": page.page_id,
            "ns": page.namespace,
            "title": page.title,
            "lastrevid": page.revision,
            "contentmodel": page.model,
            "pagelanguage": "en",
        }
        if self.addresses:
            said["canonicalurl"] = f"https://wiki.example.org/wiki/{page.title.replace(' ', '_')}"
        if page.leads_to:
            said["redirect"] = True
        if self.cirrus:
            said |= {"unrenderable": True} if page.leads_to else {"cirrusbuilddoc": self._document(page)}
            return said
        slot = {"contentmodel": page.model, "contentformat": "text/x-wiki", "content": page.text}
        said["revisions"] = [] if offset else [self._revision_of(page, slot)]
        names = page.categories[offset : offset + CATEGORIES_AN_ANSWER]
        said["categories"] = [{"ns": 14, "title": f"Category:{name}"} for name in names]
        said["redirects"] = [] if offset else self._redirects(page)
        return said

    def _revision_of(self, page: FakePage, slot: dict[str, str]) -> dict[str, Any]:
        return {"revid": page.revision, "timestamp": "2026-11-01T00:00:00Z", "slots": {"main": slot}}

    def _redirects(self, page: FakePage) -> list[dict[str, Any]]:
        return [{"ns": p.namespace, "title": p.title} for p in self.pages.values() if p.leads_to == page.title]

    def _document(self, page: FakePage) -> dict[str, Any]:
        return {
            "wiki": self.wiki,
            "page_id": page.page_id,
            "page_type": "primary",
            "namespace": page.namespace,
            "namespace_text": "" if page.namespace == 0 else page.title.partition(":")[0],
            "title": page.title if page.namespace == 0 else page.title.partition(":")[2],
            "text": page.text,
            "opening_text": page.text.partition(".")[0] or None,
            "version": page.revision,
            "timestamp": "2026-11-01T00:00:00Z",
            "language": "en",
            "category": list(page.categories),
            "redirect": [{"namespace": r["ns"], "title": r["title"]} for r in self._redirects(page)],
            "content_model": page.model,
            "source_text": f"'''{page.text}'''",
        }

    def entered(self) -> None:
        with self._changed:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)

    def left(self) -> None:
        with self._changed:
            self._at_once -= 1

    def stream(self, last_event_id: str, since: str) -> Iterator[bytes]:
        """The stream as its server writes it, until it is broken off. Offsets are those behind an event."""
        cut = self._cut
        at = self._start(last_event_id, since)
        yield b":ok\n\n"
        while True:
            with self._changed:
                while at >= len(self._events) and cut == self._cut and not self._closing:
                    self._changed.wait(0.1)
                if cut != self._cut or self._closing:
                    return
                event, at = self._events[at], at + 1
            if "raw" in event:
                yield bytes(event["raw"])
            else:
                position = json.dumps([{"topic": "dc.page_change", "partition": 0, "offset": at}])
                yield f"event: message\nid: {position}\ndata: {json.dumps(event)}\n\n".encode()

    def _start(self, last_event_id: str, since: str) -> int:
        if last_event_id:
            return int(json.loads(last_event_id)[0]["offset"])
        if since:
            moment = datetime.fromisoformat(since)
            return sum(datetime.fromisoformat(event.get("dt", since)) < moment for event in self._events)
        return len(self._events)

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, wiki: FakeWiki) -> None:
        self.wiki = wiki
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self._respond(parts.path, parts.query)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self._respond(urlsplit(self.path).path, body.decode())

    def _respond(self, path: str, query: str) -> None:
        parameters = {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}
        wiki = self._wiki
        agent, last = self.headers.get("User-Agent", ""), self.headers.get("Last-Event-ID", "")
        token = self.headers.get("Authorization", "")
        wiki.requests.append(Request(path, parameters, agent, self.command, last, token))
        if path == "/stream":
            self._stream(last, parameters.get("since", ""))
            return
        wiki.entered()
        try:
            reply = wiki.replies.popleft() if wiki.replies else None
            self._send(reply or Reply(body=json.dumps(wiki.answer(parameters)).encode()))
        finally:
            wiki.left()

    def _stream(self, last: str, since: str) -> None:
        self.close_connection = True
        if self._wiki.stream_replies:
            self._send(self._wiki.stream_replies.popleft())
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Connection", "close")
        self.end_headers()
        for block in self._wiki.stream(last, since):
            self.wfile.write(block)
            self.wfile.flush()

    def _send(self, reply: Reply) -> None:
        if reply.after_s:
            time.sleep(reply.after_s)
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.kind)
        self.send_header("Content-Length", str(len(reply.body)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)

    @property
    def _wiki(self) -> FakeWiki:
        assert isinstance(self.server, _Server)
        return self.server.wiki

    def log_message(self, *_: object) -> None:
        pass


@dataclass(frozen=True)
class Served:
    """A wiki on its addresses."""

    wiki: FakeWiki
    api: str
    stream: str


@contextmanager
def served(wiki: FakeWiki) -> Iterator[Served]:
    server = _Server(wiki)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield Served(wiki, f"{address}/w/api.php", f"{address}/stream")
    finally:
        wiki.close()
        server.shutdown()
        server.server_close()
