"""Evaluating a model: its figures are those of its predictions, on images it was not trained on, and kept once made."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from ganaug_ray import cli
from ganaug_ray.classify.predict import Classifier
from ganaug_ray.config import Job
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.ingest import shard_writer
from ganaug_ray.data.loading import image_store
from ganaug_ray.errors import UserError
from ganaug_ray.evaluate import evaluate_model, metrics, targets, test_images
from ganaug_ray.pipeline.pipeline import Pipeline
from ganaug_ray.runtime.executors import map_serially
from tests.conftest import DIGITS, TINY
from tests.unit.report.test_report import Page


@pytest.fixture
def copied(experiment: Run, tmp_path: Path) -> Run:
    """The finished experiment, to be changed."""
    shutil.copytree(str(experiment.root), tmp_path / experiment.root.name, symlinks=True)
    return Run(Folder.from_uri(tmp_path / experiment.root.name))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what an evaluation writes beside its figures."""
    monkeypatch.setattr(evaluate_model, "_draw_figures", lambda *arguments: None)


def champion_target(run: Run, job: Job) -> targets.EvaluationTarget:
    (model,) = targets.list_models(run, job)
    return targets.build_target(run, model, None)


def test_finished_run_has_champion_evaluation(experiment: Run, tiny_job: Job) -> None:
    """A finished run has the evaluation of its champion: figures, pictures, suspects and an embedding."""
    place = champion_target(experiment, tiny_job)
    record = place.out.read_json("evaluation.json")
    labels, probabilities = metrics.read_split(place.model.read_table("predictions.parquet"), "test")
    assert (record["n"], record["accuracy"]) == (898, pytest.approx((probabilities.argmax(1) == labels).mean()))
    assert record["inputs"]["model"] == place.record.hash
    promised = "confusion confusion_shares reliability learning_loss learning_accuracy embedding mistakes right filters"
    assert {f"{name}.png" for name in promised.split()} <= set((place.out / "figures").list_files())
    answers = place.out.read_table("predictions.parquet").to_pylist()
    assert sum(row["label"] != row["predicted"] for row in answers) == record["mistakes"]
    suspects = place.out.read_table("suspects.parquet")
    assert len(suspects) == 80 + 50 + 898
    assert suspects["self_confidence"].to_pylist() == sorted(suspects["self_confidence"].to_pylist())
    kinds = place.out.read_table("embedding.parquet")["kind"].to_pylist()
    assert {"real", "mistake", "synthetic"} == set(kinds)


@pytest.mark.usefixtures("undrawn")
def test_evaluation_repeats_only_for_changed_model(copied: Run, tiny_job: Job, capfd) -> None:
    """An evaluation is kept as long as the model is the same, and repeated once the model has changed."""
    pipeline, place = Pipeline(tiny_job, copied, Terminal()), champion_target(copied, tiny_job)
    pipeline.evaluate_models()
    assert "evaluate   kept" in capfd.readouterr().out
    marker = place.model.read_json("model.json")
    place.model.write_json("model.json", {**marker, "hash": "another"})
    pipeline.evaluate_models()
    assert "evaluate   done" in capfd.readouterr().out


@pytest.mark.usefixtures("undrawn")
def test_killed_evaluation_is_repeated(copied: Run, tiny_job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """An evaluation that is killed midway leaves no marker, and the next run repeats it."""
    place = champion_target(copied, tiny_job)

    def die(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(evaluate_model, "_draw_figures", die)
        with pytest.raises(KeyboardInterrupt):
            evaluate_model.evaluate_model(place, 0)
    assert targets.read_finished(place) is None
    evaluate_model.evaluate_model(place, 0)
    assert targets.read_finished(place)


def test_without_champion_all_models_are_evaluated(copied: Run, tiny_job: Job) -> None:
    """The champion is evaluated; where there is no verdict yet, every trained model is."""
    champion = copied.root.read_json("verdict.json")["champion"]
    assert targets.list_models(copied, tiny_job) == [copied.locate_model(champion["arm"], champion["seed"])]
    copied.root.delete_file("verdict.json")
    every = targets.list_models(copied, tiny_job)
    assert len(every) == 4
    places = {str(targets.build_target(copied, model, None).out) for model in every}
    assert len(places) == 4, "one folder a model"
    shutil.rmtree(str(copied.models))
    with pytest.raises(UserError, match=r"`ganaug train JOB\.yaml` has not been run there yet; run it first"):
        Pipeline(tiny_job, copied, Terminal()).evaluate_models()


def test_registered_version_shares_evaluation_folder(experiment: Run, tiny_job: Job) -> None:
    """A registered version is the same model as the champion, so that both have one evaluation folder."""
    (version,) = targets.list_models(experiment, tiny_job, str(experiment.registry))
    assert targets.build_target(experiment, version, None).out == champion_target(experiment, tiny_job).out
    with pytest.raises(UserError, match="no experiment"):
        targets.list_models(experiment, tiny_job, str(experiment.dataset))


@pytest.mark.usefixtures("undrawn")
def test_other_dataset_excludes_trained_rows(copied: Run, tiny_job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """All digits, of which 80 were trained on; they are read in pieces."""
    read, together = shard_writer.read_pixels, []

    def counted(staged: Folder, rows: pa.Table, size: int, channels: int) -> np.ndarray:
        together.append(len(rows))
        return read(staged, rows, size, channels)

    monkeypatch.setattr(shard_writer, "read_pixels", counted)
    monkeypatch.setattr(image_store, "MAX_SHARD_BYTES", 600 * 32 * 32)
    place = targets.build_target(copied, champion_target(copied, tiny_job).model, "sklearn:digits")
    with test_images.read_other_images(tiny_job.data, place, map_serially) as others:
        record = evaluate_model.evaluate_model(place, 0, others)
    assert max(together) == 600
    assert record["excluded_train_rows"] == 80
    assert record["n"] == 1797 - 80 - record["rejected"].get("duplicate", 0)
    ids = set(place.out.read_table("predictions.parquet")["id"].to_pylist())
    assert not ids & set(image_store.read_images(copied.dataset / "train").ids)
    test = image_store.read_images(copied.dataset / "test")
    assert ids >= set(test.ids)
    # the pixels are those that the test images have in the data set
    own = dict(zip(test.ids, Classifier.load(place.model).predict_probabilities(test.images).max(1), strict=True))
    answers = place.out.read_table("predictions.parquet").to_pylist()
    assert all(row["probability"] == pytest.approx(own[row["id"]], abs=1e-4) for row in answers if row["id"] in own)
    assert place.out != champion_target(copied, tiny_job).out
    assert not (place.out / ".staged").list_files()


def pictures(folder: Path, classes: list[str], n: int = 12) -> Path:
    rng = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(n):
            Image.fromarray(rng.integers(0, 256, (40, 40), np.uint8)).save(folder / name / f"{i}.png")
    return folder


def test_evaluation_refuses_unknown_classes(
    experiment: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    """A data set with a single known class can be evaluated; one with an unknown class is a clear error."""

    def run(*arguments: str) -> int:
        monkeypatch.chdir(tmp_path)
        settings = [f"--set={one}" for one in TINY]
        command = ["ganaug", "evaluate", str(DIGITS), "--out", str(experiment.root), *settings, *arguments]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return int(caught.value.code or 0)

    pictures(tmp_path / "sevens", ["7"])
    (tmp_path / "sevens" / "7" / "bad.png").write_bytes(b"<html>")
    assert run("--data", "sevens") == 0
    assert "on 12 images of" in capfd.readouterr().out
    (found,) = (Path(str(experiment.root)) / "evaluation").glob("*/sevens-*/evaluation.json")
    record = json.loads(found.read_text())
    assert record["rejected"] == {"not an image": 1}
    assert record["confusion"]["counts"][7] != [0] * 10
    shutil.rmtree(found.parent)
    pictures(tmp_path / "pets", ["cat", "7"])
    assert run("--data", "pets") == 2
    message = capfd.readouterr().err
    assert "found the classes cat, which the model does not know; it knows 0, 1" in message
    assert not list(Path(str(experiment.root)).glob("evaluation/*/pets-*/evaluation.json"))
    assert run("--data", "nowhere") == 2
    assert "no such folder" in capfd.readouterr().err


def test_report_shows_mistakes_and_learned_features(experiment: Run, tiny_job: Job) -> None:
    """The report shows what the champion classifies wrongly and which features it has learned."""
    html = experiment.root.read_bytes("report.html").decode()
    page, record = Page(html), champion_target(experiment, tiny_job).out.read_json("evaluation.json")
    assert f"{record['mistakes']} of 898 test images are classified wrongly" in page.text
    for heading in ("Overfitting", "Champion", "Mistakes", "What the champion learned"):
        assert heading in page.text
    alts = [a.get("alt") or a.get("aria-label") or "" for tag, a in page.tags if tag in ("img", "svg")]
    assert all(alts)
    for start in ("Mistake: ", "Heat map: Mistake: ", "Suspected label: ", "Filter ", "Last feature map ",
                  "Accuracy over confidence", "Features of "):  # fmt: skip
        assert [alt for alt in alts if alt.startswith(start)], start
    pair = record["confused_pairs"][0]
    assert pair["count"] == max(
        n for true, row in enumerate(record["confusion"]["counts"]) for other, n in enumerate(row) if other != true
    )


def test_repeated_evaluation_gives_same_page(experiment: Run, copied: Run, tiny_job: Job) -> None:
    """An evaluation and report made again give the same page, byte for byte, but for the path in its commands."""
    before = copied.root.read_bytes("report.html").replace(experiment.root.path.encode(), copied.root.path.encode())
    shutil.rmtree(str(copied.root / "evaluation"))
    copied.root.delete_file("report.json")
    Pipeline(tiny_job, copied, Terminal()).build_report()
    assert copied.root.read_bytes("report.html") == before
    assert experiment_dir.read_marker(copied.root, "report.json")


@pytest.mark.parametrize("kept", ["layers", "right"])
def test_page_renders_without_mistakes_or_suspects(
    experiment: Run, tiny_job: Job, monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    """The report of a model without mistakes or suspected labels has a page without those sections."""
    from ganaug_ray.report import champion_section, report

    whole = champion_section._group_tiles
    monkeypatch.setattr(
        champion_section,
        "_group_tiles",
        lambda table: whole(table.filter(pa.array([section == kept for section in table["section"].to_pylist()]))),
    )
    figures = {**report.collect_figures(experiment, tiny_job), "advice": None}
    html = report.render_page(figures, report.draw_pictures(experiment, figures), "")
    assert "Mistakes</h2>" in html
    assert "Labels worth a second look" not in html
    assert "The most confident mistakes" not in html
