"""The registry: who becomes champion, who is refused, and the way back."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import fs as pafs
from safetensors.torch import save

from ganaug_ray import cli
from ganaug_ray.classify import networks
from ganaug_ray.config import Job
from ganaug_ray.config.loader import load_job
from ganaug_ray.core import model_registry
from ganaug_ray.core.checkpoint import pack_states
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import ModelRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import StageFailed, UserError
from ganaug_ray.pipeline.pipeline import Pipeline
from ganaug_ray.verdict import promotion_gate
from tests.conftest import DIGITS, TINY
from tests.helpers import records
from tests.helpers.serving import promote


@pytest.fixture
def copied(experiment: Run, tmp_path: Path) -> Run:
    """The finished experiment, to be changed."""
    shutil.copytree(str(experiment.root), tmp_path / "copied", symlinks=True)
    return Run(Folder.from_uri(tmp_path / "copied"))


def worse(folder: Folder, out: Folder) -> Folder:
    """A model like another, that learned nothing."""
    record = ModelRecord.read(folder)
    network = networks.build_network(
        "cnn", record.channels, len(record.classes), 0.0, networks.NetworkInput.from_spec(record)
    )
    torch.nn.init.zeros_(list(network.parameters())[-2])  # it says one class, whatever it sees
    out.create().write_bytes("model.safetensors", save(pack_states({"network": network})))
    out.write_json("model.json", {**record.to_json(), "hash": "learned nothing"})
    return out


def with_champion(run: Run, change: Callable[[Folder], None] = lambda version: None) -> Folder:
    """A registry whose champion learned nothing and says to have seen no image; ``change`` alters its version."""
    place = run.root / "shared"
    model = worse(model_registry.find_champion_model(run.registry), run.root / "worse")
    record = model_registry.promote_model(place, model, {"arm": "another's"})
    change(place / "versions" / str(record["version"]))
    return place


def pipeline(run: Run, place: Folder) -> Pipeline:
    return Pipeline(load_job(DIGITS, [*TINY, f"registry={place}"]), run, Terminal())


def test_better_model_becomes_champion(copied: Run) -> None:
    """A better model replaces the champion of a shared registry, and the record says why."""
    place = with_champion(copied)
    pipeline(copied, place).promote_champion()
    record = place.read_json("champion.json")
    assert record["version"] == 2
    change = record["changes"][-1]
    assert (change["why"], change["instead_of"]) == ("promoted", 1)
    against = change["against"]
    assert (against["rows"], against["left_out"]) == (898, 0)
    assert against["candidate"] > against["champion"]


def test_worse_model_needs_force(copied: Run, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    """A worse model is refused unless forced, and claims no version."""
    place = copied.root / "shared"
    model_registry.promote_model(place, model_registry.find_champion_model(copied.registry), {"arm": "another's"})
    champion = copied.root.read_json("verdict.json")["champion"]
    worse(model_registry.find_champion_model(copied.registry), copied.locate_model(champion["arm"], champion["seed"]))
    command = ["ganaug", "promote", str(DIGITS), "--out", str(copied.root), "--set", f"registry={place}"]
    command += [part for setting in TINY for part in ("--set", setting)]

    def code(*more: str) -> int:
        monkeypatch.setattr(sys, "argv", [*command, *more])
        try:
            cli.main()
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    assert code() == 1
    said = capfd.readouterr().err
    assert "version 1 stays champion" in said
    assert "--force" in said
    assert (place / "versions").list_folders() == ["1"]
    assert code("--force") == 0
    record = place.read_json("champion.json")
    assert (record["version"], record["changes"][-1]["why"]) == (2, "forced")


def test_champion_training_rows_are_excluded(copied: Run, tiny_job: Job) -> None:
    """Test images that the champion was trained on do not count in the comparison."""
    test = copied.dataset.read_table("split.parquet", ["id", "split"]).to_pylist()
    ids = [row["id"] for row in test if row["split"] == "test"]

    def seen(some: list[str]) -> Callable[[Folder], None]:
        return lambda version: version.write_table(promotion_gate.SEEN_FILE, pa.table({"id": some}))

    place = with_champion(copied, seen(ids[:800]))
    pipeline(copied, place).promote_champion()
    against = place.read_json("champion.json")["changes"][-1]["against"]
    assert (against["rows"], against["left_out"]) == (98, 800)
    own = {row["id"] for row in test if row["split"] in ("train", "val")}
    version = model_registry.find_champion_model(place)
    assert set(version.read_table(promotion_gate.SEEN_FILE)["id"].to_pylist()) == own

    shutil.rmtree(str(place))
    with pytest.raises(UserError, match=r"all test images.*--force"):
        pipeline(copied, with_champion(copied, seen(ids))).promote_champion()


def test_incomparable_models_need_force(copied: Run) -> None:
    """Models of other classes or larger images cannot be compared, and replace each other only with --force."""

    def altered(**changes: object) -> Callable[[Folder], None]:
        return lambda version: version.write_json("model.json", {**version.read_json("model.json"), **changes})

    classes = [f"{k}!" for k in range(10)]
    for change, says in ((altered(classes=classes), "other classes"), (altered(image_size=64), "64 pixels")):
        place = with_champion(copied, change)
        with pytest.raises(UserError, match=rf"{says}.*--force"):
            pipeline(copied, place).promote_champion()
        pipeline(copied, place).promote_champion(force=True)
        assert place.read_json("champion.json")["changes"][-1]["why"] == "forced"
        shutil.rmtree(str(place))


def test_equal_model_passes_comparison() -> None:
    """A model that is as good as the champion passes, and one with a lower metric does not."""
    labels = np.array([0, 0, 1, 1])
    same = promotion_gate.compare_answers(labels, labels, labels, 2)
    assert not same.is_worse
    one_wrong = promotion_gate.compare_answers(labels, np.array([0, 0, 1, 0]), labels, 2)
    assert one_wrong.is_worse
    assert (one_wrong.candidate_alone, one_wrong.champion_alone) == (0, 1)
    assert "accuracy 0.750, the champion's 1.000" in one_wrong.sentence


def test_rollback_restores_previous_champion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    """A rollback goes back by one champion at a time, or to a version that is named."""
    experiment = Folder.from_uri(tmp_path / "pets")
    for seed in range(3):
        promote(experiment, seed)
    place = experiment / "registry"
    third = place.read_json("champion.json")["model"]
    monkeypatch.setattr(sys, "argv", ["ganaug", "rollback", str(experiment)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 0
    assert "version 2 is champion instead of 3" in capfd.readouterr().out
    record = place.read_json("champion.json")
    assert (record["version"], record["lineage"]["seed"]) == (2, 1)
    assert record["changes"][-1] | {"at": ""} == {
        "version": 2, "model": record["model"], "instead_of": 3, "why": "rolled back", "at": "",
    }  # fmt: skip
    assert model_registry.find_withdrawn_models(record["changes"]) == {third}
    assert model_registry.roll_back(place)["version"] == 1, "not to the one that was rolled back"
    with pytest.raises(UserError, match=r"no champion before version 1; give a version with --to \(others are 2, 3\)"):
        model_registry.roll_back(place)
    with pytest.raises(UserError, match="there is no version 7"):
        model_registry.roll_back(place, 7)
    assert model_registry.roll_back(place, 3)["version"] == 3
    assert promote(experiment, 4)["version"] == 4
    assert model_registry.roll_back(place)["version"] == 3


def test_rolled_back_model_needs_force(copied: Run) -> None:
    """A model that was rolled back is promoted again only with --force."""
    place = with_champion(copied)
    pipeline(copied, place).promote_champion()
    model_registry.roll_back(place)
    with pytest.raises(StageFailed, match=r"has been rolled back.*--force"):
        pipeline(copied, place).promote_champion()
    pipeline(copied, place).promote_champion(force=True)
    assert place.read_json("champion.json")["version"] == 3


def test_job_names_the_registry(copied: Run, tmp_path: Path) -> None:
    """An experiment uses the registry that its job names, relative to the job file."""
    place = with_champion(copied)
    copied.root.write_bytes("job.yaml", f"registry: {place}\n".encode())
    assert str(model_registry.resolve_model(str(copied.root))) == f"{place}/versions/1"
    text = "data: {source: sklearn:digits}\ngan: {steps: 1}\nclassifier: {steps: 1}\nregistry: ours\n"
    (tmp_path / "job.yaml").write_text(text)
    assert load_job(tmp_path / "job.yaml").registry == f"{tmp_path}/ours", "relative to the job file"


def test_parallel_promotions_get_separate_versions(tmp_path: Path) -> None:
    """Parallel promotions get a version each, and each is judged against the champion that it replaces."""
    place, judged = Folder.from_uri(tmp_path / "registry"), list[tuple[int, int | None]]()

    def one(seed: int) -> int:
        model = (Folder.from_uri(tmp_path) / str(seed)).create()
        model.write_bytes("model.safetensors", str(seed).encode())
        records.write_model(model, hash=str(seed))

        def judge(champion: dict | None) -> dict:
            judged.append((seed, None if champion is None else champion["version"]))
            return {"judged_by": judged[-1][1]}

        return model_registry.promote_model(place, model, {"seed": seed}, judge=judge)["changes"][-1]["version"]

    with ThreadPoolExecutor(8) as threads:
        versions = list(threads.map(one, range(24)))
    assert sorted(versions) == list(range(1, 25))
    for number in versions:
        folder = place / "versions" / str(number)
        assert folder.read_bytes("model.safetensors").decode() == folder.read_json("version.json")["model"]
    for change in place.read_json("champion.json")["changes"]:
        assert change["judged_by"] == change["instead_of"]


def test_object_store_versions_are_unique(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is not known to be one: numbers are claimed as where there is no lock, by objects that all see."""
    place = Folder(pafs.LocalFileSystem(), str(tmp_path / "registry"), uri="s3://bucket/registry")

    def write(self: Folder, name: str, content: bytes) -> None:
        Path(self.create().path, name).write_bytes(content)

    monkeypatch.setattr(Folder, "write_bytes", write)
    with ThreadPoolExecutor(8) as threads:
        numbers = list(threads.map(lambda _: model_registry.claim_version(place), range(40)))
    assert len(set(numbers)) == 40
