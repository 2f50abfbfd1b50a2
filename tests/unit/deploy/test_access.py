"""What a worker elsewhere is let in with: a password that holds, and no right that it does not need."""

from __future__ import annotations

from pathlib import Path

import pytest
from kafka.admin import ACLResourcePatternType

from deploy.access import OPERATIONS, acls, read_password
from deploy.rights import rights_of_parts, worker_rights
from pipeline.errors import UsageError
from pipeline.settings import Settings


def test_workers_only_read_write_and_look() -> None:
    harmless = {"Read", "Write", "Describe", "DescribeConfigs"}
    assert {operation for right in worker_rights(Settings()) for operation in right.operations} <= harmless


def test_workers_write_no_pages() -> None:
    writable = {right.name for right in worker_rights(Settings(), chunk=True) if "Write" in right.operations}
    assert writable == {"chunks.", "vectors.", "dead_letters"}


def test_workers_that_only_embed_read_no_page_and_write_no_chunk() -> None:
    rights = worker_rights(Settings())
    assert {right.name for right in rights if "Write" in right.operations} == {"vectors.", "dead_letters"}
    assert {right.name for right in rights if "Read" in right.operations} == {"chunks.", "embed."}


def test_an_embedder_does_not_even_see_the_corpus() -> None:
    assert {right.name for right in rights_of_parts(Settings())["embed"]} == {
        "dead_letters",
        "chunks.",
        "vectors.",
        "embed.",
    }


def test_rights_end_at_the_namespace() -> None:
    assert all(right.name.startswith("mine.") for right in worker_rights(Settings(namespace="mine")))


def test_a_right_is_stored_as_an_entry_an_operation() -> None:
    right = next(right for right in worker_rights(Settings()) if right.name == "vectors.")
    stored = list(acls(right, "worker"))
    assert {acl.operation for acl in stored} == {OPERATIONS[operation] for operation in right.operations}
    assert {acl.principal for acl in stored} == {"User:worker"}
    assert {acl.resource_pattern.pattern_type for acl in stored} == {ACLResourcePatternType.PREFIXED}


def test_the_password_is_the_first_line(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("sixteen letters!\r\nand a note\n")
    assert read_password(tmp_path / "password") == "sixteen letters!"


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"", "0 characters"), (b"short\n", "5 characters"), (b"x" * 5000, "1025"), (b"\xff" * 20, "not UTF-8")],
)
def test_a_bad_password_file_is_refused_and_its_content_not_said(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "password").write_bytes(content)
    with pytest.raises(UsageError, match=why) as refused:
        read_password(tmp_path / "password")
    assert "short" not in str(refused.value).replace("too short", "")


def test_a_password_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere: No such file"):
        read_password(tmp_path / "nowhere")
