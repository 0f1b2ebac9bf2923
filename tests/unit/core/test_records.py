"""Records: what is refused when a file is read, and that files from before there was a version are read as ever."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ganaug_ray.core import experiment_dir
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import (
    DatasetRecord,
    GanRecord,
    ModelRecord,
    RunRecord,
    StageRecord,
    VerdictRecord,
    find_stage_record,
)
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError
from tests.helpers import records


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder.from_uri(tmp_path)


def change_file(folder: Folder, **changes: Any) -> None:
    """Change keys of dataset.json; those that become None are deleted."""
    content = folder.read_json("dataset.json") | changes
    folder.write_json("dataset.json", {key: value for key, value in content.items() if value is not None})


def test_written_record_is_read_back_equal(folder: Folder) -> None:
    """The file says of which version it is, and holds what was written."""
    written = records.write_dataset(folder, rare=["b"])
    assert DatasetRecord.read(folder) == written
    content = folder.read_json("dataset.json")
    assert content["version"] == 1
    assert written.to_json() == content
    assert {key: content[key] for key in (*records.DATASET, "rare")} == records.DATASET | {"rare": ["b"]}
    assert written.count_train_images() == 6


def test_missing_record_is_sought_or_refused(folder: Folder) -> None:
    """Where a stage may not be done, its record is sought; where it must be, its absence is an error."""
    assert DatasetRecord.find(folder) is None
    with pytest.raises(FileNotFoundError):
        DatasetRecord.read(folder)


def test_record_cannot_be_changed(folder: Folder) -> None:
    """A record is what the file says."""
    record = records.write_dataset(folder)
    with pytest.raises(ValidationError, match="frozen"):
        record.channels = 3  # type: ignore[misc]


def test_file_without_version_is_version_one(folder: Folder) -> None:
    """Experiments from before there was a version go on, and nothing is added to what they hold."""
    records.write_dataset(folder)
    change_file(folder, version=None)
    record = DatasetRecord.read(folder)
    assert record.version == 1
    assert "version" not in record.to_json()


def test_unknown_keys_are_kept(folder: Folder) -> None:
    """A newer file of the same version may have more in it."""
    records.write_dataset(folder)
    change_file(folder, licence="CC0")
    assert DatasetRecord.read(folder).to_json()["licence"] == "CC0"


def test_newer_version_is_refused(folder: Folder) -> None:
    """One line names the file, the two versions and the way out."""
    records.write_dataset(folder)
    change_file(folder, version=2, classes=None)
    with pytest.raises(UserError) as caught:
        DatasetRecord.find(folder)
    assert str(caught.value) == (f"{folder}/dataset.json is version 2; this ganaug reads up to 1: install a newer one")


def test_newer_ganaug_reads_newer_version(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused for its version is read by a ganaug that knows it, as are files of earlier ones."""
    records.write_dataset(folder)
    for version in (1, 2):
        change_file(folder, version=version)
        with monkeypatch.context() as patch:
            patch.setattr(DatasetRecord, "VERSION", 2)
            assert DatasetRecord.read(folder).version == version


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"classes": None}, "lacks classes"),
        ({"image_size": "32"}, "found '32' for image_size (input should be a valid integer)"),
        ({"counts": {"train": {"a": 1.5}}}, "found 1.5 for counts.train.a (input should be a valid integer)"),
        ({"version": "one"}, "found 'one' for version (input should be a valid integer)"),
    ],
)
def test_wrong_content_is_refused(folder: Folder, changes: dict[str, Any], problem: str) -> None:
    """A field that is missing or of a wrong type is named on one line, with what to do."""
    records.write_dataset(folder)
    change_file(folder, **changes)
    with pytest.raises(UserError) as caught:
        DatasetRecord.read(folder)
    assert str(caught.value) == (
        f"{folder}/dataset.json: {problem}; restore the file, or delete it and run its stage again"
    )


@pytest.mark.parametrize(("text", "problem"), [("{", "is not JSON"), ("[1]", "holds no JSON object")])
def test_broken_file_is_refused(folder: Folder, text: str, problem: str) -> None:
    """What is no object of JSON is named as such."""
    folder.write_bytes("dataset.json", text.encode())
    with pytest.raises(UserError, match=problem):
        DatasetRecord.read(folder)


def test_unreadable_record_is_not_written(folder: Folder) -> None:
    """No stage is marked as done by a file that nobody could read."""
    with pytest.raises(UserError, match="channels"):
        records.write_dataset(folder, channels=None)
    assert not folder.has_file("dataset.json")


@pytest.mark.parametrize(
    ("write", "kind"),
    [
        (records.write_dataset, DatasetRecord),
        (records.write_gan, GanRecord),
        (records.write_model, ModelRecord),
        (records.write_verdict, VerdictRecord),
    ],
)
def test_every_stage_file_has_a_record(
    folder: Folder, write: Callable[[Folder], StageRecord], kind: type[StageRecord]
) -> None:
    """A stage's file is read as the record that it was written as, and its name tells which that is."""
    written = write(folder)
    assert type(written) is kind
    assert kind.read(folder) == find_stage_record(folder, kind.FILE) == written
    assert folder.read_json(kind.FILE)["version"] == kind.VERSION


def test_other_markers_are_plain_records(folder: Folder) -> None:
    """A marker without a record of its own has what all have, and keeps the rest."""
    assert find_stage_record(folder, "board.json") is None
    content = experiment_dir.write_marker(folder, "board.json", "compare-models", 0.0, {"hash": "b", "models": [1]})
    record = find_stage_record(folder, "board.json")
    assert record is not None
    assert (record.stage, record.hash, record.inputs) == ("compare-models", "b", {})
    assert record.to_json() == content


def test_run_sums_up_finished_stages(folder: Folder) -> None:
    """run.json has the hashes and inputs of what is done, and nothing of the rest."""
    run = Run(folder)
    dataset = records.write_dataset(run.dataset.create())
    model = records.write_model(run.locate_model("real", 1).create())
    written = RunRecord.write(run)
    assert RunRecord.read(folder) == written
    assert list(written.stages) == ["dataset", "models/real/seed-1"]
    assert written.stages["dataset"].hash == dataset.hash
    assert written.stages["models/real/seed-1"].inputs == model.inputs
    assert set(folder.read_json("run.json")) == {"version", "stages", "versions"}
    assert "classes" not in folder.read_json("run.json")["stages"]["dataset"]
