"""Lets GPU hosts elsewhere into a Kafka: `python -m deploy.access --password-file FILE`.

It sets a user's password (SCRAM-SHA-512) and gives it the rights that embedders need (`--chunk`: chunkers, too), and no
others: those that an earlier call or version gave it are taken back. SECURITY.md has the harm that
a host in wrong hands can do with them. Do it again to change the password.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from pydantic import Field

from deploy.rights import Right, worker_rights
from pipeline import cli
from pipeline.errors import Exit, Fatal, UsageError
from pipeline.kafka import Cluster
from pipeline.known_secrets import known
from pipeline.settings import Name, Settings
from pipeline.terminal import say

ITERATIONS = 8192
"""Of the hash that Kafka keeps in place of the password; the broker takes 4,096 to 16,384."""
SHORTEST_PASSWORD = 16
LONGEST_PASSWORD = 1024

KINDS = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP, "cluster": ResourceType.CLUSTER}
OPERATIONS = {
    "Read": ACLOperation.READ,
    "Write": ACLOperation.WRITE,
    "Delete": ACLOperation.DELETE,
    "Describe": ACLOperation.DESCRIBE,
    "DescribeConfigs": ACLOperation.DESCRIBE_CONFIGS,
}


class AccessSettings(Settings):
    """Whom to let in."""

    user: Name = Field("worker", description="Name that the hosts log in with.")
    password_file: Path = Field(
        Path("password"), description="File with the user's password in its first line, at least 16 characters."
    )
    chunk: bool = Field(False, description="Let these hosts chunk, too: then they may read the whole corpus.")


app = cli.new_app("Gives workers elsewhere a user and the rights that they need.")


@cli.command(app, AccessSettings)
def access(settings: AccessSettings) -> int:
    """Sets the password of a user of this Kafka, and lets it embed; nothing else."""
    password = read_password(settings.password_file)
    cluster = Cluster.connect(settings)
    try:
        set_password(cluster, settings.user, password)
        rights = worker_rights(settings, chunk=settings.chunk)
        grant(cluster, settings.user, rights)
        revoke_others(cluster, settings.user, rights)
    finally:
        cluster.close()
    say(f"user {settings.user} may log in with SCRAM-SHA-512, and {'chunk and ' if settings.chunk else ''}embed")
    return Exit.DONE


def acls(right: Right, user: str) -> Iterator[ACL]:
    """A right as Kafka stores it, an entry an operation."""
    pattern = ACLResourcePatternType.PREFIXED if right.prefix else ACLResourcePatternType.LITERAL
    for operation in right.operations:
        resource = ResourcePattern(KINDS[right.kind], right.name, pattern)
        yield ACL(f"User:{user}", "*", OPERATIONS[operation], ACLPermissionType.ALLOW, resource)


def read_password(file: Path) -> str:
    """The first line of the file. Raises UsageError when there is none, or it is too short to stand on the internet."""
    try:
        with file.open(encoding="utf-8") as lines:
            password = lines.readline(LONGEST_PASSWORD + 1).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UsageError(f"--password-file {file}: {reason}") from None
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise UsageError(
            f"--password-file {file}: its first line has {len(password)} characters, "
            f"a password needs {SHORTEST_PASSWORD} to {LONGEST_PASSWORD}: `openssl rand -hex 32` makes one"
        )
    known.learn([password])
    return password


def set_password(cluster: Cluster, user: str, password: str) -> None:
    """Makes the user, or changes its password. Raises Fatal when Kafka refuses."""
    wanted = UserScramCredentialUpsertion(user, ScramMechanism.SCRAM_SHA_512, password, iterations=ITERATIONS)
    answer = cluster.call(lambda: cluster.admin.alter_user_scram_credentials([wanted]))
    if answer.get(user) is not None:
        raise Fatal(f"user {user}: Kafka at {cluster.bootstrap} refused the password: {answer[user]}")


def grant(cluster: Cluster, user: str, rights: list[Right]) -> None:
    """Adds the rights; those that are there stay. Raises Fatal when Kafka refuses."""
    wanted = [acl for right in rights for acl in acls(right, user)]
    failed = cluster.call(lambda: cluster.admin.create_acls(wanted))["failed"]
    if failed:
        raise Fatal(
            f"user {user}: Kafka at {cluster.bootstrap} refused {len(failed)} of {len(wanted)} rights: "
            f"{failed[0].__name__}; does it have an authorizer (authorizer.class.name), and may you change it?"
        )


def revoke_others(cluster: Cluster, user: str, rights: list[Right]) -> None:
    """Takes back what this user may do beyond these rights. Raises Fatal when Kafka refuses."""
    anything = ACLFilter(
        f"User:{user}",
        "*",
        ACLOperation.ANY,
        ACLPermissionType.ALLOW,
        ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY),
    )
    wanted = {acl for right in rights for acl in acls(right, user)}
    found, _ = cluster.call(lambda: cluster.admin.describe_acls(anything))
    others = [acl for acl in found if acl not in wanted]
    if not others:
        return
    failed = [error for _, _, error in cluster.call(lambda: cluster.admin.delete_acls(others)) if error.errno]
    if failed:
        raise Fatal(f"user {user}: Kafka at {cluster.bootstrap} does not take back {len(failed)} rights: {failed[0]}")
    say(f"user {user}: {len(others)} rights of before are taken back")


if __name__ == "__main__":
    cli.run(app, "deploy.access")
