"""Kafka's errors in our own vocabulary: the one place that says what each of them means for the process.

kafka-python raises the same classes from a question, a poll, a seek, a join and a constructor. Wherever one comes up,
`in_words` makes an error for the operator of it: another try helps (75), somebody must act first (70), the settings
are wrong (2), another process has come in this one's place (3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kafka import errors as kafka

from pipeline.errors import CirrostreamError, Fatal, Forbidden, Replaced, TryAgain, UsageError, one_line

Words = Callable[[str], CirrostreamError]

_MEANINGS: tuple[tuple[tuple[type[Exception], ...], Words], ...] = (
    (
        (kafka.AuthorizationError,),
        lambda what: Forbidden(
            f"{what}: not allowed to this user; `python -m deploy.doctor --only topics` says which right is missing"
        ),
    ),
    (
        (kafka.SaslAuthenticationFailedError,),
        lambda what: Fatal(f"{what}: the cluster does not take KAFKA_SASL_USERNAME with KAFKA_SASL_PASSWORD"),
    ),
    (
        (kafka.UnsupportedSaslMechanismError, kafka.IllegalSaslStateError),
        lambda what: UsageError(
            f"{what}: this listener wants another KAFKA_SASL_MECHANISM or KAFKA_SECURITY_PROTOCOL; "
            "`python -m deploy.doctor --only kafka` says which"
        ),
    ),
    ((kafka.KafkaConfigurationError,), lambda what: UsageError(f"{what}: the settings KAFKA_* do not go together")),
    ((kafka.FencedInstanceIdError,), lambda what: Replaced(f"{what}: another process has taken this one's place")),
    (
        (kafka.InvalidSessionTimeoutError,),
        lambda what: UsageError(
            f"{what}: --session-seconds is outside the brokers' group.min.session.timeout.ms and "
            "group.max.session.timeout.ms"
        ),
    ),
    (
        (kafka.InconsistentGroupProtocolError,),
        lambda what: Fatal(f"{what}: the group has members of another program; stop them, or use another --namespace"),
    ),
    (
        (kafka.OffsetOutOfRangeError,),
        lambda what: Fatal(f"{what}: the records at this position are gone: expired, or deleted by somebody"),
    ),
    (
        (kafka.InvalidTimestampError,),
        lambda what: Fatal(
            f"{what}: the time of sending is refused: is the clock here right, or is message.timestamp.*.max.ms small?"
        ),
    ),
    ((kafka.CorruptRecordError,), lambda what: Fatal(f"{what}: a record in the log is damaged; see the brokers' logs")),
    (
        (kafka.UnsupportedVersionError,),
        lambda what: Fatal(f"{what}: the brokers are too old; `python -m deploy.doctor --only kafka` says how old"),
    ),
)
"""The first that fits counts."""

_TRANSIENT = (
    kafka.RetriableError,
    kafka.UnknownError,
    kafka.BrokerNotAvailableError,
    kafka.UnknownBrokerIdError,
    kafka.KafkaProtocolError,
    kafka.GroupMaxSizeReachedError,
    kafka.UnknownMemberIdError,
    kafka.IllegalGenerationError,
    kafka.RebalanceInProgressError,
    kafka.CommitFailedError,
)
"""Errors that pass: of a broker that comes or goes, of a connection cut in the middle of an answer, of a group that is
just forming. kafka-python calls only the first kind retriable."""


def in_words(error: Exception, what: str) -> CirrostreamError:
    """The error that the operator gets for one of kafka-python's; `what` says who wanted what of whom."""
    said = f"{what}: {one_line(error)}"
    for kinds, words in _MEANINGS:
        if isinstance(error, kinds):
            return words(said)
    if _is_refusal_of_several(error):
        return Forbidden(said)
    return TryAgain(said) if isinstance(error, _TRANSIENT) else Fatal(said)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raises what kafka-python raises inside as an error of ours."""
    try:
        yield
    except kafka.KafkaError as error:
        raise in_words(error, what) from error


def _is_refusal_of_several(error: Exception) -> bool:
    """Trap: of a request about several partitions the admin client raises one bare error, with their names as text."""
    return type(error) is kafka.BrokerResponseError and "AuthorizationFailed" in str(error)
