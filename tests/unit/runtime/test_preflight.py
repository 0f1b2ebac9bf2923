"""What a cluster is refused for, and in which words; how many workers auto means. The asking is in tests/e2e."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from ganaug_ray.config import GanConfig
from ganaug_ray.config.loader import load_job
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError
from ganaug_ray.runtime import cluster, preflight
from ganaug_ray.runtime.hardware import Hardware, NodeResources
from ganaug_ray.runtime.preflight import Node, NodeReport
from ganaug_ray.runtime.resources import choose_worker_count
from tests.conftest import DIGITS, TINY

HERE = {"ray": "2.60.0", "torch": "2.14.1"}
FINE = Node("10.0.0.1", NodeReport(HERE), {"CPU": 4.0})


def test_healthy_node_is_not_mentioned() -> None:
    """A node without faults is not mentioned."""
    assert preflight.find_node_faults([FINE], HERE) == []


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (NodeReport({**HERE, "torch": "2.13.0"}), ["torch 2.13.0", "this process torch 2.14.1", "install the same"]),
        (NodeReport(HERE, memory=0.97), ["97% of its memory", "stop other programs there"]),
        (NodeReport(HERE, disk=0.99), ["99% full", "free some space"]),
        (
            NodeReport(HERE, output="does not see what this process wrote to /runs/x"),
            ["/runs/x", "--out", "all nodes see"],
        ),
        ("did not answer within 180 seconds", ["did not answer"]),
    ],
)
def test_node_fault_is_one_clear_sentence(report: NodeReport | str, words: list[str]) -> None:
    """Every fault of a node is one sentence that names the node and says what to do."""
    (sentence,) = preflight.find_node_faults([FINE, Node("10.0.0.2", report, {"CPU": 4.0})], HERE)
    assert sentence.startswith("node 10.0.0.2: ")
    assert all(word in sentence for word in words), sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("settings", "nodes", "most", "gpus", "words"),
    [
        (["gan.workers=8", "gan.min_workers=5"], [{"CPU": 4}], {}, None, ["gan.min_workers 5", "4 or fewer"]),
        (["classifier.workers=8", "classifier.min_workers=5"], [{}], {"CPU": 4}, None, ["classifier.min_workers 5"]),
        (
            ["classifier.workers=4", "classifier.min_workers=3"], [{"CPU": 9, "GPU": 2}], {}, None,
            ["classifier.min_workers 3", "room for 2 workers"],
        ),
        (["gan.workers=2", "gan.min_workers=2"], [{"CPU": 1, "GPU": 8}, {"CPU": 9}], {}, None, ["room for 1 worker"]),
        ([], [{"CPU": 4}], {}, "8", ["GANAUG_GPUS) 8", "the cluster has 0"]),
        ([], [{"CPU": 4}], {}, "many", ["GANAUG_GPUS) many"]),
        ([], [{}], {}, None, ["no node declares a whole CPU", "--num-cpus"]),
        ([], [{"GPU": 1}, {"CPU": 4}], {}, None, ["a CPU beside its GPU"]),
    ],
)  # fmt: skip
def test_insufficient_cluster_is_refused(
    settings: list[str], nodes: list[dict], most: dict, gpus: str | None, words: list[str]
) -> None:
    """A job that insists on more than the cluster has is refused at once instead of waiting for ever."""
    job = load_job(DIGITS, [*TINY, *settings])
    found = preflight.find_shortages(job, Hardware.from_ray(nodes, most), gpus)
    assert any(all(word in sentence for word in words) for sentence in found), found


def test_autoscaler_resources_count_as_available() -> None:
    """A job may insist on all that the cluster has, including what an autoscaler would add; more workers are fewer."""
    job = load_job(DIGITS, [*TINY, "gan.workers=4", "gan.min_workers=4"])
    assert preflight.find_shortages(job, Hardware.of_one_machine(4), None) == []
    fewer = load_job(DIGITS, [*TINY, "gan.workers=8"])
    assert preflight.find_shortages(fewer, Hardware.of_one_machine(4), None) == []
    head_alone = Hardware.from_ray([{}], {"CPU": 64, "GPU": 8})
    assert preflight.find_shortages(job, head_alone, "8") == []


def test_work_without_a_job_needs_room_for_a_process() -> None:
    """To predict on a cluster whose nodes declare no whole CPU would wait for ever: it is refused, as a job is."""
    without = Hardware.from_ray([{"CPU": 0}], {})
    assert len(preflight.find_shortages(None, without, None)) == 1
    gpus_alone = Hardware.from_ray([{"CPU": 8}, {"GPU": 4}], {"CPU": 8, "GPU": 4})
    assert "a CPU beside its GPU" in preflight.find_shortages(None, gpus_alone, None)[0]
    assert preflight.find_shortages(None, Hardware.of_one_machine(1), None) == []


def test_unshared_output_folder_is_detected(tmp_path: Path) -> None:
    """An output folder that a node does not share is recognised as another folder."""
    shared, other = Folder.from_uri(tmp_path / "shared").create(), Folder.from_uri(tmp_path / "other").create()
    shared.write_bytes("mark", b"mark")
    assert preflight.find_folder_fault(shared, "mark") == ""
    assert "does not see" in preflight.find_folder_fault(other, "mark")
    assert "does not see" in preflight.find_folder_fault(Folder.from_uri(tmp_path / "none"), "mark")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["mark"]


def test_node_inspects_itself_and_output_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node reports its versions, its memory, its disk and whether it sees the output folder."""
    context = SimpleNamespace(get_temp_dir=lambda: str(tmp_path))
    monkeypatch.setattr(preflight.ray, "get_runtime_context", lambda: context)
    shared = Folder.from_uri(tmp_path / "shared").create()
    shared.write_bytes("mark", b"mark")
    fine = preflight.inspect_node(str(shared), "mark")
    assert (fine.versions, fine.output) == (preflight.collect_versions(), "")
    assert 0 < fine.memory < 1
    assert 0 < fine.disk < 1
    assert "does not see" in preflight.inspect_node(str(tmp_path / "other"), "mark").output


def test_full_output_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An output folder on a full disk is refused before any work."""
    out = Folder.from_uri(tmp_path)
    assert preflight.find_disk_shortage(out) == []
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: SimpleNamespace(free=3e8))
    (sentence,) = preflight.find_disk_shortage(out)
    assert sentence.startswith(f"{tmp_path}: 300 MB are free there")
    monkeypatch.setattr(preflight, "collect_reports", lambda out, with_gpus: [FINE])
    monkeypatch.setattr(preflight, "collect_versions", lambda: HERE)
    with pytest.raises(UserError, match="300 MB are free"):
        preflight.check_cluster(None, out, Hardware.of_one_machine(4), None)


def test_all_faults_are_reported_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """All faults are reported at once, and a single one is enough to refuse the cluster."""
    job = load_job(DIGITS, [*TINY, "gan.workers=8", "gan.min_workers=8"])
    most = Hardware.of_one_machine(4)
    ill = [Node(f"10.0.0.{n}", NodeReport(preflight.collect_versions(), disk=0.99), {"CPU": 4.0}) for n in range(4)]
    well = Node("10.0.0.9", NodeReport(preflight.collect_versions()), {"CPU": 4.0})
    for nodes, words in (
        (ill, r"(node .*\n){3}\.\.\. and 2 more"),
        ([well], "^gan.min_workers 8"),
        ([well, *ill[:1]], "full"),
    ):
        monkeypatch.setattr(preflight, "collect_reports", lambda out, with_gpus, nodes=nodes: nodes)
        with pytest.raises(UserError, match=words):
            preflight.check_cluster(job, None, most, None)
    monkeypatch.setattr(preflight, "collect_reports", lambda out, with_gpus: [well])
    preflight.check_cluster(load_job(DIGITS, TINY), None, most, None)


def test_versions_distinguish_modified_clones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two clones of the package with different code have different versions."""
    (tmp_path / "cli.py").write_text("one")
    monkeypatch.setattr(preflight, "__file__", str(tmp_path / "runtime" / "preflight.py"))
    before = preflight.collect_versions()
    (tmp_path / "cli.py").write_text("two")
    after = preflight.collect_versions()
    assert [name for name in before if before[name] != after[name]] == ["ganaug-ray"]


@pytest.mark.parametrize(
    ("slots", "many", "batch", "expected"),
    [(8, 1, 128, 8), (48, 1, 64, 4), (8, 8, 64, 1), (8, 3, 128, 8), (1, 1, 64, 1), (3, 1, 48, 3), (3, 1, 30, 1)],
)
def test_auto_workers_divide_batch_size(slots: int, many: int, batch: int, expected: int) -> None:
    """With auto: as many workers as the cluster has, as divide the batch, and as leave each 16 rows of it."""
    config = GanConfig(steps=1, batch_size=batch, workers="auto")
    for hardware in (Hardware.of_one_machine(slots), Hardware.of_one_machine(100, slots)):
        assert choose_worker_count(config, many, hardware) == expected


def test_auto_workers_leave_two_cores_to_one() -> None:
    """On two cores a second rank costs more than it brings; two GPUs or two machines are both used."""
    config = GanConfig(steps=1, batch_size=64, workers="auto")
    assert choose_worker_count(config, 1, Hardware.of_one_machine(2)) == 1
    assert choose_worker_count(config, 1, Hardware.of_one_machine(4, 2)) == 2
    assert choose_worker_count(config, 1, Hardware((NodeResources(1), NodeResources(1)))) == 2


def test_workers_accept_number_or_auto() -> None:
    """The setting workers accepts a whole number from 1 or auto, and nothing else."""
    assert load_job(DIGITS, ["gan.workers=auto", "classifier.workers=auto"]).gan.workers == "auto"
    for wrong in ("0", "many", "2.0", "true"):
        with pytest.raises(UserError, match=r"--set gan.workers: found .*a whole number of at least 1, or auto"):
            load_job(DIGITS, [f"gan.workers={wrong}"])


@pytest.mark.parametrize("has", [False, True])
def test_multi_worker_trials_need_dashboard(has: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """There they leave their placement groups behind, and the next trials wait for ever."""
    url = "127.0.0.1:8265" if has else None
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setattr(cluster, "_probe_address", lambda address: None)
    monkeypatch.setattr(cluster.ray, "init", lambda **given: SimpleNamespace(dashboard_url=url))
    monkeypatch.setattr(cluster, "read_hardware", lambda cpu_only: Hardware.of_one_machine(8))
    monkeypatch.setattr(preflight, "check_cluster", lambda *given: None)
    cluster.connect()
    if has:
        cluster.connect(dashboard=True)
        return
    with pytest.raises(UserError, match="runs without its dashboard, which trials with workers of their own need"):
        cluster.connect(dashboard=True)
