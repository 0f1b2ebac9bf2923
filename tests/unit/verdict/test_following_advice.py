"""The advice where a model does not become champion, followed with the words of the message."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from safetensors.torch import save
from typer.testing import CliRunner

from ganaug_ray import cli
from ganaug_ray.classify import networks
from ganaug_ray.config.loader import load_job
from ganaug_ray.core import model_registry
from ganaug_ray.core.checkpoint import pack_states
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import ModelRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.prepare import prepare_dataset
from ganaug_ray.errors import StageFailed, UserError
from ganaug_ray.verdict import promotion_gate
from tests.conftest import DIGITS, TINY
from tests.helpers import records
from tests.unit.core.test_registry import with_champion, worse


@pytest.fixture
def copied(experiment: Run, tmp_path: Path) -> Run:
    """The finished experiment, to be changed; the command line that promotes its model."""
    shutil.copytree(str(experiment.root), tmp_path / "my run", symlinks=True)
    return Run(Folder.from_uri(tmp_path / "my run"))


def refuse_next(run: Run, reason: str) -> Folder:
    """Give an experiment a registry that refuses its best model for a reason; return the registry."""

    def change(version: Folder) -> None:
        if reason == "other classes":
            record = version.read_json("model.json")
            version.write_json("model.json", record | {"classes": [f"{name}!" for name in record["classes"]]})
        elif reason == "has seen all test images":
            version.write_table(promotion_gate.SEEN_FILE, run.dataset.read_table("split.parquet", ["id"]))

    if reason != "stays champion":
        return with_champion(run, change)
    registry = run.root / "shared"
    best = model_registry.find_champion_model(run.registry)
    model_registry.promote_model(registry, best, {"arm": "another's"})
    champion = run.root.read_json("verdict.json")["champion"]
    worse(best, run.locate_model(champion["arm"], champion["seed"]))
    return registry


@pytest.mark.parametrize(
    "reason", ["other classes", "has seen all test images", "has been rolled back", "stays champion"]
)
def test_refused_model_is_promoted_by_command(copied: Run, reason: str) -> None:
    """A model that is not promoted, for whatever reason, is by the command in the message."""
    registry = refuse_next(copied, reason)
    command = ["promote", str(DIGITS), "--out", str(copied.root)]
    for setting in (*TINY, f"registry={registry}"):
        command += ["--set", setting]
    if reason == "has been rolled back":
        call(*command)
        model_registry.roll_back(registry)
    before = registry.read_json("champion.json")["version"]
    with pytest.raises((UserError, StageFailed), match=reason) as caught:
        call(*command)
    assert registry.read_json("champion.json")["version"] == before
    match = re.search("`(ganaug promote .*)` promotes it anyway", str(caught.value))
    assert match, caught.value
    call(*shlex.split(match[1])[1:])
    assert registry.read_json("champion.json")["version"] > before


def call(*arguments: str) -> None:
    """Call ganaug; raises what it ends with."""
    result = CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output


def write_model(folder: Folder, size: int) -> Folder:
    """Write an untrained model of the digits for images of a size."""
    wanted = networks.choose_input("cnn", size, None, False)
    network = networks.build_network("cnn", 1, 10, 0.0, wanted)
    folder.create().write_bytes("model.safetensors", save(pack_states({"network": network})))
    facts = {"classes": list("0123456789"), "image_size": size, **wanted.spec}
    records.write_model(folder, **facts)
    return folder


def test_images_of_the_size_of_the_champion_are_compared(copied: Run, tmp_path: Path) -> None:
    """A champion for larger images is compared with a model of an experiment that was prepared as advised."""
    champion = write_model(Folder.from_uri(tmp_path / "champion"), 40)
    ours = model_registry.find_champion_model(copied.registry)
    with pytest.raises(UserError, match="takes images of 40 pixels") as caught:
        promotion_gate.compare_with_champion(copied, ours, champion, "accuracy")
    match = re.search(r"prepare with (data\.image_size=\d+), in another --out$", str(caught.value))
    assert match, caught.value
    job = load_job(DIGITS, [*TINY, match[1]])
    with pytest.raises(UserError, match="give another --out"):
        copied.claim_folder(job)
    other = Run(Folder.from_uri(tmp_path / "other"))
    other.claim_folder(job)
    prepare_dataset(job.data, other.dataset)
    model = write_model(other.locate_model("real+classic", 0), 40)
    assert ModelRecord.read(model).image_size == 40
    assert promotion_gate.compare_with_champion(other, model, champion, "accuracy").rows == 898
