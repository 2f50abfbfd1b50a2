"""A bucket on this machine: as much of S3's protocol as LanceDB and Arrow speak, in memory, with any credentials."""

from __future__ import annotations

import hashlib
import re
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


class Bucket:
    """Objects by key, with the time they were written; `read_only` refuses every change, as a reader's policy does."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, float]] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.lock = threading.Lock()
        self.read_only = False

    def put(self, key: str, data: bytes, *, only_new: bool = False) -> bool:
        with self.lock:
            if only_new and key in self.objects:
                return False
            self.objects[key] = data, time.time()
            return True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bucket: Bucket

    def do_GET(self) -> None:
        key, query = self._target()
        if not key:
            self._list(query)
        elif key not in self.bucket.objects:
            self._fail(404, "NoSuchKey")
        else:
            self._object(*self.bucket.objects[key])

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        (key, query), data = self._target(), self._body()
        if self.bucket.read_only:
            self._fail(403, "AccessDenied")
        elif "uploadId" in query:
            self.bucket.uploads[query["uploadId"]][int(query["partNumber"])] = data
            self._answer(200, headers={"ETag": _etag(data)})
        elif self.bucket.put(key, data, only_new=self.headers.get("If-None-Match") == "*"):
            self._answer(200, headers={"ETag": _etag(data)})
        else:
            self._fail(412, "PreconditionFailed")

    def do_POST(self) -> None:
        (key, query), data = self._target(), self._body()
        if self.bucket.read_only:
            self._fail(403, "AccessDenied")
        elif "delete" in query:
            for name in re.findall(rb"<Key>(.*?)</Key>", data):
                self.bucket.objects.pop(name.decode(), None)
            self._answer(200, b"<DeleteResult/>")
        elif "uploads" in query:
            upload = uuid.uuid4().hex
            self.bucket.uploads[upload] = {}
            body = f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
            self._answer(200, body.encode())
        else:
            parts = self.bucket.uploads.pop(query["uploadId"])
            self.bucket.put(key, b"".join(parts[number] for number in sorted(parts)))
            self._answer(
                200, b"<CompleteMultipartUploadResult><ETag>&quot;x&quot;</ETag></CompleteMultipartUploadResult>"
            )

    def do_DELETE(self) -> None:
        key, _ = self._target()
        if self.bucket.read_only:
            self._fail(403, "AccessDenied")
            return
        self.bucket.objects.pop(key, None)
        self._answer(204)

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def _target(self) -> tuple[str, dict[str, str]]:
        """The key, and the parameters of the query."""
        parts = urlsplit(self.path)
        key = unquote(parts.path).removeprefix("/").partition("/")[2]
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        return key, query

    def _body(self) -> bytes:
        data = self._chunks() if self.headers.get("Transfer-Encoding") == "chunked" else self._read()
        if not self.headers.get("x-amz-content-sha256", "").startswith("STREAMING"):
            return data
        whole, at = b"", 0
        while True:  # "aws-chunked": size in hex;signature, the bytes, and checksums at the end
            end = data.index(b"\r\n", at)
            size = int(data[at:end].split(b";")[0], 16)
            if not size:
                return whole
            whole += data[end + 2 : end + 2 + size]
            at = end + 4 + size

    def _read(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _chunks(self) -> bytes:
        whole = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def _list(self, query: Mapping[str, str]) -> None:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        folders, files = set(), []
        for key, (data, written) in sorted(self.bucket.objects.items()):
            if not key.startswith(prefix) or key <= query.get("start-after", ""):
                continue
            inner = key[len(prefix) :]
            if delimiter and delimiter in inner:
                folders.add(prefix + inner.partition(delimiter)[0] + delimiter)
                continue
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(written))
            files.append(
                f"<Contents><Key>{escape(key)}</Key><LastModified>{stamp}</LastModified>"
                f"<ETag>{_etag(data)}</ETag><Size>{len(data)}</Size></Contents>"
            )
        common = "".join(
            f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in sorted(folders)
        )
        body = (
            f"<ListBucketResult><Name>b</Name><Prefix>{escape(prefix)}</Prefix><IsTruncated>false</IsTruncated>"
            f"<KeyCount>{len(files) + len(folders)}</KeyCount>{''.join(files)}{common}</ListBucketResult>"
        )
        self._answer(200, body.encode())

    def _object(self, data: bytes, written: float) -> None:
        headers = {"ETag": _etag(data), "Last-Modified": formatdate(written, usegmt=True)}
        wanted = re.match(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            self._answer(200, data, headers)
            return
        first, last = wanted[1], wanted[2]
        start = int(first) if first else max(0, len(data) - int(last))
        end = min(len(data), int(last) + 1) if first and last else len(data)
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        self._answer(206, data[start:end], headers)

    def _fail(self, status: int, code: str) -> None:
        self._answer(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())

    def _answer(self, status: int, body: bytes = b"", headers: Mapping[str, Any] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(body)


def _etag(data: bytes) -> str:
    return f'"{hashlib.sha256(data).hexdigest()[:32]}"'


@contextmanager
def s3_server() -> Iterator[tuple[str, Bucket]]:
    """The address of a server on a free port, and what is in its one bucket, whatever it is called."""
    bucket = Bucket()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"bucket": bucket}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", bucket
    finally:
        server.shutdown()
        server.server_close()
