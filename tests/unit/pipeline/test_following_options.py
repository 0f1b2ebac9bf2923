"""The advice in a message on splits, minutes or images in memory, followed with the same images."""

from __future__ import annotations

import re
import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ganaug_ray import cli
from ganaug_ray.augment import arms
from ganaug_ray.config.loader import load_job
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store
from ganaug_ray.data.loading.resident_loader import refuse_elastic_streaming, refuse_streamed
from ganaug_ray.data.loading.sampler import Sampling
from ganaug_ray.errors import UserError
from ganaug_ray.pipeline import comparison_plan
from ganaug_ray.pipeline.pipeline import Pipeline
from ganaug_ray.pipeline.stage import StageContext
from ganaug_ray.runtime.executors import map_serially
from ganaug_ray.verdict.split_overlap import measure_overlap
from tests.conftest import DIGITS, TINY
from tests.unit.pipeline.test_added_splits import make_job, prepare, read_deal
from tests.unit.pipeline.test_comparison_plan import known, open_run, write_job
from tests.unit.pipeline.test_default_job import Machine, machine, photos

__all__ = ["known", "machine", "photos"]  # fixtures


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StageContext, "open_executor", lambda context: nullcontext(map_serially))


def test_overlapping_splits_are_dealt_in_another_folder(tmp_path: Path) -> None:
    """Splits that test the same image, as the source changed between them, are dealt out anew in another folder."""
    run = Run(Folder.from_uri(tmp_path / "run"))
    job = make_job(tmp_path, splits=2)
    prepare(job, run)
    dealt = run.locate_split(1).dataset
    first = read_deal(run, 0)
    table = dealt.read_table("split.parquet")
    parts = [first[id_] for id_ in table["id"].to_pylist()]
    dealt.write_table("split.parquet", table.set_column(table.column_names.index("split"), "split", [parts]))
    with pytest.raises(UserError, match=r"two splits have test images in common: .*; give another --out$"):
        measure_overlap([read_deal(run, number) for number in range(2)])
    other = Run(Folder.from_uri(tmp_path / "other"))
    prepare(job, other)
    assert measure_overlap([read_deal(other, number) for number in range(2)]).tested > 0


@pytest.mark.parametrize("way", [r"leave compare\.splits as it was", "another --out splits them anew"])
def test_splits_stay_or_are_dealt_anew(way: str, tmp_path: Path) -> None:
    """A data set that cannot become one of five is used with its one split, or its images in another folder."""
    run = Run(Folder.from_uri(tmp_path / "run"))
    prepare(make_job(tmp_path), run)
    table = run.dataset.read_table("split.parquet")
    turned = {"test": "val", "val": "test"}
    parts = [turned.get(part, part) for part in table["split"].to_pylist()]
    run.dataset.write_table("split.parquet", table.set_column(1, "split", [parts]))
    with pytest.raises(UserError, match=way):
        prepare(make_job(tmp_path, splits=5), run)
    if way.startswith("leave"):
        prepare(make_job(tmp_path), run)
    else:
        other = Run(Folder.from_uri(tmp_path / "other"))
        prepare(make_job(tmp_path, splits=5), other)
        assert other.locate_split(4).dataset.has_file("dataset.json")


@pytest.mark.parametrize("way", ["leave out --minutes to go on", "start from the images with another --out"])
def test_planned_experiment_goes_on_or_is_planned_anew(
    way: str, photos: Path, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An experiment's folder with --minutes is refused; without them it goes on, and the images get another one."""
    opened: list[str] = []
    monkeypatch.setattr(Pipeline, "run_all", lambda self: opened.append(str(self.run.root)))

    def run(*arguments: str) -> None:
        result = CliRunner().invoke(cli.app, ["run", *arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output

    out, other = str(tmp_path / "out"), str(tmp_path / "other")
    run(str(photos), "--minutes", "10", "--out", out)
    with pytest.raises(UserError, match=f"--minutes: {out} already has its plan; .*{way}"):
        run(out, "--minutes", "5")
    if way.startswith("leave"):
        run(out)
        assert opened == [out, out]
    else:
        run(str(photos), "--minutes", "5", "--out", other)
        assert opened == [out, other]


@pytest.mark.parametrize("way", ["leave out --minutes to go on", "give --out another folder", "remove that one"])
def test_other_minutes_are_planned_elsewhere(
    way: str, photos: Path, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images whose experiment was begun for other minutes go on without any, or are planned in a new folder."""
    opened: list[str] = []
    monkeypatch.setattr(Pipeline, "run_all", lambda self: opened.append(str(self.run.root)))

    def run(out: str, *minutes: str) -> None:
        words = ["run", str(photos), "--out", str(tmp_path / out), *minutes]
        result = CliRunner().invoke(cli.app, words, catch_exceptions=False)
        assert result.exit_code == 0, result.output

    run("out", "--minutes", "10")
    with pytest.raises(UserError, match=f"was begun for 10 minutes; .*{way}"):
        run("out", "--minutes", "20")
    if way.startswith("leave"):
        run("out")
    elif way.startswith("give"):
        run("other", "--minutes", "20")
    else:
        shutil.rmtree(tmp_path / "out")
        run("out", "--minutes", "20")
    assert len(opened) == 2


@pytest.mark.parametrize(
    ("min_workers", "advice", "followed"),
    [(None, "take data.loader: resident", "data.loader=resident"), (1, "leave it out", "gan.min_workers=null")],
)
def test_streamed_images_are_taken_as_advised(
    min_workers: int | None, advice: str, followed: str, digits: Folder
) -> None:
    """Images too large for memory are held there anyway, or trained on by a fixed number of workers."""
    shards = image_store.list_shards(digits / "train")

    def check(*more: str) -> None:
        given = [] if min_workers is None else [f"gan.min_workers={min_workers}"]
        job = load_job(DIGITS, [*TINY, "gan.workers=2", "data.resident_limit=1e-9", *given, *more])
        if min_workers is None:
            refuse_streamed(shards, job.data.resident_gb, Sampling(balanced=True))
        else:
            refuse_elastic_streaming("gan", job.gan, shards, job.data.resident_gb)

    with pytest.raises(UserError, match=re.escape(advice)):
        check()
    check(followed)


def test_classes_alike_are_compared_by_macro_f1() -> None:
    """Where no class is rare, the metric that the message names is one that counts every class alike."""
    counts = {"cat": 8, "dog": 6}
    with pytest.raises(UserError, match=r"no class is rare, .*; macro_f1 lets every class count alike$") as caught:
        arms.check_data(load_job(DIGITS, [*TINY, "compare.metric=rare_f1"]), counts, [])
    metric = re.search(r"; (\w+) lets", str(caught.value))
    assert metric
    arms.check_data(load_job(DIGITS, [*TINY, f"compare.metric={metric[1]}"]), counts, [])


@pytest.mark.parametrize("left", ["compare.visible_gain=0.01", "compare.seeds=3"])
def test_plan_follows_an_aim_or_a_number(left: str, photos: Path, known: None, tmp_path: Path) -> None:
    """A job with an aim and the number of seeds that it would choose is planned once one of the two is left out."""
    job = write_job(tmp_path, photos)

    def plan(*settings: str) -> int:
        return comparison_plan.plan_comparison(load_job(job, list(settings)), open_run(tmp_path)).compare.seeds

    with pytest.raises(UserError, match=r"but the job gives compare\.seeds; leave out one of the two$"):
        plan("compare.visible_gain=0.01", "compare.seeds=3")
    assert (plan(left) == 3) == left.startswith("compare.seeds")
