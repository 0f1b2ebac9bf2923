import base64
import csv
import datetime
import hashlib
import io
import json
import os
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from ganaug_ray.augment.arm_titles import name_arms
from ganaug_ray.config import Job
from ganaug_ray.core import experiment_dir, metrics_log
from ganaug_ray.core.records import AugmentationRecord, VerdictRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store
from ganaug_ray.gan import image_grid
from ganaug_ray.report import report
from ganaug_ray.verdict import verdict
from ganaug_ray.verdict.outcomes import Outcome
from tests.helpers import records

REAL, SYNTHETIC, LIVE = "real+classic", "real+classic+synthetic", "real+classic+live"
NOISE = "real+classic+noise"
WITH_SYNTHETIC, WITH_LIVE = "real and synthetic images", "real and ever new synthetic images"
KINDS = {SYNTHETIC: "synthetic", LIVE: "live", NOISE: "noise"}
SPLITS = {"train": 3, "val": 2, "test": 10}  # images a class


class Experiment:
    """A finished experiment's folder, built from the stages' formats."""

    def __init__(
        self, path: Path, classes: list[str], arms: list[str], seeds: int = 2, gan: dict[str, Any] | None = None
    ) -> None:
        self.path = path
        self.classes = classes
        self.run = experiment_dir.Run(Folder.from_uri(path))
        self.job = Job.model_validate(
            {
                "about": "a small one",
                "data": {"source": ["sklearn:digits"], "train_per_class": 3},
                "gan": {"steps": 40, **(gan or {})},
                "augment": {"ratio": float(len(arms) > 1)},
                "arms": {arm: {"kind": KINDS.get(arm, "synthetic")} for arm in arms if arm != REAL},
                "classifier": {"steps": 20},
                "compare": {"seeds": seeds},
            }
        )
        self._dataset()
        if len(arms) > 1 or gan:
            self._gan()
        for arm in arms:
            for seed in range(seeds):
                # The synthetic arm gets one more of each class right than the real one does.
                self._model(arm, seed, right=6 + seed + (arm == SYNTHETIC))
        self.verdict(arms, seeds)

    def report(self, settings: dict[str, Any] | None = None) -> str:
        """The page; with other settings of some arms."""
        report.write_report(self.run, self.change_arms(settings or {}), {"verdict": "f00d"})
        return self.page()

    def change_arms(self, settings: dict[str, Any]) -> Job:
        """The job with other settings of some arms."""
        arms = {name: arm.model_copy(update=settings.get(name, {})) for name, arm in self.job.arms.items()}
        return self.job.model_copy(update={"arms": arms})

    def page(self) -> str:
        """As it was reported last."""
        return (self.path / "report.html").read_text(encoding="utf-8")

    def figures(self) -> dict[str, Any]:
        return json.loads((self.path / "report.json").read_text(encoding="utf-8"))

    def verdict(self, arms: list[str], seeds: int) -> None:
        outcomes = {}
        for arm in arms:
            tables = [self.run.locate_model(arm, seed).read_table("predictions.parquet") for seed in range(seeds)]
            outcomes[arm] = [Outcome.from_table(table, 0, seed) for seed, table in enumerate(tables)]
        candidates = [arm for arm in arms if arm not in (REAL, NOISE)]
        titles = name_arms(self.job)
        found = verdict.build_verdict(outcomes, REAL, candidates, "accuracy", self.classes, titles=titles)
        record = {"hash": "f00d", "inputs": {}, **found}
        VerdictRecord.write(self.run.root, "compare", time.monotonic(), record)

    def _marker(self, folder: Folder, name: str, stage: str, seconds: float, record: dict[str, Any]) -> None:
        started = time.monotonic() - seconds
        experiment_dir.write_marker(folder, name, stage, started, {"hash": f"hash of {stage}", **record})

    def _dataset(self) -> None:
        n = len(self.classes) * SPLITS["train"]
        images = np.random.default_rng(0).integers(0, 256, (n, 32, 32, 1), np.uint8)
        labels = np.repeat(np.arange(len(self.classes)), SPLITS["train"])
        ids = [image_store.hash_pixels(image) for image in images]
        image_store.write_images(
            self.run.dataset / "train", image_store.LabelledImages(images, labels, ids, [""] * n, ["test"] * n), "real"
        )
        counts = {split: dict.fromkeys(self.classes, rows) for split, rows in SPLITS.items()}
        record = {
            "source": ["sklearn:digits"],
            "classes": self.classes,
            "image_size": 32,
            "resize": "crop",
            "channels": 1,
            "counts": {**counts, "unused": dict.fromkeys(self.classes, 7)},
            "rejected": {"duplicate": 4, "not an image": 1},
        }
        self._marker(self.run.dataset, "dataset.json", "prepare", 2, record)

    def _gan(self) -> None:
        rows: list[dict[str, Any]] = [
            {
                "step": s,
                "images_seen": 64 * s,
                "loss_g": 2.0,
                "loss_d": 1.0,
                "real_score": 0.7,
                "fake_score": 0.3,
                "real_sign": 0.5,
                "fake_sign": -0.25,
            }
            for s in (20, 40)
        ]
        rows.insert(1, {"step": 20, "kid_teacher_n30": 0.5, "kid_teacher_n30_std": 0.1})
        rows.append({"step": 40, "kid_teacher_n30": 0.25, "kid_teacher_n30_std": 0.1, "val_gap": 0.125})
        self._log(self.run.gan, rows)
        (self.path / "gan/samples").mkdir()
        for step in (20, 40):
            self._samples(step)
        record: dict[str, Any] = {"steps": 40, "images_seen": 2560, "size": 32, "ended_early": None}
        record["quality"] = {"kid_teacher_n30": 0.25, "kid_teacher_n30_std": 0.1}
        record["conditional"] = self.job.gan.conditional
        record["chosen"] = {"step": 40, "chosen_by": "kid_teacher_n30", "value": 0.25}
        record["memorization"] = {"verdict": "does not copy", "reason": "0.0% of 30 are near copies"}
        self._marker(self.run.gan, "gan.json", "train-gan", 100, {**records.GAN, **record})
        if self.job.augment.ratio:
            self._marker(self.run.synthetic, "synthetic.json", "generate", 5, {"images": 400})

    def _samples(self, step: int, rows: int | None = None) -> None:
        """A picture of generated images, a row a class, beside real ones."""
        grid = self._draw_grid(rows, step)
        self._write(f"samples/step-{step:08d}.png", image_grid.join_side_by_side(grid, grid))

    def _interpolation(self) -> None:
        self._write("interpolation.png", self._draw_grid(None, 0))

    def _draw_grid(self, rows: int | None, seed: int) -> np.ndarray:
        shape = (min(len(self.classes), image_grid.MAX_CLASS_ROWS) if rows is None else rows, 8, 32, 32, 3)
        return image_grid.arrange_grid(list(np.random.default_rng(seed).integers(0, 256, shape, np.uint8)))

    def _write(self, name: str, grid: np.ndarray) -> None:
        self.run.gan.write_bytes(name, image_grid.encode_png(grid))

    def _model(self, arm: str, seed: int, right: int) -> None:
        folder, size = self.run.locate_model(arm, seed), len(self.classes)
        tables = []
        for split in ("val", "test"):
            rows = SPLITS[split]
            labels = np.repeat(np.arange(size), rows)
            wrong = np.tile(np.arange(rows), size) >= right  # taken for the next class
            predicted = np.where(wrong, (labels + 1) % size, labels)
            probabilities = np.full((len(labels), size), 0.1 / size, np.float32)
            probabilities[np.arange(len(labels)), predicted] += 0.9
            flat = pa.FixedSizeListArray.from_arrays(pa.array(probabilities.ravel()), size)
            ids = [f"{split}-{i}" for i in range(len(labels))]
            columns = {"split": [split] * len(labels), "id": ids, "label": labels, "probabilities": flat}
            tables.append(pa.table(columns))
        folder.write_table("predictions.parquet", pa.concat_tables(tables))
        log = [
            {"step": 10, "loss": 1.0, "accuracy": 0.4},
            {"step": 15, "val_loss": 0.9, "val_accuracy": 0.5},
            {"step": 20, "loss": 0.5, "accuracy": 0.6, "val_loss": 0.7, "val_accuracy": 0.6},
        ]
        self._log(folder, log)
        record = {"arm": arm, "seed": seed, "inputs": {"dataset": "d"}, "train_seconds": 25.0}
        if arm == LIVE:
            record["tally"] = {"generated": 1000, "rejected": 125, "let_through": seed}
        self._marker(folder, "model.json", "train", 30, {**records.MODEL, **record})

    def _log(self, folder: Folder, rows: list[dict[str, Any]]) -> None:
        log = metrics_log.MetricsLog(folder.create(), 0)
        for row in rows:
            log.append_line(row)
        log.flush()


def open_picture(source: str | None) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode((source or "").partition(",")[2])))


UNREAD_TAGS = ("table", "pre")


class Page(HTMLParser):
    """What a browser would load, and what a person who cannot see the pictures is told of them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.prose: list[str] = []  # the words outside of tables and of the job, and those for the blind
        self._unread = 0  # tables and listings that are open
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._unread += tag in UNREAD_TAGS
        self.prose += [value or "" for name, value in attrs if name in ("alt", "aria-label")]

    def handle_endtag(self, tag: str) -> None:
        self._unread -= tag in UNREAD_TAGS

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] not in ("style", "script"):
            self.words.append(data)
            if not self._unread:
                self.prose.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    """One to be changed."""
    return Experiment(tmp_path / "demo", ["cat", "dog", "owl"], [REAL, SYNTHETIC])


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """The same with its report, not to be changed."""
    experiment = Experiment(tmp_path_factory.mktemp("reported") / "demo", ["cat", "dog", "owl"], [REAL, SYNTHETIC])
    experiment.report()
    return experiment


def test_page_is_self_contained(reported: Experiment) -> None:
    """The page loads nothing: every picture is inside, and its policy lets its own script run and no other."""
    html = reported.page()
    page = Page(html)
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "base")
        for name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            assert (attributes.get(name) or "#").startswith(("data:image/", "data:text/csv;", "#")), (tag, name)
    assert not re.search(r"https?://|@import", html)
    assert not re.search(r"url\((?!#)", html)
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    (policy,) = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def test_contents_lead_to_every_section(reported: Experiment) -> None:
    """The list of contents names every section, and each of its links leads to one."""
    tags = Page(reported.page()).tags
    addresses = [attributes["href"] or "" for tag, attributes in tags if tag == "a"]
    links = [address for address in addresses if address.startswith("#")]
    anchors = [f"#{attributes['id']}" for tag, attributes in tags if tag in ("span", "h2") and "id" in attributes]
    assert links == anchors
    assert {"#answer", "#arms", "#generator", "#champion", "#classes", "#data", "#time"} <= set(links)
    assert not [attributes for tag, attributes in tags if tag == "h2" and "id" not in attributes]


def test_page_opens_with_the_verdict(reported: Experiment) -> None:
    """The verdict and what it covers stand before any table or picture."""
    page = Page(reported.page())
    verdict = json.loads((reported.path / "verdict.json").read_text())
    heading = next(i for i, (tag, _) in enumerate(page.tags) if tag == "h1")
    assert not any(tag in ("h2", "table", "img", "svg") for tag, _ in page.tags[:heading])
    assert page.text.index(verdict["sentence"].replace("-", "−")) < page.text.rindex("Champion")
    # Two seeds are too few for an interval: that is said in words and not in colour alone.
    assert "? Not enough repeats" in page.text
    assert "Fewer than 3 trainings of each arm" in page.text


def test_what_it_is_about_stands_above_the_answer(experiment: Experiment) -> None:
    """Name, question, date, images and classes come before the answer; the date is that of the answer."""
    answered = datetime.datetime(2021, 3, 4, 12).astimezone()
    verdict = experiment.path / "verdict.json"
    os.utime(verdict, (answered.timestamp(), answered.timestamp()))
    of_older_file = Page(experiment.report()).text
    verdict.write_text(json.dumps(json.loads(verdict.read_text()) | {"answered_at": answered.isoformat()}))
    text = Page(experiment.report()).text
    assert of_older_file[:500] == text[:500]
    images = 3 * (3 + 2 + 10 + 7)
    above = f"demo : a small one · 4 March 2021 · {images} images · 3 classes"
    headline = VerdictRecord.read(experiment.run.root).sentence.replace("-", "−")
    assert 0 <= text.index(above) < text.index(headline), text[:500]


def test_advice_appears_with_its_command(experiment: Experiment, reported: Experiment) -> None:
    """What would decide an open verdict is on the page, its command as code; no other page has it."""
    assert "until-clear" not in reported.page()
    assert reported.figures()["advice"] is None
    report.write_report(experiment.run, experiment.job, {"verdict": "f00d"}, "`ganaug run` takes < 5 minutes")
    page = (experiment.path / "report.html").read_text(encoding="utf-8")
    assert "<p>Next: <code><span>ganaug</span> <span>run</span></code> takes &lt; 5 minutes.</p>" in page


def test_percent_signs_stay_with_their_numbers(reported: Experiment) -> None:
    """The headline is never broken between a number and its percent sign."""
    (headline,) = re.findall(r"<h1>(.*?)</h1>", reported.page())
    assert "\u00a0%" in headline
    assert " %" not in headline


def test_long_class_names_end_in_an_ellipsis(tmp_path: Path) -> None:
    """A name that a chart has no room for is seen to be cut; the table has all of it."""
    name = "long-tailed woodpecker (juvenile)"
    experiment = Experiment(tmp_path / "birds", ["cat", name], [REAL, SYNTHETIC])
    page = experiment.report()
    assert "long-tailed woodpecker (juven…" in page
    assert f'<th class="wrap">{name}</th>' in page


def test_page_describes_synthetic_image_mix(reported: Experiment, tmp_path: Path) -> None:
    """The page says how synthetic images are mixed with real ones, and nothing of it without such an arm."""
    assert "mix, ratio 1" in Page(reported.page()).text
    assert "mix, ratio" not in Page(Experiment(tmp_path / "alone", ["a", "b"], [REAL]).report()).text


def test_chosen_augmentation_is_told(experiment: Experiment) -> None:
    """Which augmentation all arms had stands under their table, where the job left it to be chosen."""
    choice = {"chosen": "strong", "metric": "macro_f1", "scores": {"light": 0.7, "strong": 0.8}, "hash": "c"}
    record = choice | {"sentence": "strong augmentation, by macro-F1 on validation: light 70.0 %, strong 80.0 %"}
    AugmentationRecord.write(experiment.run.models, "choose", 0.0, record)
    assert "strong augmentation" not in experiment.report(), "this job names its augmentation"
    classifier = experiment.job.classifier.model_copy(update={"augment": "auto"})
    experiment.job = experiment.job.model_copy(update={"classifier": classifier})
    assert f"All arms have {record['sentence']}" in experiment.report()
    assert experiment.figures()["augmentation"]["scores"] == {"light": 0.7, "strong": 0.8}


def test_marker_stores_page_figures(reported: Experiment) -> None:
    """The marker of the report holds the figures that the page shows."""
    page = Page(reported.page()).text
    figures = reported.figures()
    assert figures["stage"] == "report"
    assert figures["inputs"] == {"verdict": "f00d"}
    assert figures["hash"] == experiment_dir.hash_content((reported.path / "report.html").read_bytes())
    assert figures["data"]["rejected"] == {"duplicate": 4, "not an image": 1}
    assert "4 × duplicate, 1 × not an image" in page
    assert figures["gan"]["images_seen"] == 2560
    assert "2,560" in page
    mean = figures["verdict"]["arms"][SYNTHETIC]["mean"]["accuracy"]
    assert mean == pytest.approx(0.75)
    assert "mix, ratio 1 75.0 +10.0" in page


def test_class_figures_belong_to_champion(reported: Experiment) -> None:
    """Figures by class are the champion's, and the change in recall is a mean over seeds."""
    figures = reported.figures()
    right = 6 + figures["verdict"]["champion"]["seed"]
    assert figures["confusion"] == [[right, 10 - right, 0], [0, right, 10 - right], [10 - right, 0, right]]
    assert [row["recall"] for row in figures["per_class"]] == pytest.approx([right / 10] * 3)
    assert figures["recall_change"] == {SYNTHETIC: pytest.approx([0.1] * 3)}


def test_three_arms_appear_together(tmp_path: Path) -> None:
    """Three arms appear side by side in tables, legends and curves."""
    experiment = Experiment(tmp_path, ["cat", "dog"], [REAL, SYNTHETIC, LIVE])
    html = experiment.report()
    page, figures = Page(html), experiment.figures()
    assert figures["verdict"]["chosen"]["arm"] == SYNTHETIC, "the better of the two"
    assert list(figures["recall_change"]) == [SYNTHETIC, LIVE]
    assert figures["recall_change"][LIVE] == pytest.approx([0.0] * 2)
    assert [row["models"] for row in figures["time"] if row["stage"] == f"train, {LIVE}"] == [2]
    drawn = [a["aria-label"] or "" for tag, a in page.tags if tag == "svg" and "aria-label" in a]
    forest, accuracy = drawn[0], drawn[-2]
    assert f"{WITH_SYNTHETIC}: +10.0 points; {WITH_LIVE}: +0.0 points" in forest
    assert all(f"{title} ends at" in accuracy for title in ("real images alone", WITH_SYNTHETIC, WITH_LIVE))
    assert len(set(re.findall(r'<i style="color: (#\w+)">', html))) == 3
    assert "Only the interval of the chosen arm is widened for that choice" in page.text
    assert not re.search(r"[a-z]\.[A-Z]", page.text), "sentences are apart"


def test_names_of_arms_stand_in_tables_alone(tmp_path: Path) -> None:
    """Sentences, charts and legends say what classifiers are trained on; the names of arms are for tables."""
    arms = [REAL, SYNTHETIC, LIVE, NOISE]
    experiment = Experiment(tmp_path / "demo", ["cat", "dog"], arms)
    page = Page(experiment.report({SYNTHETIC: {"ratio": 1.0}, LIVE: {"kind": "synthetic", "ratio": 0.5}}))
    assert all(arm in page.text for arm in arms), "the tables have them"
    prose = " ".join(" ".join(page.prose).split())
    for arm in arms:
        assert arm not in prose, prose[prose.index(arm) - 200 :][:300]
    assert f"training on {WITH_SYNTHETIC} was not shown to help" in prose
    assert "The classifier trained on real images alone, seed" in prose
    assert "legend" in experiment.page()
    for title in ("real images alone", WITH_SYNTHETIC, WITH_LIVE, "real images and noise"):
        assert f"</i>{title}</span>" in experiment.page(), "the legend of the learning curves"
        assert title == "real images alone" or f">{title}" in experiment.page(), "the chart at the top"


def test_controls_appear_with_training_time(tmp_path: Path, reported: Experiment) -> None:
    """Negative controls are listed with the candidates, and every arm with its training time.

    What controls are is told where there are some.
    """
    experiment = Experiment(tmp_path, ["cat", "dog"], [REAL, NOISE, SYNTHETIC])
    page, figures = Page(experiment.report()).text, experiment.figures()
    rows = [(row["arm"], row["role"], row["models"], row["train_seconds"]) for row in figures["arm_rows"]]
    assert rows == [(REAL, "baseline", 2, 50), (SYNTHETIC, "chosen", 2, 50), (NOISE, "control", 2, 50)]
    assert "noise control: real images and noise" in page
    for words in ("hollow where an arm is a control", "Controls are never chosen"):
        assert words in page
        assert words not in Page(reported.page()).text
    assert list(figures["recall_change"]) == [SYNTHETIC], "controls would be in the way"
    assert "McNemar" in page
    assert "is the only candidate; its change on test gives the verdict" in page


def test_many_arms_have_distinct_curves(tmp_path: Path) -> None:
    """The learning curves of nine arms all differ in colour or dashes."""
    html = Experiment(tmp_path, ["cat", "dog"], [REAL, SYNTHETIC, *(f"arm-{n}" for n in range(7))]).report()
    legend = html[html.index("Learning curves of") :].split("</div>")[0]
    assert len(set(re.findall(r"<i.*?>", legend))) == 9
    assert 'class="dashed"' in legend


def test_same_kind_arms_plot_by_ratio(tmp_path: Path) -> None:
    """Arms of the same kind are drawn over their ratio where they have several ratios."""
    experiment = Experiment(tmp_path, ["cat", "dog"], [REAL, SYNTHETIC, LIVE])

    def drawn(settings: dict[str, Any]) -> list[str]:
        tags = Page(experiment.report(settings)).tags
        labels = [attributes.get("aria-label") or "" for tag, attributes in tags if tag == "svg"]
        return [label for label in labels if "by ratio" in label]

    def has_ratios(settings: dict[str, Any]) -> bool:
        return bool(report.collect_figures(experiment.run, experiment.change_arms(settings))["ratios"])

    one, other = {"kind": "synthetic", "ratio": 1.0}, {"kind": "synthetic", "ratio": 0.5}
    both = "Change in test accuracy by ratio. 1.0: +10.0 points; 0.5: +0.0 points"
    assert drawn({SYNTHETIC: one, LIVE: other}) == [both]
    assert drawn({}) == []
    assert has_ratios({SYNTHETIC: one, LIVE: other})
    assert not has_ratios({SYNTHETIC: one, LIVE: one}), "one ratio makes no curve"
    assert not has_ratios({SYNTHETIC: one, LIVE: {**other, "kind": "live"}})


def test_live_rejection_count_is_reported(tmp_path: Path, reported: Experiment) -> None:
    """The page says how many live images were generated, rejected and replaced during training."""
    live = Experiment(tmp_path / "live", ["cat", "dog"], [REAL, LIVE])
    marker = json.loads((tmp_path / "live/synthetic/synthetic.json").read_text())
    (tmp_path / "live/synthetic/synthetic.json").write_text(json.dumps(marker | {"images": 0}))
    text = Page(live.report()).text
    assert live.figures()["gan"]["live"] == {"generated": 2000, "rejected": 250, "let_through": 1}
    assert "generated live 2,000" in text
    assert "images generated 0" not in text
    assert "250 (12.5 %) were rejected on the fly and replaced, except in 1 row for" in text
    assert "on the fly" not in Page(reported.page()).text


def test_time_sums_models_per_arm(reported: Experiment) -> None:
    """The table of times adds up the models of an arm."""
    rows = {row["stage"]: row for row in reported.figures()["time"]}
    assert list(rows) == [
        "prepare",
        "train-gan",
        "generate",
        f"train, {REAL}",
        f"train, {SYNTHETIC}",
        "compare",
    ]
    assert rows[f"train, {REAL}"]["seconds"] == pytest.approx(60, abs=1)
    assert rows[f"train, {REAL}"]["models"] == 2


@pytest.mark.parametrize(
    ("occupied", "words"),
    [
        (
            {"cores": 2.0},
            "The trainings cost 0.12 core-hours: 0.067 core-hours for the classifiers, 0.056 core-hours for",
        ),
        ({"gpus": 0.25}, "The trainings cost 0.015 GPU-hours: 0.0083 GPU-hours for the classifiers, 0.0069 GPU-hours"),
    ],
)
def test_trainings_have_their_cost(experiment: Experiment, occupied: dict[str, float], words: str) -> None:
    """Beside the times stands what each arm's trainings and the GAN's cost, by what their records say they occupied."""
    for path in (*experiment.path.glob("models/*/*/model.json"), experiment.path / "gan/gan.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"occupied": occupied}))
    page = Page(experiment.report()).text.replace("\u00a0", " ")
    assert words in page
    (unit,) = occupied
    costs = {row["stage"]: row["cost"] for row in experiment.figures()["time"]}
    assert costs["train-gan"] == {unit: pytest.approx(occupied[unit] * 100 / 3600, rel=0.01)}
    assert costs[f"train, {REAL}"] == {unit: pytest.approx(occupied[unit] * 60 / 3600, rel=0.01)}
    assert costs["prepare"] == {}


def test_cost_needs_what_was_occupied(reported: Experiment) -> None:
    """Of trainings from before it was recorded what they occupied, the page has times alone."""
    assert "cost" not in Page(reported.page()).text.split("Time and cost")[2]


def test_teacher_has_its_time(experiment: Experiment) -> None:
    """The teacher's training is a stage of its own, and none of the arms' models."""
    experiment._model("teacher", 0, right=1)
    figures = report.collect_figures(experiment.run, experiment.job)
    (row,) = [row for row in figures["time"] if row["stage"] == "teach"]
    assert row["models"] == 0
    assert row["seconds"] > 0


def test_surplus_models_are_left_out(experiment: Experiment) -> None:
    """Models of an earlier run with more seeds do not appear in the lineage."""
    experiment._model(REAL, 7, right=1)  # from an earlier run with more seeds
    lineage = report.collect_figures(experiment.run, experiment.job)["lineage"]
    assert "models/real+classic/seed-7" not in [row["stage"] for row in lineage]


def test_last_samples_appear_with_step(reported: Experiment) -> None:
    """The last samples of the GAN are shown with the step at which they were drawn."""
    page = Page(reported.page())
    assert "generated ones at step 40" in page.text


def test_gan_figures_include_spread_and_reason(experiment: Experiment, reported: Experiment) -> None:
    """Figures of a GAN are shown with their spread, and an early end of its training with the reason."""
    page = Page(reported.page()).text
    assert "values slightly below 0 are chance – 0.250 ± 0.100 lower" in page
    assert "kid_teacher" not in page.split("Lineage")[0], "codes are for files"
    assert "ended early" not in page
    record = experiment.run.gan.read_json("gan.json")
    chosen = {"step": 20, "chosen_by": "val_conditional_kid_teacher_n100v200", "value": 0.4, "recall": 0.6}
    experiment.run.gan.write_json("gan.json", record | {"ended_early": "collapsed: since step 20", "chosen": chosen})
    page = Page(experiment.report()).text
    assert "The training was ended early: collapsed: since step 20." in page
    assert "step 20 whose conditional KID against validation images lies within a standard error of the best" in page
    assert "kid_teacher" not in page.split("Lineage")[0]


def test_report_charts_discriminator_overfitting(reported: Experiment) -> None:
    """The page has a chart of the discriminator's sign on training images and its gap to validation images."""
    labels = [attributes.get("aria-label") for tag, attributes in Page(reported.page()).tags if tag == "svg"]
    ends = "sign on training images ends at 0.500, gap to validation ends at 0.125"
    assert f"discriminator's overfitting over steps: {ends}" in labels


def test_large_samples_keep_page_small(experiment: Experiment) -> None:
    """Large pictures of a long training are shrunk, and few of them shown, so that the page stays small."""
    record = experiment.run.gan.read_json("gan.json")
    experiment.run.gan.write_json("gan.json", record | {"size": 128})
    grid = image_grid.arrange_grid(list(np.random.default_rng(0).integers(0, 256, (3, 8, 128, 128, 3), np.uint8)))
    for step in range(20, 34):
        experiment._write(f"samples/step-{step:08d}.png", image_grid.join_side_by_side(grid, grid))
    assert len(experiment.report()) < 2_000_000


def find_snapshots(page: Page) -> list[dict[str, str | None]]:
    return [a for tag, a in page.tags if tag == "img" and (a["alt"] or "").startswith("Generated images at step")]


def test_real_and_generated_images_stand_side_by_side(reported: Experiment) -> None:
    """Real and generated images of each class have a row, four of each, without a white gap between them."""
    page = Page(reported.page())
    (real,) = [a for tag, a in page.tags if tag == "img" and a["alt"] == "Real training images, one row a class"]
    for attributes in (real, *find_snapshots(page)):
        picture = open_picture(attributes["src"])
        assert picture.size == (4 * 34 - 2, 3 * 34 - 2)
        assert picture.getpixel((33, 0))[3] == 0, "the gap is the page itself"


def test_slider_begins_at_the_chosen_step(experiment: Experiment) -> None:
    """The slider goes over some of the steps, first, last and chosen among them, and shows the chosen one at first."""
    for step in range(60, 1020, 20):
        experiment._samples(step)
    record = experiment.run.gan.read_json("gan.json")
    record["chosen"]["step"] = 460
    experiment.run.gan.write_json("gan.json", record)
    page = Page(experiment.report())
    snapshots = find_snapshots(page)
    labels = [attributes["data-label"] for attributes in snapshots]
    assert 12 <= len(labels) <= 13
    assert labels[0] == "20"
    assert labels[-1] == "1,000"
    assert [label for label, a in zip(labels, snapshots, strict=True) if "hidden" not in a] == ["460 (chosen)"]
    (slider,) = [attributes for _, attributes in page.tags if attributes.get("type") == "range"]
    assert slider["max"] == str(len(labels) - 1)
    assert slider["value"] == str(labels.index("460 (chosen)"))


def test_single_snapshot_has_no_slider(experiment: Experiment) -> None:
    """One snapshot is shown beside real images, and needs no slider."""
    (experiment.path / "gan/samples/step-00000020.png").unlink()
    page = Page(experiment.report())
    assert not [attributes for _, attributes in page.tags if attributes.get("type") == "range"]
    assert len(find_snapshots(page)) == 1


def test_gan_picture_rows_have_class_names(experiment: Experiment) -> None:
    """Rows of the GAN's pictures carry class names where there is a row for every class."""
    experiment._interpolation()
    named = '<div class="rows"><span>cat</span><span>dog</span><span>owl</span></div>'
    page = experiment.report()
    assert page.count(named) == 2  # slider, interpolation
    assert "Latent interpolation" in page
    experiment._samples(40, rows=2)  # of a class there was no image at hand
    experiment._samples(20, rows=2)
    assert experiment.report().count(named) == 1


def test_page_renders_without_interpolation(reported: Experiment) -> None:
    """As in the folder of an older version."""
    assert "interpolation" not in Page(reported.page()).text


COVERED = {"generated": 0.625, "held_out": 0.875}
PUBLISHED = {"source": "A. Painter 2021", "loss_g": 4.3852, "real_score": 0.9508}


def test_published_figures_appear_for_comparison(experiment: Experiment, reported: Experiment) -> None:
    """An epoch of nine images in batches of 64 is one step; with batches of two, 20 to 40 are the last five."""
    assert "published" not in Page(reported.page()).text.split("Lineage")[0]
    experiment.job = Job.model_validate(experiment.job.model_dump() | {"published": PUBLISHED})
    log = experiment.path / "gan/metrics.jsonl"
    lines = [{"step": step, "loss_g": step / 10, "real_score": 0.5, "fake_score": 0.25} for step in (10, 36, 38, 40)]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "loss_g 4.0000 4.3852" in Page(experiment.report()).text
    experiment.job = experiment.job.model_copy(update={"gan": experiment.job.gan.model_copy(update={"batch_size": 2})})
    page = Page(experiment.report()).text
    assert "loss_g 3.8000 4.3852 real_score 0.5000 0.9508 This run" in page
    assert "the mean over the 3 logged steps of its last epoch. Published: A. Painter 2021." in page
    assert experiment.figures()["gan"]["published"]["figures"][0] == {
        "name": "loss_g",
        "run": pytest.approx(3.8),
        "published": 4.3852,
    }


def test_gan_of_unlabelled_images_has_report_section(experiment: Experiment) -> None:
    """Arms with pseudo-labelled images have a GAN and a pool of their own, in folders of their own."""
    content = experiment.job.model_dump()
    content["data"]["unlabelled"] = "unused"
    content["arms"] = {SYNTHETIC: {"kind": "pseudo+synthetic"}}
    experiment.job = Job.model_validate(content)
    (experiment.path / "gan").rename(experiment.path / "gan-pseudo")
    page = Page(experiment.report())
    assert "Generator steps 40" in page.text
    assert any(a.get("alt", "").startswith("Generated images at step") for tag, a in page.tags if tag == "img")


def test_unused_gan_has_report_section(tmp_path: Path) -> None:
    """A GAN that no arm uses has a section in the report all the same."""
    page = Experiment(tmp_path, ["cat", "dog"], [REAL], gan={"conditional": False}).report()
    assert "trained without classes" in page
    assert "<dt>images generated" not in page
    assert json.loads((tmp_path / "verdict.json").read_text())["sentence"] in page


@pytest.mark.parametrize(("images", "is_shown"), [(40, True), (12, False)])
def test_generator_stands_beside_held_out_images(experiment: Experiment, images: int, is_shown: bool) -> None:
    """Too few held-out images have no figures of distributions; the page has what there is."""
    beside: dict[str, Any] = {"images": images, "classes": {"cat": {"generated": 0.9, "held_out": 0.8, "images": 6}}}
    if is_shown:
        beside["coverage"] = COVERED
    records.write_gan(experiment.run.gan, beside_held_out=beside)
    text = Page(experiment.report()).text
    assert ("coverage, 40 images, % 62.5 87.5" in text) == is_shown
    assert "cat: recognised by the teacher, % 90.0 80.0 of 6" in text


def test_charts_hold_what_held_out_images_reach(experiment: Experiment, reported: Experiment) -> None:
    """The dashed lines are measured figures of held-out real images; without these, KID has its expected value."""

    def describe_charts(page: str) -> str:
        return "; ".join(a.get("aria-label") or "" for tag, a in Page(page).tags if tag == "svg")

    assert "KID against training images, over steps: ends at 0.250; other real images: 0;" in (
        describe_charts(reported.page()) + ";"
    )
    assert "A good generator's band reaches it" in Page(reported.page()).text
    log = metrics_log.MetricsLog(experiment.run.gan, 41)
    log.append_line({"step": 41, "val_coverage_teacher_n30": 0.5, "agreement_teacher_n30": 0.75})
    log.flush()
    records.write_gan(experiment.run.gan, beside_held_out=records.USABLE | {"coverage": COVERED})
    page = experiment.report()
    charts = describe_charts(page)
    assert "held-out real images: -0.02; good: below 0.58" in charts
    assert "coverage of held-out real images: 87.5, of the kept generator's in the same comparison: 62.5" in charts
    assert "agreement of held-out real images: 92.0, of the kept generator's in the same comparison: 90.0" in charts
    assert "at least 75 % of the held-out images' coverage and 50 % of their recall" in Page(page).text


def test_every_picture_has_text_alternative(reported: Experiment) -> None:
    """Every picture has a text that says what it shows."""
    pictures = [(tag, a) for tag, a in Page(reported.page()).tags if tag in ("img", "svg")]
    # classes, real, snapshots, forest, change by class, KID, GAN curves, learning curves, confusion
    assert len(pictures) == 3 + 1 + 2 + 1 + 1 + 1 + 3 + 4 + 1
    assert all(attributes.get("alt") or attributes.get("aria-label") for _, attributes in pictures)


def test_page_renders_without_synthetic_images(tmp_path: Path) -> None:
    """Without synthetic images the page has no GAN and no comparison, and says so."""
    experiment = Experiment(tmp_path, ["cat", "dog"], [REAL])
    page = Page(experiment.report())
    assert "Nothing was compared: no arm of this job adds images" in page.text
    assert "GAN" not in page.text.split("Lineage")[0]
    assert experiment.figures()["gan"] is None
    assert experiment.figures()["recall_change"] == {}


def test_class_names_are_escaped(tmp_path: Path) -> None:
    """Class names with HTML or formulas in them can neither run scripts nor break the page."""
    names = ["$x_{", "<script>alert(1)</script>", 'a" onload="alert(1)']
    page = Page(Experiment(tmp_path, names, [REAL, SYNTHETIC]).report())
    assert [tag for tag, _ in page.tags].count("script") == 1, "the page's own"
    assert not any("onload" in attributes for _, attributes in page.tags)
    assert all(name in page.text for name in names)


def test_many_classes_are_cut_to_the_worst(tmp_path: Path) -> None:
    """Of very many classes the worst are listed, and the page says so and holds all of them as files."""
    experiment = Experiment(tmp_path, [f"kind {i:02d}" for i in range(25)], [REAL, SYNTHETIC])
    page = Page(experiment.report())
    strips = [a for tag, a in page.tags if tag == "img" and "Training images" in (a.get("alt") or "")]
    assert len(strips) == 10
    assert "The first 10 of 25 classes are shown" in page.text
    assert "Of 25 classes the 20 with the lowest F1 are listed" in page.text
    assert not [a for tag, a in page.tags if (a.get("aria-label") or "").startswith("Confusion matrix")]
    files = {a["download"]: a["href"] for tag, a in page.tags if "download" in a}
    assert set(files) == {"classes.csv", "images.csv"}
    table = base64.b64decode((files["classes.csv"] or "").partition(",")[2]).decode()
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["class"] for row in rows] == experiment.classes
    assert float(rows[3][f"change in recall, {SYNTHETIC}"]) == pytest.approx(0.1)


def test_few_classes_need_no_download(reported: Experiment) -> None:
    """What stands on the page in full is no download as well."""
    assert not [a for tag, a in Page(reported.page()).tags if "download" in a]


def test_many_arms_are_cut_in_the_headline_only(tmp_path: Path) -> None:
    """The chart at the top shows six arms at most, the chosen one among them; the table has all."""
    arms = [REAL, SYNTHETIC, *(f"arm-{n}" for n in range(20))]
    page = Page(Experiment(tmp_path, ["cat", "dog"], arms, seeds=1).report())
    labels = [attributes.get("aria-label") or "" for _, attributes in page.tags]
    (chart,) = [label for label in labels if label.startswith("Change on test")]
    assert chart.count("points") == 6
    assert f"{WITH_SYNTHETIC} (1): " in chart
    assert "The 6 of 21 arms" in page.text
    assert all(arm in page.text for arm in arms)


def test_single_seed_and_sparse_logs_render(tmp_path: Path) -> None:
    """An experiment with a single seed and incomplete logs has a page."""
    experiment = Experiment(tmp_path, ["cat", "dog"], [REAL, SYNTHETIC], seeds=1)
    (tmp_path / "gan/metrics.jsonl").write_text('{"step": 1, "loss_g": 1.0, "loss_d": NaN}\n{"step": 2, "lo')
    for picture in (tmp_path / "gan/samples").iterdir():
        picture.unlink()
    for log in tmp_path.glob("models/*/*/metrics.jsonl"):
        log.write_text('{"step": 1, "loss": 1.0}\n')
    page = Page(experiment.report())
    assert "Measured over 1 seed." in page.text
    assert "validation accuracy" not in page.text


def test_equal_experiments_give_equal_pages(experiment: Experiment, reported: Experiment) -> None:
    """The same experiment gives the same page, byte for byte."""
    assert experiment.report() == reported.page()
