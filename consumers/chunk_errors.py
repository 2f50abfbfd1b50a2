"""Errors of faust and Kafka as the chunk stage takes them: another try, or something that somebody must mend."""

from __future__ import annotations

from aiokafka import errors as kafka

from pipeline.errors import CirrostreamError, Fatal, TryAgain, one_line

_NOT_ALLOWED = (
    kafka.TopicAuthorizationFailedError,
    kafka.GroupAuthorizationFailedError,
    kafka.ClusterAuthorizationFailedError,
    kafka.TransactionalIdAuthorizationFailed,
)
_NOT_KNOWN = (
    kafka.AuthenticationFailedError,
    kafka.AuthenticationMethodNotSupported,
    kafka.SaslAuthenticationFailed,
    kafka.UnsupportedSaslMechanismError,
    kafka.IllegalSaslStateError,
)


def in_words(error: BaseException, doing: str) -> CirrostreamError:
    """The error as one line and an exit code; `doing` is what was tried, such as `sending chunks`."""
    if isinstance(error, CirrostreamError):
        return error
    said = f"{doing}: {one_line(error)}"
    if isinstance(error, _NOT_ALLOWED):
        return Fatal(f"{said}; this user lacks a right, `python -m deploy.doctor` says which")
    if isinstance(error, _NOT_KNOWN):
        return Fatal(f"{said}; Kafka does not let this user in, see KAFKA_SASL_* and KAFKA_SECURITY_PROTOCOL")
    if isinstance(error, kafka.KafkaError | OSError | TimeoutError):
        return TryAgain(f"{said}; nothing of the batch is committed")
    return Fatal(f"{said}; nothing of the batch is committed, and this is a bug, or something broke beneath us")
