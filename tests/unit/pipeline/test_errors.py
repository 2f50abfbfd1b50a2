"""Unit tests of `pipeline.errors`: how an error becomes one line."""

from __future__ import annotations

import pytest

from pipeline.errors import MOST_CHARACTERS, Fatal, one_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (Fatal("table wiki: the disk is full"), "table wiki: the disk is full"),
        (Fatal(), "Fatal"),
        (KeyError("vector"), "KeyError: 'vector'"),
        (TimeoutError(), "TimeoutError"),
        (
            RuntimeError("\n CUDA error: launch failure\nCompile with TORCH_USE_CUDA_DSA"),
            "RuntimeError: CUDA error: launch failure",
        ),
        (RuntimeError("RuntimeError in the driver"), "RuntimeError in the driver"),
        (
            OSError("https://reader:hunter2000@mirror.example/x: refused"),
            "OSError: https://***@mirror.example/x: refused",
        ),
    ],
)
def test_an_error_is_one_line_with_its_class_unless_it_is_ours(error: Exception, line: str) -> None:
    assert one_line(error) == line


def test_a_library_that_prints_what_it_was_given_is_cut() -> None:
    assert len(one_line(ValueError("x" * 10_000))) == MOST_CHARACTERS
