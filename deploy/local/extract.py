"""The extract of the English Wikipedia that lies in gensim's wheel: 106 articles and 100 redirects, as of May 2016.

Nothing of gensim is installed or run: its wheel is downloaded, and one file is read out of the archive. That file's
SHA-256 is checked before anything parses it, so that the XML parser only sees the document that it was tried on.
"""

from __future__ import annotations

import bz2
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from pipeline.errors import Fatal, TryAgain

WHEEL = "gensim==4.4.0"
MEMBER = "gensim/test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
SHA256 = "a53f4648dec40467ebdcbc7a1307eddb51fe6e28e9309f6ebde81ba0d04bea2d"
MEMBER_BYTES = 1_695_871
XML_BYTES = 6_089_746
EXTRACT = "enwiki-extract.xml.bz2"
DOWNLOAD_SECONDS = 900

ANY_WHEEL = ("--implementation=cp", "--abi=cp311", "--python-version=3.11", "--platform=manylinux_2_28_x86_64")
"""For a Python or a machine that has no wheel of its own: the file is the same in all of them."""


@dataclass(frozen=True, slots=True)
class RawPage:
    """A page of the XML: `redirect` is its target's title, None for an article."""

    page_id: int
    namespace: int
    title: str
    revision: int
    timestamp: str
    redirect: str | None
    wikitext: str


def extract(downloads: Path) -> bytes:
    """The XML of the extract: kept in `downloads`, else out of a wheel there, else out of the one that pip downloads.

    Raises TryAgain when the wheel cannot be had, and Fatal when it holds another file.
    """
    kept = downloads / EXTRACT
    if kept.exists() and hashlib.sha256(kept.read_bytes()).hexdigest() == SHA256:
        return _decompress(kept.read_bytes())
    downloads.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=downloads) as scratch:
        wheels = sorted(downloads.glob("gensim-*.whl")) or [_download(Path(scratch))]
        compressed = _member(wheels[-1])
        part = Path(scratch) / EXTRACT
        part.write_bytes(compressed)
        part.replace(kept)
    return _decompress(compressed)


def _download(folder: Path) -> Path:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        f"--dest={folder}",
        WHEEL,
    ]
    answer = ""
    for options in ((), ANY_WHEEL):
        try:
            done = subprocess.run(  # noqa: S603 - our own interpreter, constant arguments
                [*command, *options],
                check=False,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=DOWNLOAD_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise TryAgain(
                f"{WHEEL}: not downloaded within {DOWNLOAD_SECONDS} s; check the network, then try again"
            ) from None
        for wheel in folder.glob("gensim-*.whl"):
            return wheel
        answer = answer or (done.stderr.strip().splitlines() or ["no answer"])[-1]
    raise TryAgain(
        f"{WHEEL}: pip could not download it ({answer}); check the network, or put its wheel into {folder.parent}, "
        "then try again"
    )


def _member(wheel: Path) -> bytes:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as file:
            found = file.read(MEMBER_BYTES + 1)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise Fatal(f"{wheel}: no {MEMBER} to read in it ({error}); delete it, then try again") from None
    if hashlib.sha256(found).hexdigest() != SHA256:
        raise Fatal(
            f"{wheel}: {MEMBER} is not the file this was written for ({WHEEL}); delete the wheel, then try again"
        )
    return found


def _decompress(compressed: bytes) -> bytes:
    return bz2.BZ2Decompressor().decompress(compressed, max_length=XML_BYTES)


def read_pages(xml: bytes) -> Iterator[RawPage]:
    """The pages of a `pages-articles` document, one at a time.

    Raises Fatal for a document type declaration: these exports have none, and entities that grow need one.
    """
    if b"<!DOCTYPE" in xml:
        raise Fatal("a pages-articles export has no DOCTYPE; this is another kind of XML")
    for _, element in ET.iterparse(io.BytesIO(xml)):  # noqa: S314 - no DOCTYPE, so no entities
        if element.tag.endswith("}page"):
            yield _raw_page(element)
            element.clear()


def _raw_page(page: ET.Element) -> RawPage:
    redirect = page.find("{*}redirect")
    return RawPage(
        page_id=int(page.findtext("{*}id", "")),
        namespace=int(page.findtext("{*}ns", "")),
        title=page.findtext("{*}title", ""),
        revision=int(page.findtext("{*}revision/{*}id", "")),
        timestamp=page.findtext("{*}revision/{*}timestamp", ""),
        redirect=None if redirect is None else redirect.get("title", ""),
        wikitext=page.findtext("{*}revision/{*}text", ""),
    )
