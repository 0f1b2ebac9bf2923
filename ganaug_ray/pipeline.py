"""All stages, top to bottom: the table of contents. Each takes folders and gives a folder."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from ganaug_ray import arms, board, runs, spread
from ganaug_ray.config import Job
from ganaug_ray.console import Look, Terminal
from ganaug_ray.errors import StageFailed, UserError
from ganaug_ray.evaluate import target as targets
from ganaug_ray.runs import Record, Run
from ganaug_ray.spread import Each
from ganaug_ray.storage import Folder

# Ray and torch are imported by the stage that needs them: a finished run needs neither.


@dataclass(frozen=True)
class Pipeline:
    """One job in one experiment folder, told to one terminal. Every stage keeps what is done."""

    job: Job
    run: Run
    terminal: Terminal

    def all(self) -> None:
        """Run every stage from raw images to a promoted model."""
        self.prepare()
        if arms.has_gan(self.job):
            self.train_gan()
        if arms.has_synthetic(self.job):
            self.generate()
        self.train()
        self.compare()
        if self.job.models:
            self.compare_models()
        self.report()
        self.promote()

    def prepare(self) -> None:
        """Raw images -> dataset/."""

        def work() -> Record:
            from ganaug_ray.data.prepare import prepare

            far = [(0.0, "listing the sources")]
            with self.terminal.watching("prepare", lambda: far[0]), self._hands() as each:
                return prepare(self.job.data, self.run.dataset, each, lambda *now: far.__setitem__(0, now))

        def outcome(record: Record) -> str:
            rows = {split: sum(counts.values()) for split, counts in record["counts"].items()}
            left_out = sum(record["rejected"].values())
            parts = [f"{len(record['classes'])} classes: {rows['train']} train, {rows['val']} val, {rows['test']} test"]
            parts += [f"{rows['unused']} unused"] if rows["unused"] else []
            parts += [f"{left_out} rejected (see dataset/rejected.parquet)"] if left_out else []
            return ", ".join(parts)

        self._stage("prepare", runs.done(self.run.dataset, "dataset.json"), work, outcome)
        if arms.has_synthetic(self.job):
            from ganaug_ray.augment import plan

            # A strategy that the data do not suit is an error now, not when a GAN has been trained.
            plan.pool(self.run.dataset.read_json("dataset.json")["counts"]["train"], self.job.augment)

    def teach(self) -> None:
        """dataset/ -> the first model of the real arm, whose features judge the generator."""
        self._need("prepare", runs.done(self.run.dataset, "dataset.json"))
        teacher = self.run.model(arms.REAL, 0)

        def work() -> Record:
            self._fit([(arms.REAL, 0)], "teach")
            return teacher.read_json("model.json")

        def outcome(record: Record) -> str:
            return f"validation accuracy {record['val_accuracy']:.3f} at step {record['best_step']}"

        self._stage("teach", runs.done(teacher, "model.json"), work, outcome)

    def train_gan(self) -> None:
        """dataset/train -> gan/, with the teacher's features as the yardstick; teaches first."""
        self.teach()
        dataset = self._need("prepare", runs.done(self.run.dataset, "dataset.json"))
        teacher = self._need("teach", runs.done(self.run.model(arms.REAL, 0), "model.json"))

        def work() -> Record:
            from ganaug_ray import checkpoints
            from ganaug_ray.gan import budget
            from ganaug_ray.gan.train import train_gan
            from ganaug_ray.gan.worker import Training

            training = Training(
                config=self.job.gan,
                size=self.job.gan_size,
                seed=self.job.seed,
                dataset=str(self.run.dataset),
                teacher=str(self.run.model(arms.REAL, 0)),
                out=str(self.run.gan),
                resident_gb=self.job.data.resident_gb,
                inputs={"dataset": dataset["hash"], "teacher": teacher["hash"]},
            )
            notice = functools.partial(self.terminal.line, "train-gan", "note")
            start = checkpoints.latest(self.run.gan / "checkpoints", training.fingerprint(), notice)
            if start is not None:
                notice(f"resuming at step {start.step}")
            planned = budget.of(self.job.gan, self.job.gan_size, sum(dataset["counts"]["train"].values()))
            notice(planned.facts)
            if planned.warning:
                notice(planned.warning)
            self._connect()
            with self.terminal.watching("train-gan", lambda: self._gan_progress(planned.steps)):
                train_gan(training)
            return self.run.gan.read_json("gan.json")

        def outcome(record: Record) -> str:
            chosen, parts = record["chosen"], [f"{record['steps']} steps, {record['images_seen']} images seen"]
            parts += [record["ended_early"]] if record["ended_early"] else []
            if chosen["value"] is not None:
                parts.append(f"kept: {chosen['chosen_by']} {chosen['value']:.4f} at step {chosen['step']}")
            return ", ".join([*parts, f"memorisation: {record['memorization']['verdict']}"])

        self._stage("train-gan", runs.done(self.run.gan, "gan.json"), work, outcome)

    def generate(self) -> None:
        """gan/ -> synthetic/."""
        if not self.job.gan.conditional:
            raise UserError(
                "gan.conditional false: images of no class cannot be mixed with real ones; to look at some, "
                f"`ganaug generate {self.run.root} --count any=100 --png DIR`"
            )
        dataset = self._need("prepare", runs.done(self.run.dataset, "dataset.json"))
        gan = self._need("train-gan", runs.done(self.run.gan, "gan.json"))

        def work() -> Record:
            from ganaug_ray.augment import plan

            if gan["memorization"]["verdict"] == "copies" and not self.job.augment.allow_copies:
                raise StageFailed(
                    f"the generator copies: {gan['memorization']['reason']} (see gan/closest_pairs.png); more images "
                    "or fewer gan.steps help, and augment.allow_copies=true goes on all the same"
                )

            self._connect()
            from ganaug_ray.augment.generate import BLOCK, generate

            stored = "pool" in self.job.augment.source
            screening = arms.screening(self.job, self.run)
            counts = plan.pool(dataset["counts"]["train"], self.job.augment)
            total, made = sum(counts.values()) if stored else BLOCK * len(counts), [0]
            look: Look = lambda: (made[0] / total, f"{made[0]} of {total} images")  # noqa: E731
            with self.terminal.watching("generate", look):
                progress = functools.partial(made.__setitem__, 0)
                source, out = self.run.gan, self.run.synthetic
                return generate(counts, self.job.seed, source, out, screening, progress, stored=stored)

        def outcome(record: Record) -> str:
            drawn = sum(n > 0 for n in record["counts"].values())
            rejected = sum(sum(own.values()) for own in record["screened"].values())
            stored = f"{record['images']} images of {drawn} classes"
            parts = [stored if record["images"] else "none stored: images are made in training"]
            parts += [f"{rejected} rejected (see synthetic/screened.parquet)"] if rejected else []
            parts += [f"not drawn: {', '.join(record['not_drawn'])}"] if record["not_drawn"] else []
            return ", ".join(parts)

        self._stage("generate", arms.generated(self.job, self.run), work, outcome)

    def train(self) -> None:
        """dataset/ and synthetic/ -> models/<arm>/seed-<k>/ for every arm and seed."""
        self._need("prepare", runs.done(self.run.dataset, "dataset.json"))
        if arms.has_synthetic(self.job):
            self._need("generate", arms.generated(self.job, self.run))
        missing = [fit for fit in arms.pairs(self.job) if not runs.done(self.run.model(*fit), "model.json")]

        def work() -> Record:
            self._fit(missing, "train")
            return {"trained": len(missing)}

        def outcome(record: Record) -> str:
            by_arm: dict[str, list[float]] = {}
            for arm, seed in arms.pairs(self.job):
                accuracy = self.run.model(arm, seed).read_json("model.json")["val_accuracy"]
                by_arm.setdefault(arm, []).append(accuracy)
            means = ", ".join(f"{arm} {sum(own) / len(own):.3f}" for arm, own in by_arm.items())
            return f"{len(arms.pairs(self.job))} models; mean validation accuracy: {means}"

        self._stage("train", None if missing else {}, work, outcome)

    def compare(self) -> None:
        """models/ -> verdict.json."""
        inputs = {
            f"{arm}/seed-{seed}": self._need("train", runs.done(self.run.model(arm, seed), "model.json"))["hash"]
            for arm, seed in arms.pairs(self.job)
        }
        current = runs.fingerprint(inputs, self.job.compare.model_dump())

        def work() -> Record:
            from ganaug_ray.evaluate import compare

            started = time.monotonic()
            outcomes = {arm: arms.outcomes(self.job, self.run, arm) for arm in arms.names(self.job)}
            classes = self.run.dataset.read_json("dataset.json")["classes"]
            candidates = [arm for arm in outcomes if arm != arms.REAL]
            verdict = compare.verdict(outcomes, arms.REAL, candidates, self.job.compare.metric, classes)
            record = {"hash": current, "inputs": inputs, **verdict}
            return runs.commit(self.run.root, "verdict.json", "compare", started, record)

        done = runs.done(self.run.root, "verdict.json")
        kept = done if done and done["hash"] == current else None
        self._stage("compare", kept, work, lambda record: record["sentence"])

    def models(self) -> None:
        """Raw images -> board.json; the report too, where there is one to tell it in."""
        board.pairs(self.job)  # before any work: there are models to compare
        self.prepare()
        self.compare_models()
        if runs.done(self.run.root, "verdict.json"):
            self.report()
        else:
            self.terminal.line("report", "note", "`ganaug run` adds the table and the plot to report.html")

    def compare_models(self) -> None:
        """dataset/ -> board/<model>/seed-<k>/ for every compared model and seed, and board.json."""
        self._need("prepare", runs.done(self.run.dataset, "dataset.json"))
        pairs = board.pairs(self.job)
        missing = [pair for pair in pairs if board.done(self.job, self.run, *pair) is None]

        def work() -> Record:
            from ganaug_ray.evaluate.models import compare_models

            started = time.monotonic()
            if missing:
                self._fit_models(missing)
            return compare_models(self.run, self.job, started)

        done = None if missing else runs.done(self.run.root, board.MARKER)
        kept = done if done and done["hash"] == board.fingerprint(self.job, self.run) else None
        self._stage("compare-models", kept, work, lambda record: record["sentence"])

    def evaluate(self, model: str | None = None, data: str | None = None) -> None:
        """A model -> evaluation/<model>/<images>/: every figure, what it gets wrong, what it learned.

        Without ``model`` it is the champion, or every trained model where there is no verdict yet; without ``data``
        it is the experiment's own test images.
        """
        dataset = self._need("prepare", runs.done(self.run.dataset, "dataset.json"))
        models = targets.models(self.run, self.job, model)
        self._need("train", dataset if models else None)
        for folder in models:
            target = targets.target(self.run, folder, data)
            if target.record["inputs"].get("dataset") != dataset["hash"]:
                note = f"{folder} was trained on another data set: images it was trained on may be among these"
                self.terminal.line("evaluate", "note", note)

            def work(target: targets.Target = target) -> Record:
                from ganaug_ray.evaluate.evaluation import evaluate

                hands = self._hands() if data else nullcontext(spread.one_by_one)
                with self.terminal.watching("evaluate", lambda: (0.0, target.name)), hands as each:
                    return evaluate(self.run, self.job.data, target, self.job.seed, each)

            self._stage("evaluate", targets.done(self.run, target), work, targets.outcome)

    def report(self) -> None:
        """Everything so far -> report.html and report.json; evaluates the champion first."""
        verdict = self._need("compare", runs.done(self.run.root, "verdict.json"))
        self.evaluate()

        def work() -> Record:
            from ganaug_ray.evaluate.report import report

            return report(self.run, self.job, inputs)

        (champion,) = targets.models(self.run, self.job)
        evaluated = targets.target(self.run, champion, None).out.read_json(targets.MARKER)
        # The verdict stands for the models and what they were made from: not for a GAN that no arm needs.
        inputs = {"verdict": verdict["hash"], "evaluation": evaluated["hash"]}
        if gan := runs.done(self.run.gan, "gan.json"):
            inputs["gan"] = gan["hash"]
        if compared := runs.done(self.run.root, board.MARKER):
            inputs["board"] = compared["hash"]
        if self.job.published:
            inputs["published"] = runs.fingerprint(self.job.published.model_dump())
        done = runs.done(self.run.root, "report.json")
        kept = done if done and done["inputs"] == inputs else None
        self._stage("report", kept, work, lambda record: str(self.run.root / "report.html"))

    def promote(self) -> None:
        """The champion's model -> a version in registry/ and champion.json."""
        verdict = self._need("compare", runs.done(self.run.root, "verdict.json"))
        champion = verdict["champion"]
        model = self.run.model(champion["arm"], champion["seed"])
        lineage = {
            "job": self.job.model_dump(exclude_none=True),
            "arm": champion["arm"],
            "seed": champion["seed"],
            "reason": champion["reason"],
            "verdict": verdict["verdict"],
            "sentence": verdict["sentence"],
            "figures": champion["figures"],
            "inputs": model.read_json("model.json")["inputs"],
        }
        done = runs.done(self.run.registry, "champion.json")
        kept = done if done and done["lineage"] == lineage else None

        def work() -> Record:
            from ganaug_ray import registry

            return registry.promote(self.run.registry, model, lineage)

        def outcome(record: Record) -> str:
            return f"version {record['version']} is champion: {record['lineage']['reason']}"

        self._stage("promote", kept, work, outcome)

    # What the stages share.

    def _stage(
        self, name: str, kept: Record | None, work: Callable[[], Record], outcome: Callable[[Record], str]
    ) -> None:
        """Do a stage unless it is done, and print its one line."""
        if kept is not None:
            self.terminal.line(name, "kept", outcome(kept))
            return
        started = time.monotonic()
        try:
            record = work()
        except BaseException:
            self.terminal.line(name, "failed", "", time.monotonic() - started)
            raise
        self.run.write_summary()
        self.terminal.line(name, "done", outcome(record), time.monotonic() - started)

    def _need(self, verb: str, record: Record | None) -> Record:
        if record is None:
            raise UserError(f"{self.run.root}: `ganaug {verb}` has not been done there yet; run it first")
        return record

    def _connect(self) -> None:
        from ganaug_ray import cluster

        cluster.connect(self.job)

    def _hands(self) -> AbstractContextManager[Each]:
        """Many hands for light work: the cluster's where there is one, else processes, which start sooner than Ray."""
        if "RAY_ADDRESS" not in os.environ:
            return spread.processes()
        self._connect()
        return nullcontext(spread.on_cluster)

    def _fit(self, wanted: list[tuple[str, int]], stage: str) -> None:
        """Train these arms and seeds."""
        from ganaug_ray.classify import start
        from ganaug_ray.classify.train import train

        if weights := start.prepare(self.job, self.run):
            self.terminal.line(stage, "note", f"starts from {start.sentence(weights)}")
        self._connect()
        counts = self.run.dataset.read_json("dataset.json")["counts"]["train"]
        steps = self.job.classifier.total_steps(sum(counts.values()))
        asked = [(self.run.model(*fit), steps) for fit in wanted]
        with self.terminal.watching(stage, lambda: self._fit_progress(asked)):
            train([arms.fit(self.job, self.run, arm, seed) for arm, seed in wanted])

    def _fit_models(self, wanted: list[tuple[str, int]]) -> None:
        """Train these compared models and seeds."""
        from ganaug_ray.classify import start
        from ganaug_ray.classify.train import train

        for name in dict.fromkeys(name for name, _ in wanted):
            if weights := board.prepare(self.job, self.run, name):
                self.terminal.line("compare-models", "note", f"{name} starts from {start.sentence(weights)}")
        self._connect()
        fits = [board.fit(self.job, self.run, name, seed) for name, seed in wanted]
        rows = sum(self.run.dataset.read_json("dataset.json")["counts"]["train"].values())
        asked = [(board.folder(self.run, *pair), self.job.models[pair[0]].total_steps(rows)) for pair in wanted]
        with self.terminal.watching("compare-models", lambda: self._fit_progress(asked)):
            train(fits)

    def _fit_progress(self, wanted: list[tuple[Folder, int]]) -> tuple[float, str]:
        reached, ready = 0, 0
        for folder, steps in wanted:
            lines = runs.read_metrics(folder)
            trained = folder.has("model.json")  # it may have ended early
            reached += steps if trained else lines[-1]["step"] if lines else 0
            ready += trained
        return reached / sum(steps for _, steps in wanted), f"{ready} of {len(wanted)} models trained"

    def _gan_progress(self, steps: int) -> tuple[float, str]:
        lines = [line for line in runs.read_metrics(self.run.gan) if "loss_g" in line]
        if not lines:
            return 0.0, "starting workers"
        last = lines[-1]
        return last[
            "step"
        ] / steps, f"step {last['step']} of {steps}, loss_g {last['loss_g']:.2f}, loss_d {last['loss_d']:.2f}"
