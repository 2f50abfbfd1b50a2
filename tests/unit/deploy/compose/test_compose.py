"""The compose files and the image: valid, nothing open, nothing that the project does not have. No Docker is needed."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from sinks.memory import AT_START
from tests import ROOT
from tests.composed import BASE, FOLDER, OVERRIDES, argv, dockerfile, ours, project, services, used_variables
from tests.deployed import check_command, check_environment, split_command
from tests.programs import needed

PROJECTS = [(BASE,), *((BASE, override) for override in OVERRIDES), (BASE, *OVERRIDES)]
STAGES = {"producer", "chunk", "embed", "sink", "lag"}

KAFKA_IMAGE = {"KAFKA_HEAP_OPTS", "CLUSTER_ID"}
"""What the start scripts of the image apache/kafka read themselves; every other KAFKA_… is a broker's property, and
tests/broker/test_compose_kafka.py starts one with them."""
KAFKA_PROPERTIES = {
    "advertised.listeners", "allow.everyone.if.no.acl.found", "authorizer.class.name", "auto.create.topics.enable",
    "controller.listener.names", "controller.quorum.voters", "default.replication.factor", "inter.broker.listener.name",
    "listener.name.remote.max.connections", "listener.name.remote.sasl.enabled.mechanisms",
    "listener.name.remote.scram-sha-512.sasl.jaas.config",
    "listener.name.remote.ssl.keystore.location", "listener.name.remote.ssl.keystore.type",
    "listener.security.protocol.map", "listeners", "log.dirs", "log.segment.bytes", "message.max.bytes",
    "min.insync.replicas", "node.id", "offsets.retention.minutes", "offsets.topic.replication.factor", "process.roles",
    "replica.fetch.max.bytes", "share.coordinator.state.topic.min.isr",
    "share.coordinator.state.topic.replication.factor", "super.users", "transaction.state.log.min.isr",
    "transaction.state.log.replication.factor",
}  # fmt: skip
"""Properties of Kafka 4.3's brokers (`KafkaConfig values` in their log), and those of listeners and authorizers."""
GRAFANA = {
    "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES", "GF_ANALYTICS_CHECK_FOR_UPDATES", "GF_ANALYTICS_REPORTING_ENABLED",
    "GF_AUTH_ANONYMOUS_ENABLED", "GF_AUTH_ANONYMOUS_ORG_ROLE", "GF_AUTH_BASIC_ENABLED", "GF_AUTH_DISABLE_LOGIN_FORM",
    "GF_PLUGINS_PREINSTALL_DISABLED", "GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION", "GF_USERS_ALLOW_SIGN_UP",
}  # fmt: skip
"""GF_<section>_<key> of Grafana's conf/defaults.ini."""


@pytest.fixture(scope="module", params=PROJECTS, ids="+".join)
def all_services(request: pytest.FixtureRequest) -> dict[str, Mapping[str, Any]]:
    """The services of compose.yaml, alone, with each override, and with all of them."""
    return services(*request.param)


@pytest.mark.parametrize("names", [*PROJECTS, *((override,) for override in OVERRIDES)], ids="+".join)
def test_the_files_are_valid_by_the_schema_of_the_compose_specification(names: tuple[str, ...]) -> None:
    schema = json.loads((files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json").read_text())
    raw = yaml.safe_load((FOLDER / names[0]).read_text())
    jsonschema.Draft7Validator(schema).validate(raw if len(names) == 1 else project(*names))


def test_one_up_starts_the_whole_pipeline_and_what_watches_it() -> None:
    started = {name for name, service in services(BASE).items() if "profiles" not in service}
    assert started == STAGES | {"kafka", "prometheus", "alertmanager", "grafana"}


def test_every_command_and_variable_of_our_containers_exists(all_services: dict[str, Mapping[str, Any]]) -> None:
    for service in ours({"services": all_services}).values():
        check_command(argv(service))
        check_environment(split_command(argv(service))[0], service["environment"])


@pytest.mark.parametrize("reader", ["cirrus", "wikitext", "jsonl", "parquet"])
def test_each_reader_of_a_folder_exists(reader: str) -> None:
    producer = services(BASE, "compose.dumps.yaml", READER=reader)["producer"]
    check_command(argv(producer))
    check_environment(f"producers.{reader}", producer["environment"])


def test_kafka_and_grafana_know_their_variables(all_services: dict[str, Mapping[str, Any]]) -> None:
    for name in set(all_services["kafka"]["environment"]) - KAFKA_IMAGE:
        assert name.startswith("KAFKA_")
        assert property_of(name) in KAFKA_PROPERTIES, name
    assert set(all_services["grafana"]["environment"]) - {"PROMETHEUS_URL"} <= GRAFANA
    assert "$PROMETHEUS_URL" in (ROOT / "grafana/provisioning/datasources/prometheus.yaml").read_text()


def property_of(variable: str) -> str:
    """The property that the image makes of a variable: `_` is a dot, `__` an underscore, `___` a dash."""
    dashed = variable.removeprefix("KAFKA_").lower().replace("___", "-")
    return re.sub("(?<!_)_(?!_)", ".", dashed).replace("__", "_")


def test_grafana_has_no_account_that_somebody_could_log_in_to() -> None:
    environment = services(BASE)["grafana"]["environment"]
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert environment["GF_AUTH_BASIC_ENABLED"] == "false"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"


def test_ports_are_published_on_loopback_alone_but_for_the_listener_with_tls_and_a_password(
    all_services: dict[str, Mapping[str, Any]],
) -> None:
    published = [(name, port) for name, service in all_services.items() for port in service.get("ports", [])]
    outside = [(name, port) for name, port in published if not port.startswith("127.0.0.1:")]
    assert all(service.get("network_mode") is None for service in all_services.values())
    if outside:
        assert outside == [("kafka", "0.0.0.0:9094:9094")]
        environment = all_services["kafka"]["environment"]
        assert "REMOTE://:9094" in environment["KAFKA_LISTENERS"]
        assert "REMOTE:SASL_SSL" in environment["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"]
        assert environment["KAFKA_ALLOW_EVERYONE_IF_NO_ACL_FOUND"] == "false"


def test_without_tls_nothing_is_published_beyond_loopback() -> None:
    for override in [name for name in OVERRIDES if name != "compose.tls.yaml"]:
        for service in services(BASE, override).values():
            assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_every_image_is_pinned_by_its_tag(all_services: dict[str, Mapping[str, Any]]) -> None:
    for service in all_services.values():
        name, _, tag = service["image"].partition(":")
        assert tag
        assert tag != "latest"
        assert "." not in name.split("/")[0], "an image by its name, not by a registry's address"
        assert name == "cirrostream" or re.fullmatch(r"v?\d+\.\d+\.\d+", tag)


def test_secrets_of_the_settings_go_to_those_alone_who_need_them() -> None:
    started = services(BASE, "compose.tls.yaml")
    emptied = {
        secret: {name for name, service in started.items() if service.get("environment", {}).get(secret) == ""}
        for secret in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY")
    }
    assert emptied == {
        "HF_TOKEN": {"producer", "access"},
        "AWS_SECRET_ACCESS_KEY": {"chunk", "embed", "lag", "access"},
    }


def test_every_image_can_be_named_with_its_digest() -> None:
    script = (FOLDER / "pin-images.sh").read_text()
    pinned = dict(re.findall(r"\[(\w+)\]=(\S+)", script))
    digest = "@sha256:" + "0" * 64
    variables = {name: image.removeprefix("python:") + digest for name, image in pinned.items()}
    before, after = services(BASE), services(BASE, **variables)
    for name, service in before.items():
        if not service["image"].startswith("cirrostream:"):
            assert after[name]["image"] == service["image"] + digest
    assert after["chunk"]["build"]["args"]["PYTHON_TAG"].endswith(digest)
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


def test_kafka_is_of_the_version_that_the_tests_run_on() -> None:
    locked = json.loads((ROOT / "deploy/local/kafka.lock.json").read_text())["endpoint"]
    assert services(BASE)["kafka"]["image"].removeprefix("apache/kafka:") == locked.split("+")[0].rsplit(":", 1)[1]


def test_no_secret_is_written_into_a_file(all_services: dict[str, Mapping[str, Any]]) -> None:
    for service in all_services.values():
        for name, value in service.get("environment", {}).items():
            assert value == "" or not re.search("PASSWORD|SECRET|TOKEN|CREDENTIAL", name), name
    for path in filter(Path.is_file, FOLDER.iterdir()):
        said = "\n".join(line for line in path.read_text().splitlines() if not line.startswith("#"))
        assert not re.search(r"BEGIN .*PRIVATE|(?i:password|secret|token)[\w-]*(=|: *)['\"]?\w{4}", said), path
    assert {"/.env", "/secrets/"} <= set((FOLDER / ".gitignore").read_text().split())


def test_every_container_is_bounded_and_has_no_rights_that_it_does_not_need(
    all_services: dict[str, Mapping[str, Any]],
) -> None:
    for name, service in all_services.items():
        assert service.get("mem_limit"), f"{name} has no memory limit"
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["restart"] in ("unless-stopped", "on-failure", "no"), name
        assert service["logging"]["options"]["max-size"], f"the log of {name} would fill the disk"
        assert service["read_only"] or name == "kafka"
        assert "privileged" not in service
        assert not any("docker.sock" in str(volume) for volume in service.get("volumes", []))


def test_whoever_needs_kafka_waits_until_it_is_healthy(all_services: dict[str, Mapping[str, Any]]) -> None:
    for service in ours({"services": all_services}).values():
        assert service["depends_on"]["kafka"] == {"condition": "service_healthy"}
    assert all_services["kafka"]["healthcheck"]["test"]


def test_every_lasting_container_has_a_health_check(all_services: dict[str, Mapping[str, Any]]) -> None:
    image_has_one = "\nHEALTHCHECK " in dockerfile()
    for name, service in all_services.items():
        check = service.get("healthcheck", {})
        brief = name in ("tools", "access")  # they end by themselves
        assert check == {"disable": True} if brief else check.get("test") or image_has_one, name


def test_stages_can_be_scaled() -> None:
    for name in STAGES:
        service = services(BASE)[name]
        assert not {"container_name", "hostname", "ports"} & set(service), name
        assert "CIRROSTREAM_GROUP_INSTANCE_ID" not in service["environment"], "replicas would share one name"


def test_stages_have_longer_to_stop_than_the_ten_seconds_that_they_take() -> None:
    for name in STAGES:
        assert int(services(BASE)[name]["stop_grace_period"].removesuffix("s")) > 10


def test_the_writer_is_started_as_its_memory_needs_it_and_not_again_when_it_was_replaced() -> None:
    sink = services(BASE)["sink"]
    assert AT_START.items() <= sink["environment"].items()
    assert sink["command"][0] == "one-writer"


def test_each_embedder_has_a_gpu_of_its_own() -> None:
    embedders = {name: s for name, s in services(BASE, "compose.gpu.yaml").items() if name.startswith("embed")}
    gpus = [s["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"] for s in embedders.values()]
    assert gpus == [[str(number)] for number in range(8)]
    assert {s["image"] for s in embedders.values()} == {"cirrostream:cuda"}
    for count in (2, 4, 8):
        started = [name for name, s in embedders.items() if f"gpus-{count}" in s.get("profiles", [f"gpus-{count}"])]
        assert len(started) == count


def test_every_file_that_is_mounted_is_there(all_services: dict[str, Mapping[str, Any]]) -> None:
    for service in all_services.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (FOLDER / source).exists(), source
            elif not source.startswith("/"):
                assert source in project(BASE)["volumes"], source


def test_prometheus_finds_every_replica_of_every_stage() -> None:
    jobs = {job["job_name"]: job for job in yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]}
    found = {job: set(jobs[job]["dns_sd_configs"][0]["names"]) for job in ("cirrostream", "cirrostream-lag")}
    assert found == {"cirrostream": STAGES - {"lag"}, "cirrostream-lag": {"lag"}}
    ports = {jobs[job]["dns_sd_configs"][0]["port"] for job in found}
    assert {int(port) for port in re.findall(r"CIRROSTREAM_METRICS_PORT=(\d+)", dockerfile())} == ports
    assert "CIRROSTREAM_METRICS_HOST=0.0.0.0" in dockerfile()
    for name, service in services(BASE, "compose.gpu.yaml").items():
        if name.startswith("embed-"):
            assert service["networks"]["default"]["aliases"] == ["embed"]


def test_prometheus_reads_the_rules_where_they_are_mounted() -> None:
    mounted = [volume.split(":") for volume in services(BASE)["prometheus"]["volumes"] if volume.startswith(".")]
    where = {inside: FOLDER / outside for outside, inside, _ in mounted}
    (pattern,) = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["rule_files"]
    assert list(where[str(Path(pattern).parent)].glob(Path(pattern).name))


@pytest.mark.parametrize(
    ("program", "arguments", "package"),
    [
        ("promtool", ["check", "config", "--syntax-only", "prometheus.yml"], "prometheus"),
        ("amtool", ["check-config", "alertmanager.yml", "alertmanager.slack.yml"], "prometheus-alertmanager"),
    ],
)
def test_the_monitors_take_their_configuration(program: str, arguments: list[str], package: str) -> None:
    needed(program, f"install Debian's package {package}")
    done = subprocess.run([program, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_example_environment_has_every_variable_of_the_files_and_only_what_exists() -> None:
    listed = set(re.findall(r"^#([A-Z_]+)=", (FOLDER / ".env.example").read_text(), re.MULTILINE))
    used = {name for file in (BASE, *OVERRIDES) for name in used_variables(file)}
    passed_on = {name for name in listed if name.startswith(("CIRROSTREAM_", "HF_"))}
    assert listed - passed_on - {"COMPOSE_FILE", "COMPOSE_PROFILES"} == used
    for name in passed_on:
        modules = (split_command(argv(service))[0] for service in ours(project(BASE)).values())
        assert any(reads(module, name) for module in modules), name


def reads(module: str, name: str) -> bool:
    try:
        check_environment(module, [name])
    except AssertionError:
        return False
    return True
