"""One file from a server to a whole, checked file here: as often tried as it makes sense."""

from __future__ import annotations

from typing import Any

from pipeline.errors import CheckFailed, Fatal, TryAgain
from producers.fetch.part_file import PartFile, WrongEnd, adopt, is_whole
from producers.fetch.remote_file import FileServer, RemoteFile, Unavailable, Version
from producers.fetch.retry import Retries

WRONG_ENDS = 2
"""A file that came whole twice and has no end is that way on the server."""


def obtain(server: FileServer, file: RemoteFile, part: PartFile, log: Any) -> None:
    """Returns when `part.target` is the whole file, whether it was there, was adopted or came over the network.

    Raises:
        Refused: the server will not give it.
        CheckFailed: the server's file is broken.
        TryAgain: the server failed too often in a row, or another process downloads the file.
        Fatal: it cannot be written.
        Stopped: told to end; what has come stays for the next time.
    """
    try:
        if not is_whole(part.target) and not _adopted(server, file, part, log):
            with part.opened():
                _fetch(server, file, part, log)
    except Unavailable as error:
        raise TryAgain(f"{error}; given up after several tries, run this again to go on") from error
    except OSError as error:
        raise Fatal(
            f"{part.target}: {error.strerror or error}; what has come stays, run this again to go on"
        ) from error


def look(server: FileServer, file: RemoteFile) -> Version:
    """The version that the server has. Raises Refused, Stopped, or TryAgain after several tries."""
    try:
        return Retries(server.clock).call(lambda: server.look(file))
    except Unavailable as error:
        raise TryAgain(f"{error}; given up after several tries, try later") from error


def _adopted(server: FileServer, file: RemoteFile, part: PartFile, log: Any) -> bool:
    if not part.target.is_file():
        return False
    wrong = adopt(part.target, look(server, file))
    if wrong:
        log.warning("a file that was here is not the server's: it is fetched", file=str(part.target), because=wrong)
    else:
        log.info("a file that was here is the server's", file=str(part.target))
    return not wrong


def _fetch(server: FileServer, file: RemoteFile, part: PartFile, log: Any) -> None:
    def failed(error: str, pause: float) -> None:
        log.warning("another try", error=error, have=part.have, pause_seconds=round(pause, 1))

    wrong_ends = 0
    for attempt in Retries(server.clock, lambda: part.have, failed):
        with attempt:
            if not part.whole:
                server.fetch(file, part)
            try:
                part.finish()
            except WrongEnd as error:
                wrong_ends += 1
                if wrong_ends >= WRONG_ENDS:
                    raise CheckFailed(
                        f"{file.address}: {error}, and not for the first time: it is broken there"
                    ) from None
                raise Unavailable(f"{file.address}: {error}; starting over") from None
