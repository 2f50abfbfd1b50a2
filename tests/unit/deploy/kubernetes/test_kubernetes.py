"""The manifests for Kubernetes: valid, in step with the code, and without what would hurt in the night.

They are read as kustomize would render them, by `tests/kustomization.py`, so that nothing but Python is needed.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from typer.testing import CliRunner

from consumers import chunk, embed
from deploy.doctor import topics as doctor
from deploy.kubernetes import __main__ as commands
from deploy.kubernetes import rules, topics, users
from pipeline.errors import Exit
from pipeline.model_files import resolve
from pipeline.settings import ModelSettings, ServiceSettings
from pipeline.status.targets import parse_places
from pipeline.topics import model_topics
from sinks.memory import AT_START
from tests import ROOT
from tests.deployed import THIRD_PARTY, check_command, check_environment, environment_of
from tests.kustomization import Object, objects_of, render

FOLDER = ROOT / "deploy" / "kubernetes"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
SCHEMAS = {path: json.loads(path.read_text()) for path in (FOLDER / "schemas").glob("*.json")}
OLDEST_KUBERNETES = "1.33"
"""The first where an index of a Job may fail alone (`FailIndex`) without a feature gate."""

STAGES = ("chunk", "embed", "sink", "lag", "produce", "live")
RENDERED = ("overlays/cpu", "overlays/gpu", "snapshot")
SECRET = r"(PASSWORD|TOKEN|SECRET|ACCESS_KEY)$"


@cache
def rendered(name: str) -> list[Object]:
    return render(FOLDER / name)


@cache
def everything() -> list[Object]:
    """The GPU overlay with all components, and a snapshot."""
    found = rendered("overlays/gpu") + rendered("snapshot")
    for component in ("model-hub", "live", "external-listener"):
        found = render(FOLDER / "components" / component, json.loads(json.dumps(found)))
    return found


def of_kind(*kinds: str, among: list[Object] | None = None) -> list[Object]:
    return [one for one in (everything() if among is None else among) if one["kind"] in kinds]


def named(kind: str, name: str, among: list[Object] | None = None) -> Object:
    (found,) = [one for one in of_kind(kind, among=among) if one["metadata"]["name"] == name]
    return found


def workloads() -> list[Object]:
    return of_kind("Deployment", "StatefulSet", "Job") + of_kind("StatefulSet", among=rendered("overlays/cpu"))


def component(one: Object) -> str:
    return str(one["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"])


def pod(one: Object) -> Any:
    return one["spec"]["template"]["spec"]


def containers(one: Object) -> list[Any]:
    return [*pod(one).get("initContainers", []), *pod(one)["containers"]]


def workload(stage: str) -> Object:
    return next(one for one in workloads() if component(one) == stage)


def environment(container: Any) -> dict[str, Any]:
    """What the container's process finds in its environment; a value that comes from elsewhere as it is written."""
    maps = [named("ConfigMap", source["configMapRef"]["name"])["data"] for source in container.get("envFrom", [])]
    said = {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container.get("env", [])}
    return {key: value for found in maps for key, value in found.items()} | said


def labelled() -> Iterator[dict[str, str]]:
    yield from (one["spec"]["template"]["metadata"]["labels"] for one in workloads())
    yield {"strimzi.io/cluster": "cirrostream", "strimzi.io/kind": "Kafka"}  # as Strimzi labels its brokers


def selects(selector: Any, labels: dict[str, str]) -> bool:
    wanted = selector.get("matchLabels", {} if "matchExpressions" in selector else selector)
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    for expression in selector.get("matchExpressions", []):
        inside = labels.get(expression["key"]) in expression["values"]
        if inside != (expression["operator"] == "In"):
            return False
    return True


def second_model(folder: Path) -> Path:
    """The stages copied for another model, as docs/kubernetes.md says it."""
    copied = shutil.copytree(FOLDER / "base" / "stages", folder / "stages")
    said = (copied / "kustomization.yaml").read_text().replace("instance: first", "instance: second")
    (copied / "kustomization.yaml").write_text(f"{said}nameSuffix: -second\n")
    return copied


def ids(one: Object) -> str:
    return f"{one['kind']}/{one['metadata']['name']}"


# --- valid -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*RENDERED, "base"])
def test_kubectl_renders_what_these_tests_read(name: str) -> None:
    assert _rendered_by_kubectl(FOLDER / name) == {ids(one): one for one in rendered(name)}


def test_kubectl_renders_a_second_model_as_these_tests_read_it(tmp_path: Path) -> None:
    copied = second_model(tmp_path)
    assert _rendered_by_kubectl(copied) == {ids(one): one for one in render(copied)}


def _rendered_by_kubectl(folder: Path) -> dict[str, Object]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not on the PATH; these tests read the kustomizations themselves, so nothing is missed")
    version = json.loads(_kubectl("version", "--client", "--output=json"))["clientVersion"]
    if int(re.sub(r"\D", "", version["minor"])) < 24:
        pytest.skip(f"kubectl {version['gitVersion']} is too old for components and replacements: take 1.24 or newer")
    return {ids(one): one for one in yaml.safe_load_all(_kubectl("kustomize", str(folder)))}


def _kubectl(*arguments: str) -> str:
    return subprocess.run(["kubectl", *arguments], check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.mark.parametrize("version", [OLDEST_KUBERNETES, kubernetes_validate.latest_version()])
def test_objects_of_kubernetes_own_kinds_are_valid(version: str) -> None:
    ours = {schema["apiVersion"] for schema in SCHEMAS.values()}
    for one in everything() + rendered("overlays/cpu"):
        if one["apiVersion"] not in ours:
            try:
                kubernetes_validate.validate(one, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                pytest.fail(f"{ids(one)}: {error.message} at {'/'.join(map(str, error.path))}")


def test_objects_of_operators_have_the_fields_that_those_publish_and_no_others() -> None:
    kinds = {(it["apiVersion"], kind): spec for it in SCHEMAS.values() for kind, spec in it["kinds"].items()}
    seen = set()
    for one in everything():
        key = (one["apiVersion"], one["kind"])
        if key in kinds:
            seen.add(key)
            assert set(one) == {"apiVersion", "kind", "metadata", "spec"}
            jsonschema.Draft202012Validator(kinds[key]).validate(one["spec"])
        else:
            assert "." not in one["apiVersion"].split("/")[0].removesuffix(".k8s.io"), f"{key} is in no schema"
    assert seen == set(kinds)


# --- in step with the code -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", workloads(), ids=ids)
def test_commands_and_variables_exist(one: Object) -> None:
    for container in containers(one):
        command, variables = container["command"], environment(container)
        if component(one) == "toolbox":
            modules = ("pipeline.status", "pipeline.replay", "sinks.verify", "sinks.search")
            assert set(variables) <= set(THIRD_PARTY).union(*map(environment_of, modules))
            continue
        check_command(command)
        module, *rest = command[command.index("-m") + 1 :]
        subcommand = f" {rest[0]}" if module == "deploy.kubernetes" else ""
        check_environment(module + subcommand, set(variables) - set(AT_START))


@pytest.mark.parametrize(
    ("command", "file"),
    [
        ("topics", "base/kafka/topics.yaml"),
        ("users", "base/kafka/users.yaml"),
        ("names", "base/stages/names.yaml"),
        ("rules", "components/monitoring/rules.yaml"),
    ],
)
def test_committed_manifests_are_what_the_code_renders(command: str, file: str) -> None:
    result = CliRunner().invoke(commands.app, [command])
    assert result.exit_code == Exit.DONE, result.output
    assert (FOLDER / file).read_text() == result.stdout, (
        f"write it anew: python -m deploy.kubernetes {command} > deploy/kubernetes/{file}"
    )


def test_topics_are_those_that_the_stages_demand() -> None:
    settings = ModelSettings()
    tag = resolve(settings, weights=False).tag
    objects = {one["spec"]["topicName"]: one for one in of_kind("KafkaTopic")}
    model = model_topics(settings, tag)
    assert set(objects) == {"pages", "progress", "dead_letters", model.chunks, model.vectors}
    for planned in topics.planned_topics(settings, tag):
        spec = objects[planned.name]["spec"]
        assert spec["partitions"] == planned.partitions == settings.partitions
        assert spec["replicas"] == planned.replicas == 3
        assert spec["config"] == dict(planned.configs)
        assert spec["config"]["min.insync.replicas"] == "2"
    assert {one["metadata"]["labels"]["strimzi.io/cluster"] for one in objects.values()} == {"cirrostream"}


def test_another_model_and_a_namespace_give_other_names_and_rights_that_fit_them() -> None:
    settings = ModelSettings(namespace="team", window_tokens=64, partitions=8)
    found = list(yaml.safe_load_all(topics.topics_yaml(settings, "x-1")))
    names = {one["spec"]["topicName"]: one["spec"]["partitions"] for one in found if one}
    wanted = ("pages", "progress", "dead_letters", "chunks.x-1", "vectors.x-1")
    assert names == {f"team.{name}": 8 for name in wanted}
    assert "team.dead-letters" in [one["metadata"]["name"] for one in found if one]
    chunker = next(one for one in yaml.safe_load_all(users.users_yaml(settings)) if "chunk" in one["metadata"]["name"])
    rights = {acl["resource"]["name"] for acl in chunker["spec"]["authorization"]["acls"]}
    assert {"team.pages", "team.chunks.", "team.chunk."} <= rights


def test_the_autoscaler_watches_the_groups_and_topics_of_the_stages() -> None:
    settings = ModelSettings()
    model = model_topics(settings, resolve(settings, weights=False).tag)
    wanted = {"chunk": ("pages", model.chunk_group), "embed": (model.chunks, model.embed_group)}
    for one in of_kind("ScaledObject"):
        stage = one["metadata"]["name"].removeprefix("cirrostream-")
        (trigger,) = one["spec"]["triggers"]
        assert (trigger["metadata"]["topic"], trigger["metadata"]["consumerGroup"]) == wanted[stage]
        assert one["spec"]["scaleTargetRef"]["name"] == workload(stage)["metadata"]["name"]
        assert one["spec"]["scaleTargetRef"]["kind"] == workload(stage)["kind"]


def test_the_settings_agree_with_the_topics() -> None:
    data = named("ConfigMap", "cirrostream-kafka")["data"]
    for topic in of_kind("KafkaTopic"):
        assert data["CIRROSTREAM_PARTITIONS"] == str(topic["spec"]["partitions"])
        assert data["CIRROSTREAM_REPLICATION"] == str(topic["spec"]["replicas"])
    model = named("ConfigMap", "cirrostream-model")["data"]
    defaults = ModelSettings()
    for name in ("model", "unit", "window_tokens", "overlap_tokens"):
        assert model[f"CIRROSTREAM_{name.upper()}"] == str(getattr(defaults, name)), "render names and topics anew"


def test_alerts_are_those_that_promtool_tests() -> None:
    theirs = [yaml.safe_load(file.read_text())["groups"] for file in sorted(rules.FOLDER.glob("*.yml"))]
    assert [one["spec"]["groups"] for one in of_kind("PrometheusRule")] == theirs


def test_every_dashboard_is_brought_along_and_fits_a_config_map() -> None:
    committed = {path.name: path.read_text() for path in (ROOT / "grafana" / "dashboards").glob("*.json")}
    brought = [one for one in of_kind("ConfigMap") if one["metadata"].get("labels") == {"grafana_dashboard": "1"}]
    assert {name: text for one in brought for name, text in one["data"].items()} == committed
    assert all(len(text.encode()) < 1_000_000 for text in committed.values())


# --- scaling and spot ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlay", ["overlays/cpu", "overlays/gpu"])
def test_replicas_go_from_none_to_one_a_partition_and_down_slowly(overlay: str) -> None:
    scaled = of_kind("ScaledObject", among=rendered(overlay))
    assert len(scaled) == 2
    partitions = ModelSettings().partitions
    for one in scaled:
        spec = one["spec"]
        assert spec["minReplicaCount"] == 0
        assert spec["maxReplicaCount"] == partitions or (overlay == "overlays/gpu" and spec["maxReplicaCount"] < 32)
        behaviour = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        assert behaviour["scaleDown"]["stabilizationWindowSeconds"] >= 300
        assert all(policy["type"] == "Pods" for policy in behaviour["scaleDown"]["policies"])
        (trigger,) = spec["triggers"]
        assert trigger["useCachedMetrics"], "else the autoscaler's questions make lag look stuck"
        said = trigger["metadata"]
        assert said["offsetResetPolicy"] == "earliest"
        assert said["limitToPartitionsWithLag"] == said["excludePersistentLag"] == "true"
        assert "replicas" not in workload(one["metadata"]["name"].removeprefix("cirrostream-"))["spec"], (
            "an apply would set the number back"
        )


def test_only_chunk_and_embed_run_on_spot_nodes() -> None:
    for one in workloads():
        keys = {toleration["key"] for toleration in pod(one).get("tolerations", [])}
        spot = {key for key in keys if "spot" in key or "capacity" in key or "scaleset" in key}
        assert bool(spot) == (component(one) in ("chunk", "embed")), ids(one)
        assert ("affinity" in pod(one)) == (component(one) in ("chunk", "embed")), ids(one)
    for pool in of_kind("KafkaNodePool"):
        assert "tolerations" not in pool["spec"]["template"]["pod"]


def test_work_in_hand_ends_before_a_spot_node_does() -> None:
    for stage, grace in (("chunk", chunk.GRACE_SECONDS), ("embed", embed.GRACE_SECONDS)):
        assert grace <= 10 < pod(workload(stage))["terminationGracePeriodSeconds"] <= 15
    for stage in ("sink", "produce", "live"):
        assert pod(workload(stage))["terminationGracePeriodSeconds"] >= 30


def test_one_writer_writes_the_table() -> None:
    sink = workload("sink")
    assert sink["spec"]["replicas"] == 1
    assert sink["spec"]["strategy"] == {"type": "Recreate"}
    assert pod(sink)["containers"][0]["command"][0] == "one-writer", "code 3 must not be restarted"
    assert AT_START.items() <= environment(pod(sink)["containers"][0]).items()


def test_each_embedder_is_a_member_with_a_name_that_its_restart_keeps() -> None:
    embedder = workload("embed")
    assert embedder["kind"] == "StatefulSet"
    assert environment(pod(embedder)["containers"][0])["CIRROSTREAM_GROUP_INSTANCE_ID"] == {
        "fieldRef": {"fieldPath": "metadata.name"}
    }
    assert named("Service", embedder["spec"]["serviceName"])["spec"]["clusterIP"] == "None"


def test_threads_and_processes_are_those_of_the_container_not_of_its_node() -> None:
    wanted = {"resourceFieldRef": {"containerName": "stage", "resource": "requests.cpu"}}
    assert environment(pod(workload("embed"))["containers"][0])["CIRROSTREAM_THREADS"] == wanted
    assert environment(pod(workload("produce"))["containers"][0])["CIRROSTREAM_PROCESSES"] == wanted


def test_the_gpu_overlay_asks_for_one_gpu_a_replica_and_the_other_for_none() -> None:
    gpu = named("StatefulSet", "cirrostream-embed", among=rendered("overlays/gpu"))
    cpu = named("StatefulSet", "cirrostream-embed", among=rendered("overlays/cpu"))
    assert pod(gpu)["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert pod(gpu)["containers"][0]["image"].endswith("-cuda")
    assert {"name": "shm", "mountPath": "/dev/shm"} in pod(gpu)["containers"][0]["volumeMounts"]
    assert "nvidia" not in json.dumps(cpu)
    others = [one for one in rendered("overlays/gpu") if one["kind"] != "ConfigMap" and ids(one) != ids(gpu)]
    assert "nvidia" not in json.dumps(others)


# --- the producer's job ----------------------------------------------------------------------------------------------


def test_exit_codes_mean_to_the_job_what_they_mean_to_us() -> None:
    spec = workload("produce")["spec"]
    actions: dict[int, str] = {}
    for rule in spec["podFailurePolicy"]["rules"]:
        for code in rule.get("onExitCodes", {}).get("values", []):
            actions[code] = rule["action"]
    assert actions == {Exit.USAGE: "FailJob", Exit.FATAL: "FailIndex", Exit.TRY_AGAIN: "Ignore"}
    preempted = spec["podFailurePolicy"]["rules"][0]
    assert preempted["action"] == "Ignore", "first: a pod that is taken away may end with any code"
    assert preempted["onPodConditions"][0]["type"] == "DisruptionTarget"
    assert pod(workload("produce"))["restartPolicy"] == "Never"


def test_the_shares_of_a_snapshot_are_all_read_and_of_one_date() -> None:
    job = workload("produce")
    variables = environment(pod(job)["containers"][0])
    assert job["spec"]["completionMode"] == "Indexed"
    assert variables["CIRROSTREAM_SHARD_COUNT"] == str(job["spec"]["completions"])
    assert "CIRROSTREAM_SHARD_INDEX" not in variables, "it is the pod's JOB_COMPLETION_INDEX"
    date = variables["CIRROSTREAM_SNAPSHOT"]
    assert re.fullmatch(r"\d{8}", date), "pods that start at different times must read the same"
    assert job["metadata"]["name"].endswith(f"-{date}")
    finishing = workload("finish")
    assert environment(pod(finishing)["containers"][0])["CIRROSTREAM_FINISH"] == date
    assert finishing["spec"]["suspend"], "it deletes pages: somebody starts it"


# --- what hurts in the night -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", workloads(), ids=ids)
def test_every_container_has_bounds_and_no_more_rights_than_it_needs(one: Object) -> None:
    assert pod(one)["automountServiceAccountToken"] is False
    context = pod(one)["securityContext"]
    assert (context["runAsNonRoot"], context["runAsUser"]) == (True, 10001)
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(one):
        assert {"cpu", "memory", "ephemeral-storage"} <= set(container["resources"]["requests"])
        assert {"memory", "ephemeral-storage"} <= set(container["resources"]["limits"])
        rights = container["securityContext"]
        assert rights["readOnlyRootFilesystem"] is True
        assert rights["allowPrivilegeEscalation"] is False
        assert rights["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_is_asked_for_its_health_where_it_answers(stage: str) -> None:
    (container,) = pod(workload(stage))["containers"]
    (port,) = container["ports"]
    assert port == {"name": "metrics", "containerPort": ServiceSettings.model_fields["metrics_port"].default}
    assert environment(container)["CIRROSTREAM_METRICS_HOST"] == "0.0.0.0"
    assert container["startupProbe"]["httpGet"] == {"path": "/healthz/live", "port": "metrics"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/healthz/ready", "port": "metrics"}
    live = container["livenessProbe"]
    if stage == "sink":
        assert live["exec"]["command"][-1].startswith("healthy || ")
    else:
        assert live["httpGet"] == {"path": "/healthz/live", "port": "metrics"}


@pytest.mark.parametrize("one", workloads(), ids=ids)
def test_images_are_of_this_version(one: Object) -> None:
    for container in containers(one):
        name, _, tag = container["image"].partition(":")
        assert tag in {f"{VERSION}-cpu", f"{VERSION}-cuda"}, f"{name}:{tag}"


@pytest.mark.parametrize("one", workloads(), ids=ids)
def test_what_is_mounted_is_there_and_what_is_written_is_mounted(one: Object) -> None:
    volumes = {volume["name"]: volume for volume in pod(one)["volumes"]}
    for container in pod(one)["containers"]:
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        assert set(mounts.values()) <= set(volumes)
        variables = environment(container)
        assert "/tmp" in mounts
        assert variables["CIRROSTREAM_DATA_DIR"] in mounts
        assert variables.get("HF_HOME", "/tmp") in mounts
        authority = Path(variables["KAFKA_SSL_CAFILE"])
        assert volumes[mounts[str(authority.parent)]]["secret"]["items"] == [{"key": "ca.crt", "path": authority.name}]


def test_no_secret_stands_in_the_manifests() -> None:
    assert not of_kind("Secret")
    for one in workloads():
        for container in containers(one):
            for name, value in environment(container).items():
                if re.search(SECRET, name):
                    assert set(value) == {"secretKeyRef"}, f"{ids(one)}: {name}"
    for one in of_kind("ConfigMap"):
        assert not any(re.search(SECRET, key) for key in one["data"]), ids(one)


def test_every_stage_logs_in_as_a_user_that_is_made() -> None:
    made = {one["metadata"]["name"] for one in of_kind("KafkaUser")}
    used = {"cirrostream-keda"}
    for one in workloads():
        variables = environment(pod(one)["containers"][0])
        secret = variables["KAFKA_SASL_PASSWORD"]["secretKeyRef"]
        assert secret == {"name": variables["KAFKA_SASL_USERNAME"], "key": "password"}
        used.add(secret["name"])
    assert used == made
    authentication = named("TriggerAuthentication", "cirrostream-kafka")["spec"]
    assert {entry["name"] for entry in authentication["secretTargetRef"]} <= made | {"cirrostream-cluster-ca-cert"}
    assert named("ConfigMap", "cirrostream-keda")["data"]["username"] in made


def test_nobody_may_make_a_topic_and_only_the_sink_and_people_trim() -> None:
    for user in of_kind("KafkaUser"):
        operations = {
            (acl["resource"].get("name"), operation)
            for acl in user["spec"]["authorization"]["acls"]
            for operation in acl["operations"]
        }
        assert not {"Create", "Alter", "AlterConfigs", "All"} & {operation for _, operation in operations}
        trims = {name for name, operation in operations if operation == "Delete"}
        wanted = {
            "cirrostream-sink": {"chunks.", "vectors."},
            "cirrostream-operator": {"chunks.", "vectors.", "dead_letters"},
        }
        assert trims == wanted.get(user["metadata"]["name"], set())


def test_the_toolbox_has_the_rights_that_the_doctor_asks_for() -> None:
    rights = named("KafkaUser", "cirrostream-operator")["spec"]["authorization"]["acls"]
    granted = {acl["resource"].get("name", "").rstrip("."): acl["operations"] for acl in rights}
    for kind in ("pages", "progress", "dead_letters", "chunks", "vectors"):
        asked = {*doctor.NEEDED, *(["DELETE"] if kind in doctor.TRIMMED else [])}
        assert asked <= {re.sub("(?<=[a-z])(?=[A-Z])", "_", right).upper() for right in granted[kind]}, kind


def test_every_selector_selects_something() -> None:
    selectors = [one["spec"]["selector"] for one in of_kind("PodMonitor", "PodDisruptionBudget", "Service")]
    for policy in of_kind("NetworkPolicy"):
        selectors.append(policy["spec"]["podSelector"])
        for rule in policy["spec"].get("egress", []):
            selectors += [peer["podSelector"] for peer in rule.get("to", []) if "podSelector" in peer]
    for selector in selectors:
        assert any(selects(selector, labels) for labels in labelled()), selector
    monitored = [one["spec"]["selector"] for one in of_kind("PodMonitor")]
    for stage in STAGES:
        labels = workload(stage)["spec"]["template"]["metadata"]["labels"]
        assert sum(selects(selector, labels) for selector in monitored) == 1, stage


def test_the_toolbox_finds_every_replica_and_may_ask_it() -> None:
    variables = environment(pod(workload("toolbox"))["containers"][0])
    (place,) = parse_places(variables["CIRROSTREAM_TARGETS"])
    service = named("Service", place.host)["spec"]
    assert (service["clusterIP"], service["publishNotReadyAddresses"], place.every) == ("None", True, True)
    found = {component(one) for one in workloads() if selects(service["selector"], labels_of(one))}
    assert found == set(STAGES) - {"lag"}
    toolbox = labels_of(workload("toolbox"))
    for stage in found:
        assert allowed("ingress", labels_of(workload(stage)), toolbox, place.port), stage
        assert allowed("egress", toolbox, labels_of(workload(stage)), place.port), stage
    assert not allowed("ingress", labels_of(workload("sink")), labels_of(workload("embed")), place.port)


def reaches(stage: str, address: str, port: int) -> bool:
    """Whether a pod of this stage may open a connection to this address."""
    where = ip_address(address)
    for policy in of_kind("NetworkPolicy"):
        if "Egress" in policy["spec"]["policyTypes"] and selects(
            policy["spec"]["podSelector"], labels_of(workload(stage))
        ):
            for rule in policy["spec"]["egress"]:
                if port not in [one["port"] for one in rule["ports"]]:
                    continue
                blocks = [peer["ipBlock"] for peer in rule.get("to", []) if "ipBlock" in peer]
                if "to" not in rule or any(
                    where in ip_network(block["cidr"])
                    and not any(where in ip_network(no) for no in block.get("except", []))
                    for block in blocks
                ):
                    return True
    return False


METADATA_SERVER = "169.254.169.254"


@pytest.mark.parametrize("stage", ["produce", "live", "chunk", "embed", "lag"])
def test_who_parses_what_strangers_wrote_reaches_nothing_inside(stage: str) -> None:
    inside = (
        METADATA_SERVER,
        "169.254.169.252",
        "10.0.0.1",
        "172.20.1.1",
        "192.168.1.1",
        "100.64.0.1",
        "fd00:ec2::254",
    )
    assert not [address for address in inside for port in (80, 443, 988) if reaches(stage, address, port)]


def test_each_reaches_what_it_needs() -> None:
    outside = {
        stage
        for stage in ("produce", "live", "chunk", "embed", "lag", "sink", "toolbox")
        if reaches(stage, "203.0.113.7", 443)
    }
    # With components/model-hub, which this overlay has, those who need a model reach the hub.
    assert {"produce", "live", "sink", "toolbox"} <= outside
    assert {stage for stage in ("sink", "toolbox") if reaches(stage, METADATA_SERVER, 80)} == {"sink", "toolbox"}
    assert not any(reaches(stage, "203.0.113.7", 53) for stage in outside), "names are asked for inside alone"


def labels_of(one: Object) -> dict[str, str]:
    labels: dict[str, str] = one["spec"]["template"]["metadata"]["labels"]
    return labels


def allowed(direction: str, labels: dict[str, str], peer: dict[str, str], port: int) -> bool:
    """Whether a policy of pods with these labels names this peer of the same namespace, and this port."""
    whose = "from" if direction == "ingress" else "to"
    for policy in of_kind("NetworkPolicy"):
        if selects(policy["spec"]["podSelector"], labels):
            for rule in policy["spec"].get(direction, []):
                peers = [one["podSelector"] for one in rule.get(whose, []) if set(one) == {"podSelector"}]
                if port in [it["port"] for it in rule["ports"]] and any(selects(one, peer) for one in peers):
                    return True
    return False


def test_a_pod_whose_image_is_still_pulled_is_not_down() -> None:
    for name in ("cirrostream", "cirrostream-lag"):
        (endpoint,) = named("PodMonitor", name)["spec"]["podMetricsEndpoints"]
        first = endpoint["relabelings"][0]
        assert first == {"action": "drop", "sourceLabels": ["__meta_kubernetes_pod_phase"], "regex": "Pending"}


def test_two_models_share_no_pod_that_is_counted_and_no_name(tmp_path: Path) -> None:
    first, second = rendered("base/stages"), render(second_model(tmp_path))
    assert not {ids(one) for one in first} & {ids(one) for one in second}
    for one in of_kind("PodDisruptionBudget", "Service", "Deployment", "StatefulSet", among=first):
        for other in of_kind("Deployment", "StatefulSet", among=second):
            assert not selects(one["spec"]["selector"], labels_of(other)), f"{ids(one)} takes pods of {ids(other)}"
    accounts = {one["metadata"]["name"] for one in of_kind("ServiceAccount", among=second)}
    for one in of_kind("Deployment", "StatefulSet", among=second):
        assert selects(one["spec"]["selector"], labels_of(one)), "Kubernetes would refuse it"
        assert pod(one)["serviceAccountName"] in accounts
    (authentication,) = of_kind("TriggerAuthentication", among=second)
    (user,) = authentication["spec"]["configMapTargetRef"]
    assert named("ConfigMap", user["name"], among=second)["data"][user["key"]] == "cirrostream-keda"
    assert authentication["spec"]["secretTargetRef"][0]["name"] == "cirrostream-keda", "Kafka's user is the same"
    for one in of_kind("ScaledObject", among=second):
        target, (trigger,) = one["spec"]["scaleTargetRef"], one["spec"]["triggers"]
        assert named(target["kind"], target["name"], among=second)
        assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]


def test_evictions_take_few_at_once_and_never_hold_up_a_node() -> None:
    budgets = {one["metadata"]["name"]: one["spec"] for one in of_kind("PodDisruptionBudget")}
    assert set(budgets) == {"cirrostream-chunk", "cirrostream-embed", "cirrostream-sink"}
    for budget in budgets.values():
        assert budget["maxUnavailable"] != 0
        assert "minAvailable" not in budget
        assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_kafka_remembers_groups_for_a_month_and_lets_nobody_in_without_a_password() -> None:
    kafka = named("Kafka", "cirrostream")["spec"]["kafka"]
    assert kafka["config"]["offsets.retention.minutes"] >= 43_200
    assert kafka["config"]["min.insync.replicas"] == 2
    assert kafka["config"]["auto.create.topics.enable"] is False
    assert kafka["authorization"] == {"type": "simple"}
    assert len(kafka["listeners"]) == 2
    for listener in kafka["listeners"]:
        assert listener["tls"] is True
        assert listener["authentication"] == {"type": "scram-sha-512"}
    for pool in of_kind("KafkaNodePool"):
        assert pool["spec"]["replicas"] == 3
        (volume,) = pool["spec"]["storage"]["volumes"]
        assert (volume["type"], volume["deleteClaim"]) == ("persistent-claim", False)
    _, port = named("ConfigMap", "cirrostream-kafka")["data"]["KAFKA_BOOTSTRAP_SERVERS"].split(":")
    assert int(port) == kafka["listeners"][0]["port"]


# --- a table that ends with its pod ----------------------------------------------------------------------------------


def start_of_sink(location: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Runs what stands before the sink in its pod, with this place for the table."""
    (before,) = pod(workload("sink"))["initContainers"]
    for name, value in {**environment(before), "CIRROSTREAM_LANCE_URI": location}.items():
        monkeypatch.setenv(name, value)
    assert before["command"][:3] == ["python", "-m", "deploy.kubernetes"]
    result = CliRunner().invoke(commands.app, before["command"][3:])
    return result.exit_code, result.output


@pytest.mark.parametrize("location", ["", "data/lance", "/data/lance", "file:///data/lance", "memory://x", "s3://"])
def test_a_table_on_the_pods_own_disk_is_refused(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = start_of_sink(location, monkeypatch)
    assert code == Exit.USAGE
    assert "CIRROSTREAM_LANCE_URI" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("location", ["s3://bucket/lance", "gs://bucket", "az://container/lance"])
def test_a_table_in_a_bucket_is_not(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert start_of_sink(location, monkeypatch) == (Exit.DONE, "")


def test_the_manifests_name_no_table_of_their_own() -> None:
    for name in ("overlays/cpu", "overlays/gpu"):
        assert named("ConfigMap", "cirrostream-table", among=rendered(name))["data"]["CIRROSTREAM_LANCE_URI"] == ""


def test_every_manifest_is_part_of_something() -> None:
    for file in FOLDER.rglob("*.yaml"):
        if file.name != "kustomization.yaml":
            said = (file.parent / "kustomization.yaml").read_text()
            assert re.search(rf"(- |path: ){re.escape(file.name)}$", said, re.MULTILINE), file
            assert objects_of(file), f"{file} is empty"


def block(after: str) -> str:
    """The YAML in docs/kubernetes.md that stands behind these words."""
    text = (ROOT / "docs" / "kubernetes.md").read_text()
    found = re.search(r"```yaml\n(.*?)```", text[text.index(after) :], re.DOTALL)
    assert found is not None
    return found[1]


def test_the_kustomization_of_the_documentation_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cirrostream").symlink_to(ROOT)
    (tmp_path / "kustomization.yaml").write_text(block("A kustomization of your own"))
    found = render(tmp_path)
    location = named("ConfigMap", "cirrostream-table", among=found)["data"]["CIRROSTREAM_LANCE_URI"]
    assert start_of_sink(location, monkeypatch) == (Exit.DONE, "")
    images = {one["image"] for each in of_kind("Deployment", "StatefulSet", among=found) for one in containers(each)}
    assert images == {f"registry.example.com/cirrostream:{VERSION}-{kind}" for kind in ("cpu", "cuda")}
    assert named("ServiceAccount", "cirrostream-sink", among=found)["metadata"]["annotations"]


def test_the_commands_of_the_documentation_name_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "cirrostream").symlink_to(ROOT)
    (tmp_path / "kustomization.yaml").write_text(block("A kustomization of your own"))
    text = (ROOT / "docs" / "kubernetes.md").read_text()
    ((source, target),) = re.findall(r"^cp -r (\S+) (\S+)$", text, re.MULTILINE)
    shutil.copytree(tmp_path / source, tmp_path / target)
    applied = re.findall(r"^kubectl apply --server-side -([fk]) (\S+)$", text, re.MULTILINE)
    assert len(applied) == 4
    for flag, path in applied:
        assert objects_of(tmp_path / path) if flag == "f" else render(tmp_path / path)
    images = {container["image"] for one in workloads() if one["kind"] == "Job" for container in containers(one)}
    assert images == {f"registry.example.com/cirrostream:{VERSION}-cpu"}


def second_cluster(folder: Path) -> list[Object]:
    """What runs in another cluster on the same Kafka, as docs/kubernetes.md says it."""
    copied = shutil.copytree(FOLDER / "base" / "stages", folder / "stages")
    (said,) = objects_of(copied / "kustomization.yaml")
    for name in ("sink", "lag", "chunk"):
        said["resources"].remove(f"{name}.yaml")
    of_chunk = [one for one in said["replacements"] if one["targets"][0]["select"]["name"] == "cirrostream-chunk"]
    said["replacements"] = [one for one in said["replacements"] if one not in of_chunk]
    said["patches"] = yaml.safe_load(block("Several clusters on one"))
    (copied / "kustomization.yaml").write_text(yaml.safe_dump(said))
    return render(copied)


def test_a_second_cluster_embeds_for_the_kafka_of_the_first(tmp_path: Path) -> None:
    found = second_cluster(tmp_path)
    assert [ids(one) for one in found if "template" in one.get("spec", {})] == ["StatefulSet/cirrostream-embed"]
    address = named("ConfigMap", "cirrostream-kafka", among=found)["data"]["KAFKA_BOOTSTRAP_SERVERS"]
    (scaled,) = of_kind("ScaledObject", among=found)
    assert scaled["spec"]["triggers"][0]["metadata"]["bootstrapServers"] == address
    names, kafka = named("NetworkPolicy", "cirrostream-kafka", among=found)["spec"]["egress"]
    assert {port["port"] for port in names["ports"]} == {53}
    assert kafka == {"ports": [{"protocol": "TCP", "port": int(address.split(":")[1])}]}, "no pod of this cluster"
    assert kafka["ports"][0]["port"] == named("Kafka", "cirrostream")["spec"]["kafka"]["listeners"][-1]["port"]


def test_the_patches_for_a_bucket_with_keys_reach_whoever_opens_the_table(tmp_path: Path) -> None:
    (tmp_path / "cirrostream").symlink_to(ROOT)
    patches = f"resources: [cirrostream/deploy/kubernetes/overlays/cpu]\npatches:\n{block('S3 elsewhere')}"
    (tmp_path / "kustomization.yaml").write_text(patches)
    found = render(tmp_path)
    for name in ("cirrostream-sink", "cirrostream-toolbox"):
        (container,) = pod(named("Deployment", name, among=found))["containers"]
        assert {"secretRef": {"name": "my-bucket"}} in container["envFrom"]
    rule, _ = named("NetworkPolicy", "cirrostream-store", among=found)["spec"]["egress"]
    assert {"protocol": "TCP", "port": 9000} in rule["ports"]


def test_a_second_cluster_gives_its_members_other_names(tmp_path: Path) -> None:
    (container,) = pod(named("StatefulSet", "cirrostream-embed", among=second_cluster(tmp_path)))["containers"]
    names = [entry["name"] for entry in container["env"]]
    said = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert said["CIRROSTREAM_GROUP_INSTANCE_ID"] == "second-$(POD)"
    assert names.index("POD") < names.index("CIRROSTREAM_GROUP_INSTANCE_ID"), "$(POD) is what stands before it"
    assert len(names) == len(set(names)) == 6
