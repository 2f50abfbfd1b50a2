"""The protocol of a Kafka listener, found out with one request: TLS or not, SASL or not, and which mechanisms.

A client with the wrong KAFKA_SECURITY_PROTOCOL sees a connection that closes or stays silent, and its library tells
no more than a time-out. But every listener answers a SaslHandshake before anybody has logged in: with its mechanisms,
or with ILLEGAL_SASL_STATE where it wants no login (KIP-43, KIP-152).
"""

from __future__ import annotations

import socket
import ssl
import struct
from contextlib import suppress
from dataclasses import dataclass

PROTOCOL, MECHANISM = "KAFKA_SECURITY_PROTOCOL", "KAFKA_SASL_MECHANISM"

TIMEOUT_S = 4.0
LARGEST_ANSWER = 64 * 1024

SASL_HANDSHAKE, VERSION, CORRELATION = 17, 1, 20_261
UNSUPPORTED_MECHANISM, ILLEGAL_STATE = 33, 34


class NotKafka(Exception):
    """Something listens there that speaks neither."""


@dataclass(frozen=True, slots=True)
class Listener:
    """The protocol that a listener wants."""

    tls: bool
    mechanisms: tuple[str, ...] = ()
    """Mechanisms that it offers for a login; none: it wants no login."""
    wants_certificate: bool = False
    """It ended the connection after the TLS handshake, as listeners do that want a client certificate."""

    @property
    def protocol(self) -> str:
        """The value of KAFKA_SECURITY_PROTOCOL that fits."""
        return ("SASL_" if self.mechanisms else "") + ("SSL" if self.tls else "PLAINTEXT")


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A setting that does not fit a listener, and the value that does."""

    setting: str
    right: str
    said: str
    """A sentence on the listener and the setting, to stand behind the listener's address."""


def contradiction(listener: Listener, protocol: str, mechanism: str) -> Contradiction | None:
    """The first of our settings that cannot work there. Pure."""
    if listener.protocol != protocol:
        said = f"is a {listener.protocol} listener, {PROTOCOL} says {protocol}"
        return Contradiction(PROTOCOL, listener.protocol, said)
    if listener.mechanisms and mechanism not in listener.mechanisms:
        said = f"offers {', '.join(listener.mechanisms)}, {MECHANISM} says {mechanism}"
        return Contradiction(MECHANISM, listener.mechanisms[0], said)
    return None


def look_at(host: str, port: int, certificate: tuple[str, str] | None = None) -> Listener:
    """The listener at an address; `certificate` (file, key file) is shown where TLS is spoken.

    Raises:
        OSError: nobody listens, or it does not answer.
        NotKafka: it is something else.
    """
    with suppress(ConnectionError, NotKafka), socket.create_connection((host, port), TIMEOUT_S) as plain:
        return Listener(False, _mechanisms(plain))
    with socket.create_connection((host, port), TIMEOUT_S) as raw:
        try:
            secure = _anybody(certificate).wrap_socket(raw, server_hostname=host)
        except (ssl.SSLError, ConnectionError) as error:
            if "ALERT" in str(error):
                return Listener(True, wants_certificate=True)
            raise NotKafka(f"{host}:{port} speaks neither Kafka's protocol nor TLS") from None
        try:
            return Listener(True, _mechanisms(secure))
        except (ssl.SSLError, ConnectionError, NotKafka):
            return Listener(True, wants_certificate=True)
        finally:
            secure.close()


def distrust(host: str, port: int, context: ssl.SSLContext) -> str:
    """The reason why a TLS listener's certificate is not believed; empty when it is."""
    try:
        with socket.create_connection((host, port), TIMEOUT_S) as raw, context.wrap_socket(raw, server_hostname=host):
            return ""
    except ssl.SSLCertVerificationError as error:
        return error.verify_message


def _anybody(certificate: tuple[str, str] | None) -> ssl.SSLContext:
    """For asking whom one speaks to; nothing secret goes through it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(*certificate)
    return context


def _mechanisms(connection: socket.socket) -> tuple[str, ...]:
    mechanism = b"PLAIN"
    body = struct.pack(">hhihh", SASL_HANDSHAKE, VERSION, CORRELATION, -1, len(mechanism)) + mechanism
    connection.sendall(struct.pack(">i", len(body)) + body)
    (length,) = struct.unpack(">i", _exactly(connection, 4))
    if not 10 <= length <= LARGEST_ANSWER:
        raise NotKafka("the answer has no sensible length")
    answer = _exactly(connection, length)
    correlation, error, count = struct.unpack_from(">ihi", answer)
    if correlation != CORRELATION or error not in (0, UNSUPPORTED_MECHANISM, ILLEGAL_STATE) or count > 100:
        raise NotKafka("the answer is to no question of ours")
    return _strings(answer[10:], count)


def _strings(data: bytes, count: int) -> tuple[str, ...]:
    found, at = [], 0
    for _ in range(count):
        (size,) = struct.unpack_from(">h", data, at)
        found.append(data[at + 2 : at + 2 + size].decode("ascii", "replace"))
        at += 2 + size
    return tuple(found)


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise NotKafka("it closed the connection")
        data += part
    return data
