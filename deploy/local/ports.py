"""Free ports on loopback."""

from __future__ import annotations

import socket

HOST = "127.0.0.1"


def free_port(preferred: int = 0, but: int = 0) -> int:
    """The preferred port when it is free, else any; never `but`.

    Nobody holds it yet: whoever is told of it must bind it soon, and say so when somebody else was faster.
    """
    if preferred and preferred != but and _is_free(preferred):
        return preferred
    while True:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port = int(probe.getsockname()[1])
        if port != but:
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server that just ended is no obstacle
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
