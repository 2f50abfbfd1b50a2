"""Lists of titles as people have them."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from producers.cirrus import read_pages_file
from producers.wikimedia.titles import is_title, read_titles

NFC = "S\u00e3o Br\u00e1s"


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["unix", "dos", "mac"])
def test_a_list_is_read_as_titles_are_stored_however_it_was_written(
    tmp_path: Path, form: str, mark: bytes, end: str
) -> None:
    (tmp_path / "list").write_bytes(mark + unicodedata.normalize(form, f"{NFC}{end}{end} Amber_box {end}7").encode())
    assert read_titles(tmp_path / "list") == [NFC, "", "Amber_box", "7"]
    assert read_pages_file(tmp_path / "list") == {NFC, "Amber box", "7"}


def test_what_is_no_list_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes("Amber\n".encode("utf-16"))
    with pytest.raises(UsageError, match="list: not UTF-8 at byte 0"):
        read_titles(tmp_path / "list")
    with pytest.raises(UsageError, match="No such file"):
        read_titles(tmp_path / "none")


@pytest.mark.parametrize(
    ("title", "good"),
    [("Amber", True), ("", False), ("a|b", False), ("a\nb", False), ("\u00e9" * 127, True), ("\u00e9" * 128, False)],
)
def test_what_no_page_can_be_called_is_not_asked_for(title: str, good: bool) -> None:
    assert is_title(title) == good
