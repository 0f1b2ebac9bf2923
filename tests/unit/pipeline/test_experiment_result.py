"""What came out of a run, for Python: figures, the champion, the generator, and the page's top in a notebook."""

from __future__ import annotations

import html
import os
import re
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ganaug_ray
from ganaug_ray.classify.predict import Prediction
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.interrupts import keep_interrupts
from ganaug_ray.errors import StageFailed, UserError
from ganaug_ray.pipeline.experiment_result import ExperimentResult, read_result
from ganaug_ray.pipeline.pipeline import Pipeline
from tests.conftest import TINY, parse_settings
from tests.helpers.labelled import lay_out, png


@pytest.fixture(scope="module")
def result(experiment: Run) -> ExperimentResult:
    return read_result(experiment)


def test_result_has_answer_and_figures(result: ExperimentResult, experiment: Run, monkeypatch) -> None:
    """The answer is that of verdict.json, and every arm has its figures, with pandas and without."""
    verdict = experiment.root.read_json("verdict.json")
    assert (result.verdict, result.answer, result.action) == (
        verdict["verdict"], verdict["sentence"], verdict["action"],
    )  # fmt: skip
    assert result.folder == str(experiment.root)
    assert Path(result.page).read_text().startswith("<!doctype html>")
    pytest.importorskip("pandas", reason="pandas is no requirement")
    assert list(result.arms.index) == list(verdict["arms"])
    assert list(result.arms["role"]) == ["baseline", "chosen"]
    (compared,) = verdict["comparisons"]
    row = result.arms.loc[compared["arm"]]
    assert (row["change"], row["verdict"]) == (compared["mean"], compared["verdict"])
    assert row["low"] is row["high"] is None, "so few trainings have no interval"
    assert row["accuracy"] == verdict["arms"][compared["arm"]]["mean"]["accuracy"]
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert [arm["arm"] for arm in result.arms] == list(verdict["arms"])


def test_champion_takes_images_in_any_form(result: ExperimentResult, tmp_path: Path) -> None:
    """A path, a PIL image, pixels and a folder are classified alike, one at a time or together."""
    folder = lay_out(tmp_path / "pets", "cat/1.png", "dog/2.png")
    (folder / "notes.txt").write_text("no image")
    path = folder / "cat" / "1.png"
    picture = Image.open(path)
    (expected,) = result.champion.predict(png(0))
    for one in (path, str(path), picture, np.asarray(picture), [png(0)]):
        (prediction,) = result.champion.predict(one)
        assert prediction.probabilities == expected.probabilities
    found = result.champion.predict(folder)
    assert [prediction.path for prediction in found] == [str(path), str(folder / "dog" / "2.png")]
    assert found == result.champion.predict([path, folder / "dog" / "2.png"])
    assert found[0] == Prediction(expected.label, pytest.approx(expected.probabilities, abs=1e-5), str(path))
    path.write_bytes(b"<html>")
    for one, words in ((tmp_path / "cat.jpg", "no such file or folder"), (folder, "1.png: not an image")):
        with pytest.raises(UserError, match=words):
            result.champion.predict(one)


def test_generator_draws(result: ExperimentResult) -> None:
    """The generator of the run draws images of a class."""
    assert result.generator is not None
    assert result.generator.generate(result.champion.classes[0], 2).shape == (2, 32, 32, 1)


def test_notebook_shows_top_of_page(result: ExperimentResult) -> None:
    """A notebook shows the answer in a frame of its own, and not the whole page."""
    shown = result._repr_html_()
    (page,) = re.findall(r'<iframe srcdoc="([^"]*)"', shown)
    top = html.unescape(page)
    assert result.action in top
    assert "</html>" in top
    assert len(shown) < Path(result.page).stat().st_size / 4


def test_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Ctrl-C raises KeyboardInterrupt, and the same call keeps the stages that are done."""

    def interrupt(pipeline: Pipeline) -> None:
        pipeline.prepare_data()
        os.kill(os.getpid(), signal.SIGINT)

    def fail(pipeline: Pipeline) -> None:
        pipeline.prepare_data()
        raise StageFailed("no more")

    job = {"data": {"source": "sklearn:digits"}}
    settings = parse_settings(TINY) | {"compare.splits": 1}
    for run_all, error in ((interrupt, KeyboardInterrupt), (fail, StageFailed)):
        monkeypatch.setattr(Pipeline, "run_all", run_all)
        with pytest.raises(error):
            ganaug_ray.run(job, out=tmp_path / "digits", settings=settings)
    printed = capsys.readouterr().out
    assert re.findall(r"^prepare +(\w+)", printed, re.MULTILINE) == ["done", "kept"]


def test_mistakes_are_user_errors(tmp_path: Path) -> None:
    """Mistakes in what is asked for are raised as UserError, with the key that is wrong."""
    for what, words in (
        (tmp_path / "nowhere", "no such job file, folder or archive"),
        (tmp_path / "nowhere.yaml", "no such job file"),
        ({"data": {"sauce": "x"}}, "did you mean source"),
        ({"gan": {"steps": 3}}, "data: this key is missing"),
    ):
        with pytest.raises(ganaug_ray.UserError, match=words):
            ganaug_ray.run(what)
    with pytest.raises(ganaug_ray.UserError, match=r"gan\.lr: found -1"):
        ganaug_ray.run({"data": {"source": "sklearn:digits"}}, settings={"gan.lr": -1})


def test_swallowed_interrupt_is_an_interrupt() -> None:
    """An interrupt that a library takes for an error of its own is one nevertheless, and the handler is as before."""

    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise ValueError("the worker is lost") from None

    usual = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        with pytest.raises(KeyboardInterrupt), keep_interrupts():
            work()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, usual)
    with pytest.raises(ValueError, match="something else"), keep_interrupts():
        raise ValueError("something else")
