"""How many real images synthetic ones are worth, and the comparisons at other numbers of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ganaug_ray.config.loader import load_job
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import VerdictRecord
from ganaug_ray.core.run_clock import PartClock, RunClock
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError
from ganaug_ray.pipeline.pipeline import Pipeline
from ganaug_ray.report import arm_plots
from ganaug_ray.verdict.learning_curve import build_curve
from tests.conftest import DIGITS, TINY
from tests.helpers import records


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder.from_uri(tmp_path)


def verdict(folder: Folder, baseline: list[float], ours: list[float]) -> VerdictRecord:
    def arm(values: list[float]) -> dict[str, Any]:
        repeats = [{"split": k, "seed": 0, "val": {}, "test": {"accuracy": value}} for k, value in enumerate(values)]
        return {"repeats": repeats, "mean": {}}

    arms = {"real": arm(baseline), "fake": arm(ours)}
    return records.write_verdict(folder, verdict="helped", chosen={"arm": "fake"}, arms=arms)


def test_gain_converts_to_real_images(folder: Folder) -> None:
    """A gain is worth the number of real images that would give it by the baseline's curve."""
    found = build_curve(
        {
            50: verdict(folder, [0.50, 0.52, 0.54], [0.60, 0.62, 0.64]),  # as the baseline does with 100
            100: verdict(folder, [0.60, 0.62, 0.64], [0.65, 0.67, 0.69]),  # half of the way to 200, in doublings
            200: verdict(folder, [0.70, 0.72, 0.74], [0.75, 0.77, 0.79]),
            400: verdict(folder, [0.80, 0.82, 0.84], [0.70, 0.72, 0.74]),
        }
    )
    worth = [point["worth"] for point in found["points"]]
    assert [round(one["images"]) for one in worth] == [100, 141, 283, 200]
    assert [one["beyond"] for one in worth] == [None] * 4
    low, high = worth[0]["ci95"]
    assert low <= 100.1
    assert high >= 99.9
    assert "50 with the added images do as well as 100 (" in found["sentence"]
    drawn = arm_plots.plot_sizes(found).axes[0]
    assert [round(y) for y in drawn.lines[-1].get_ydata()] == [62, 67, 77, 72]


def test_number_with_unusable_generator_has_no_worth(folder: Folder) -> None:
    """Where no arm was compared, as the generator was not usable, the baseline's point still carries the curve."""
    untried = verdict(folder, [0.50, 0.52, 0.54], [0.0, 0.0, 0.0]).model_copy(update={"chosen": None})
    found = build_curve(
        {
            50: untried,
            100: verdict(folder, [0.60, 0.62, 0.64], [0.55, 0.57, 0.59]),
            200: verdict(folder, [0.70, 0.72, 0.74], [0.75, 0.77, 0.79]),
        }
    )
    assert [point["per_class"] for point in found["points"]] == [100, 200]
    assert round(found["points"][0]["worth"]["images"]) == 71, "half of the way from 50 to 100, in doublings"


def test_gain_beyond_curve_is_bounded(folder: Folder) -> None:
    """A gain beyond the baseline's curve is said to be worth more or less than its end."""
    found = build_curve({10: verdict(folder, [0.5, 0.5], [0.4, 0.4]), 20: verdict(folder, [0.6, 0.6], [0.7, 0.7])})
    assert [point["worth"]["beyond"] for point in found["points"]] == ["less", "more"]
    assert "less than 10" in found["sentence"]
    assert "more than 20" in found["sentence"]


@pytest.mark.parametrize(("repeats", "has_interval"), [(1, False), (2, False), (3, True)])
def test_worth_needs_three_repeats(folder: Folder, repeats: int, has_interval: bool) -> None:
    """Two repeats give no interval of what images are worth, as they give none of the gain, and that is said."""
    found = build_curve(
        {
            10: verdict(folder, [0.50, 0.51, 0.53][:repeats], [0.55, 0.58, 0.56][:repeats]),
            20: verdict(folder, [0.60, 0.61, 0.63][:repeats], [0.65, 0.68, 0.66][:repeats]),
        }
    )
    assert [point["worth"]["ci95"] is not None for point in found["points"]] == [has_interval] * 2
    assert ("Not enough repeats for intervals" in found["sentence"]) != has_interval


def test_each_size_runs_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every number of training images is an experiment of its own, and none runs twice."""
    made: list[tuple[str, int | None]] = []

    clocks: list[type] = []

    def reach_verdict(self: Pipeline) -> None:
        self._start_clock()
        clocks.append(type(self.terminal.clock))
        made.append((str(self.run.root).removeprefix(str(tmp_path)), self.job.data.train_per_class))
        n = self.job.data.train_per_class or 0
        verdict(self.run.root, [n / 100, n / 99], [n / 90, n / 91])

    monkeypatch.setattr(Pipeline, "reach_verdict", reach_verdict)
    job = load_job(DIGITS, [*TINY, "compare.sizes=[4, 12]"])
    run = Run(Folder.from_uri(tmp_path))
    run.claim_folder(job)
    terminal = Terminal()
    whole = terminal.clock = RunClock({"sizes": 90.0, "report": 10.0})
    Pipeline(job, run, terminal).run_size_experiments()
    assert clocks == [PartClock] * 3, "the time left is that of the whole run"
    assert terminal.clock is whole
    assert (whole.estimate_left(0.0) or 0.0) <= 10.0, "of the sizes nothing is left"
    assert made == [("", 8), ("/sizes/4", 4), ("/sizes/12", 12)]
    first = (tmp_path / "sizes.json").read_bytes()
    assert [point["per_class"] for point in run.root.read_json("sizes.json")["points"]] == [4, 8, 12]
    Pipeline(job, run, Terminal()).run_size_experiments()
    assert (tmp_path / "sizes.json").read_bytes() == first


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["compare.sizes=[4, 4]"], "each number once"),
        (["compare.sizes=[8]"], "other than data.train_per_class 8"),
        (["compare.sizes=[4]", "data.train_per_class=null"], "give data.train_per_class too"),
        (["compare.sizes=[4]", "augment.ratio=0"], "no arm adds images"),
    ],
)
def test_invalid_comparison_sizes_are_refused(settings: list[str], words: str) -> None:
    """Numbers of training images that make no curve are refused with the reason."""
    with pytest.raises(UserError, match=words):
        load_job(DIGITS, [*TINY, *settings])
