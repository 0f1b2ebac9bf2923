"""Splits that are added to a finished experiment of one split leave it as it was; no Ray, and no training."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from ganaug_ray.augment import arms
from ganaug_ray.config import Job
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import DatasetRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.ingest.added_splits import refuse_added_splits
from ganaug_ray.errors import UserError
from ganaug_ray.pipeline import sequential_plan
from ganaug_ray.pipeline.missing_trainings import MissingTrainings, count_missing
from ganaug_ray.pipeline.pipeline import Pipeline
from ganaug_ray.pipeline.stage import StageContext
from ganaug_ray.runtime.executors import map_serially
from ganaug_ray.verdict.split_overlap import measure_overlap
from tests.helpers import records
from tests.helpers.labelled import lay_out

CLASS_SIZES = {"cat": 20, "dog": 10}


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StageContext, "open_executor", lambda context: nullcontext(map_serially))


def make_job(tmp_path: Path, sizes: dict[str, int] = CLASS_SIZES, **compare: int) -> Job:
    paths = [f"{name}/{number}.png" for name, size in sizes.items() for number in range(size)]
    source = str(lay_out(tmp_path / "pictures", *paths))
    data = {"source": source, "train_per_class": 4, "split": {"given": False}}
    return Job.model_validate(
        {"data": data, "gan": {"steps": 9}, "classifier": {"steps": 9}, "compare": {"seeds": 3, **compare}}
    )


def prepare(job: Job, run: Run) -> None:
    run.claim_folder(job)
    Pipeline(job, run, Terminal()).prepare_data()


def read_files(folder: Folder) -> dict[str, tuple[int, bytes]]:
    """When each file of a folder was written, and what is in it."""
    root = Path(str(folder))
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in root.rglob("*") if path.is_file()}


def read_deal(run: Run, number: int) -> dict[str, str]:
    table = run.locate_split(number).dataset.read_table("split.parquet")
    return dict(zip(table["id"].to_pylist(), table["split"].to_pylist(), strict=True))


def test_raised_splits_keep_the_first(tmp_path: Path) -> None:
    """The data set, the GAN and the models of the only split are kept as they are, and the others test other images."""
    run = Run(Folder.from_uri(tmp_path / "run"))
    job = make_job(tmp_path)
    prepare(job, run)
    for arm, seed in [(arms.TEACHER, 0), *arms.list_pairs(job)]:
        records.write_model(run.locate_model(arm, seed).create())
    records.write_gan(run.gan.create())
    before = {str(folder): read_files(folder) for folder in (run.dataset, run.gan, run.models)}

    more = make_job(tmp_path, splits=5)
    prepare(more, run)
    assert {str(folder): read_files(folder) for folder in (run.dataset, run.gan, run.models)} == before
    assert count_missing(more, run) == MissingTrainings(classifiers=4 * 7, gans=4)
    assert measure_overlap([read_deal(run, number) for number in range(5)]).tested == 30

    at_once = Run(Folder.from_uri(tmp_path / "at once"))
    prepare(more, at_once)
    for number in range(5):
        hashes = [DatasetRecord.read(one.locate_split(number).dataset).hash for one in (run, at_once)]
        assert hashes[0] == hashes[1]


@pytest.mark.parametrize(("size", "splits"), [(9, 4), (6, 3)])
def test_rare_class_allows_fewer_splits(tmp_path: Path, size: int, splits: int) -> None:
    """A comparison goes on with as many splits as its rarest class has two test images for."""
    run = Run(Folder.from_uri(tmp_path / "run"))
    job = make_job(tmp_path, {"cat": 20, "dog": size}, looks=4)
    prepare(job, run)
    assert [look.splits for look in sequential_plan.list_looks(job, run)] == [1, 1, splits, splits]
    most = make_job(tmp_path, {"cat": 20, "dog": size}, looks=4, splits=splits)
    words = f"class 'dog' has {size} usable images; the test sets of {splits + 1} splits need 2 each"
    assert words in sequential_plan.explain_no_splits(most, run)


def test_overlapping_tests_are_refused_early(tmp_path: Path) -> None:
    """A split that tests what another one would is told before anything is trained, and gets no splits by itself."""
    run = Run(Folder.from_uri(tmp_path / "run"))
    job = make_job(tmp_path, looks=4)
    prepare(job, run)
    table = run.dataset.read_table("split.parquet")
    turned = ["test" if part == "val" else "val" if part == "test" else part for part in table["split"].to_pylist()]
    run.dataset.write_table("split.parquet", table.set_column(1, "split", [turned]))
    with pytest.raises(UserError, match="another of 5 splits would test too"):
        refuse_added_splits(run.dataset, job.data, 5)
    with pytest.raises(UserError, match=r"leave compare\.splits as it was"):
        prepare(make_job(tmp_path, splits=5), run)
    assert [look.splits for look in sequential_plan.list_looks(job, run)] == [1, 1, 1, 1]
    assert "near-duplicates stay together" in sequential_plan.explain_no_splits(job, run)


def test_later_overlaps_are_refused_early(tmp_path: Path) -> None:
    """Splits of an older version whose images a new one tests again are told once they are prepared."""
    run = Run(Folder.from_uri(tmp_path / "run"))
    prepare(make_job(tmp_path, splits=2), run)
    dealt = run.locate_split(1).dataset
    table = dealt.read_table("split.parquet")
    ids = table["id"].to_pylist()
    tested = [id_ for id_, part in read_deal(run, 1).items() if part == "test"]
    other = next(id_ for id_, part in read_deal(run, 0).items() if part == "train" and id_ not in tested)
    parts = ["test" if id_ == other else part for id_, part in zip(ids, table["split"].to_pylist(), strict=True)]
    dealt.write_table("split.parquet", table.set_column(table.column_names.index("split"), "split", [parts]))
    for _ in range(2):  # the second time all data sets are there
        with pytest.raises(UserError, match="two splits have test images in common"):
            prepare(make_job(tmp_path, splits=5), run)


def test_two_splits_become_five(tmp_path: Path) -> None:
    """A comparison that begins with two splits goes on with as many as its images allow."""
    run = Run(Folder.from_uri(tmp_path / "run"))
    job = make_job(tmp_path, splits=2, looks=4)
    prepare(job, run)
    assert [look.splits for look in sequential_plan.list_looks(job, run)] == [2, 5, 5, 5]
