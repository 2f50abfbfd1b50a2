"""Renders the kustomizations of `deploy/kubernetes`, as far as they use kustomize, without kubectl.

So what an overlay says is tested wherever the tests run; where kubectl is there, a test compares the two. What is not
known here is refused, not ignored.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

KNOWN = {
    *("apiVersion", "kind", "namespace", "nameSuffix", "resources", "components", "patches", "replacements"),
    *("configMapGenerator", "generatorOptions", "images", "labels", "configurations"),
}
REFERENCES = (
    ("ConfigMap", "", "spec/template/spec/containers/envFrom/configMapRef/name"),
    ("ConfigMap", "", "spec/template/spec/initContainers/envFrom/configMapRef/name"),
    ("ServiceAccount", "", "spec/template/spec/serviceAccountName"),
    ("Service", "StatefulSet", "spec/serviceName"),
)
"""Names that kustomize knows to be names of objects: of which kind, in which kind (empty: in any), and where."""
LOCAL = "config.kubernetes.io/local-config"
CLUSTER_WIDE = ("Namespace",)


def objects_of(path: Path) -> list[Object]:
    """The objects in a file of manifests."""
    return [found for found in yaml.safe_load_all(path.read_text(encoding="utf-8")) if found]


def render(folder: Path, given: Sequence[Object] = ()) -> list[Object]:
    """What `kubectl kustomize FOLDER` prints, in another order; a component changes the objects that it is given."""
    return [found for found in _render(folder, list(given)) if LOCAL not in found["metadata"].get("annotations", {})]


def _render(folder: Path, given: list[Object]) -> list[Object]:
    (said,) = objects_of(folder / "kustomization.yaml")
    assert set(said) <= KNOWN, f"{folder}: {set(said) - KNOWN} is not known to tests/kustomization.py"
    found = list(given)
    for name in said.get("resources", []):
        path = folder / name
        assert path.is_dir() or path.resolve().is_relative_to(folder.resolve()), f"{folder}: {name} is outside"
        found += _render(path, []) if path.is_dir() else objects_of(path)
    found += _generated(folder, said)
    for name in said.get("components", []):
        found = _render(folder / name, found)
    for patch in said.get("patches", []):
        _patch(folder, patch, found)
    for replacement in said.get("replacements", []):
        _replace(replacement, found)
    for image in said.get("images", []):
        _rename(image, found)
    _label(said, found)
    _name(folder, said, found)
    return found


def _rename(image: Mapping[str, str], found: Any) -> None:
    assert set(image) == {"name", "newName"}, image
    if isinstance(found, dict):
        for container in found.get("containers", []) + found.get("initContainers", []):
            name, _, tag = container["image"].partition(":")
            container["image"] = f"{image['newName']}:{tag}" if name == image["name"] else container["image"]
    for inner in found.values() if isinstance(found, dict) else found if isinstance(found, list) else []:
        _rename(image, inner)


def _generated(folder: Path, said: Mapping[str, Any]) -> Iterator[Object]:
    options = said.get("generatorOptions", {})
    for wanted in said.get("configMapGenerator", []):
        assert options.get("disableNameSuffixHash"), f"{folder}: names with a hash are not known here"
        pairs = dict(literal.split("=", 1) for literal in wanted.get("literals", []))
        files = {Path(name).name: (folder / name).read_text(encoding="utf-8") for name in wanted.get("files", [])}
        metadata = {"name": wanted["name"], **({"labels": dict(options["labels"])} if "labels" in options else {})}
        yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {**pairs, **files}}


def _label(said: Mapping[str, Any], found: list[Object]) -> None:
    for wanted in said.get("labels", []):
        assert set(wanted) == {"pairs", "includeTemplates", "fields"}, wanted
        assert wanted["includeTemplates"] is True
        for one in found:
            one["metadata"].setdefault("labels", {}).update(wanted["pairs"])
            paths = [field["path"] for field in wanted["fields"] if field["kind"] == one["kind"]]
            for path in (*paths, "spec/template/metadata/labels"):
                for holder, key in _spots(one, path.split("/")):
                    holder[key].update(wanted["pairs"])


def _name(folder: Path, said: Mapping[str, Any], found: list[Object]) -> None:
    for one in found:
        if "namespace" in said and one["kind"] not in CLUSTER_WIDE:
            one["metadata"]["namespace"] = said["namespace"]
    if suffix := said.get("nameSuffix"):
        ours = {(one["kind"], one["metadata"]["name"]) for one in found}
        for kind, inside, path in (*REFERENCES, *_configured(folder, said)):
            for one in found:
                for holder, key in _spots(one, path.split("/")) if inside in ("", one["kind"]) else ():
                    holder[key] += suffix if (kind, holder[key]) in ours else ""
        for one in found:
            one["metadata"]["name"] += suffix


def _configured(folder: Path, said: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name in said.get("configurations", []):
        (configured,) = objects_of(folder / name)
        assert set(configured) == {"nameReference"}, f"{folder / name}: only nameReference is known here"
        for reference in configured["nameReference"]:
            for field in reference["fieldSpecs"]:
                yield reference["kind"], field["kind"], field["path"]


def _spots(value: Any, steps: list[str]) -> Iterator[tuple[dict[str, Any], str]]:
    """The objects that have what a path ends with, in all items of the lists on the way; none where it is not there."""
    if isinstance(value, list):
        for inner in value:
            yield from _spots(inner, steps)
    elif isinstance(value, dict) and steps[0] in value:
        if len(steps) == 1:
            yield value, steps[0]
        else:
            yield from _spots(value[steps[0]], steps[1:])


def _chosen(target: Mapping[str, str], found: list[Object]) -> list[Object]:
    def fits(one: Object) -> bool:
        name = re.fullmatch(target.get("name", ".*"), one["metadata"]["name"])
        return bool(name and re.fullmatch(target.get("kind", ".*"), one["kind"]))

    chosen = [one for one in found if fits(one)]
    assert chosen, f"nothing is like {target}"
    return chosen


def _patch(folder: Path, patch: Mapping[str, Any], found: list[Object]) -> None:
    operations = yaml.safe_load(patch["patch"] if "patch" in patch else (folder / patch["path"]).read_text())
    for one in _chosen(patch["target"], found):
        for operation in operations:
            _operate(one, **copy.deepcopy(operation))


def _operate(one: Object, op: str, path: str, value: Any = None) -> None:
    *steps, last = path.removeprefix("/").split("/")
    at: Any = one
    for step in steps:
        at = at[int(step)] if isinstance(at, list) else at[step.replace("~1", "/")]
    last = last.replace("~1", "/")
    assert op in ("add", "replace", "remove"), op
    if isinstance(at, list) and last == "-":
        at.append(value)
    elif isinstance(at, list) and op == "add":
        at.insert(int(last), value)
    else:
        key: Any = int(last) if isinstance(at, list) else last
        assert op == "add" or isinstance(at, list) or key in at, f"{path}: nothing to {op}"
        if op == "remove":
            del at[key]
        else:
            at[key] = value


def _replace(replacement: Mapping[str, Any], found: list[Object]) -> None:
    (source,) = _chosen(replacement["source"], found)
    value = _at(source, replacement["source"]["fieldPath"].split("."))
    for target in replacement["targets"]:
        for one in _chosen(target["select"], found):
            for path in target["fieldPaths"]:
                *steps, last = path.split(".")
                _at(one, steps)[last] = value


def _at(value: Any, steps: list[str]) -> Any:
    for step in steps:
        value = value[int(step)] if isinstance(value, list) else value[step]
    return value
