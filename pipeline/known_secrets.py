"""The secrets that this process was given, and their removal from any text: whatever a library logs, nobody reads them.

A list of names would miss the place where the next library repeats a password; so the values themselves are looked for,
in every spelling that a log, a URL or a header may give them. `pipeline.addresses.without_secrets` asks here, and with
it every log line, printed line, error, report and dead letter.
"""

from __future__ import annotations

import base64
import configparser
import html
import json
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

HIDDEN = "***"
MIN_SECRET = 4
"""Shorter ones would be replaced in the middle of words."""
MIN_LINE = 16
"""Lines of a key file that count by themselves; its first and last line are no secret."""

_NAME = re.compile(r"(^|_)(PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIALS?|APIKEY|SAS)(_|$)|_(KEY|PWD)$")
_PLACE = re.compile(r"_(FILE|PATH|DIR|ID|URL|URI|ENDPOINT|LOCATION|TYPE|NAME)$")
"""Of what is beside a secret and none itself."""
_NO_SECRETS = frozenset({"true", "false", "none", "null", "default"})


class KnownSecrets:
    """Values that no text of this process may hold."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def learn(self, values: Iterable[str]) -> None:
        """Hides these from now on; values shorter than `MIN_SECRET` are not, and are no secret either."""
        with self._lock:
            new = {value for value in values if len(value) >= MIN_SECRET} - self._values
            if new:
                self._values |= new
                spellings = {spelling for value in self._values for spelling in spellings_of(value)}
                longest_first = sorted(spellings, key=lambda text: (-len(text), text))
                self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def hide(self, text: str) -> str:
        """The text with `***` for each of them."""
        return text if self._pattern is None else self._pattern.sub(HIDDEN, text)


known = KnownSecrets()
"""Those of this process."""


def spellings_of(secret: str) -> set[str]:
    """All spellings of a secret in a text: as it is, escaped as in Python, JSON, HTML or a URL, in hex, in base64."""
    raw = secret.encode("utf-8", "surrogatepass")
    plain = {secret, *(line for line in secret.splitlines() if len(line) >= MIN_LINE and not line.startswith("---"))}
    escaped = {repr(secret)[1:-1], ascii(secret)[1:-1], repr(raw)[2:-1], secret.replace("'", "\\'")}
    escaped |= {json.dumps(secret, ensure_ascii=only)[1:-1] for only in (True, False)}
    escaped |= {json.dumps(text)[1:-1] for text in escaped}  # a log line is JSON itself
    urls = {quote(raw, safe=safe) for safe in ("", "/")} | {quote_plus(raw)}
    urls |= {re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), url) for url in urls}
    coded = {raw.hex(), raw.hex().upper(), *_base64_of(raw)}
    return {text for text in plain | escaped | urls | coded | {html.escape(secret)} if len(text) >= MIN_SECRET}


def _base64_of(raw: bytes) -> Iterator[str]:
    """The characters that any base64 text has whose bytes hold `raw`, wherever; without those that neighbours share."""
    for shift in range(3):
        coded = base64.b64encode(bytes(shift) + raw).decode()
        sure = coded[-(-shift * 8 // 6) : (shift + len(raw)) * 8 // 6]
        if len(sure) > MIN_SECRET:
            yield sure
            yield sure.translate(str.maketrans("+/", "-_"))


def is_secret_name(name: str) -> bool:
    """True when an environment variable of this name holds a secret, rather than the place of one."""
    name = name.upper()
    return _NAME.search(name) is not None and _PLACE.search(name) is None


def secrets_of_environment(environment: Mapping[str, str] = os.environ) -> set[str]:
    """Values of this environment that are secrets, and those in the files which the hub's and AWS's libraries read."""
    found = {value for name, value in environment.items() if is_secret_name(name) and _is_secret(value)}
    return found | {value for value in _of_files(environment) if _is_secret(value)}


def _is_secret(value: str) -> bool:
    return value != "" and value.lower() not in _NO_SECRETS and not (value.startswith("/") and Path(value).exists())


def _of_files(environment: Mapping[str, str]) -> Iterator[str]:
    home = Path(environment.get("HOME", "/nonexistent"))
    hub = Path(environment.get("HF_HOME", home / ".cache" / "huggingface"))
    yield _content(Path(environment.get("HF_TOKEN_PATH", hub / "token"))).strip()
    stored = configparser.RawConfigParser(strict=False)
    try:
        stored.read_string(_content(Path(environment.get("AWS_SHARED_CREDENTIALS_FILE", home / ".aws/credentials"))))
    except configparser.Error:
        return
    for section in stored.sections():
        for name in ("aws_secret_access_key", "aws_session_token"):
            yield stored.get(section, name, fallback="")


def _content(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
