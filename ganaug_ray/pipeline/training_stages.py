"""The stages that make things: from raw images to the trained models of every arm, in each of the job's splits."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from ganaug_ray.augment import arm_batches, arms, synthetic_pools
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.experiment_dir import Record
from ganaug_ray.errors import UserError
from ganaug_ray.pipeline import progress
from ganaug_ray.pipeline.stage import Split, Stages

if TYPE_CHECKING:
    from ganaug_ray.gan.training_spec import Training

# Ray and torch are imported by the stage that needs them: a finished run needs neither.

Asked = tuple[Split, str, int]
"""A model that is to be trained: the split, the arm, the seed."""


class Making(Stages):
    """Raw images -> dataset/, gan/, synthetic/ and models/."""

    def prepare(self) -> None:
        """Raw images -> dataset/."""
        from ganaug_ray.augment import strategies

        for split in self.splits:
            self._prepare(split)
        for name, arm in self.job.compared.items():
            # A strategy that the data do not suit is an error now, not when a GAN has been trained.
            data = self.run.dataset.read_json("dataset.json")
            strategies.pool(data["counts"]["train"], arm)
            arms.check_classes(name, arm, data)

    def _prepare(self, split: Split) -> None:
        def work() -> Record:
            from ganaug_ray.data.prepare import prepare

            far = [(0.0, "listing the sources")]
            with self.terminal.watching("prepare", lambda: far[0]), self.hands() as each:
                return prepare(split.job.data, split.run.dataset, each, lambda *now: far.__setitem__(0, now))

        def outcome(record: Record) -> str:
            rows = {part: sum(counts.values()) for part, counts in record["counts"].items()}
            left_out = sum(record["rejected"].values())
            parts = [f"{len(record['classes'])} classes: {rows['train']} train, {rows['val']} val, {rows['test']} test"]
            parts += [f"{rows['unused']} unused"] if rows["unused"] else []
            parts += [f"{left_out} rejected (see dataset/rejected.parquet)"] if left_out else []
            return split.name + ", ".join(parts)

        self.stage("prepare", experiment_dir.done(split.run.dataset, "dataset.json"), work, outcome)

    def teach(self) -> None:
        """dataset/ -> the first model of the real arm, whose features judge the generator."""
        self._need_data()
        teachers = [(split, arms.REAL, 0) for split in self.splits]

        def work() -> Record:
            self._fit(self._missing(teachers), "teach")
            return {}

        def outcome(record: Record) -> str:
            return "; ".join(split.name + _taught(split) for split in self.splits)

        self.stage("teach", None if self._missing(teachers) else {}, work, outcome)

    def train_gan(self) -> None:
        """dataset/train -> gan/, with the teacher's features as the yardstick; teaches first."""
        self.teach()
        self._label()
        gans = [(split, gan) for split in self.splits for gan in synthetic_pools.gans(split.job, split.run)]
        missing = [(split, gan) for split, gan in gans if not experiment_dir.done(gan.folder, "gan.json")]

        def work() -> Record:
            from ganaug_ray.gan import training_budget
            from ganaug_ray.gan.launch import train_gans

            trainings = [self._training(split, gan) for split, gan in missing]
            counts = missing[0][1].dataset.read_json("dataset.json")["counts"]["train"]
            planned = training_budget.of(self.job.gan, self.job.gan_size, sum(counts.values()))
            self.terminal.line("train-gan", "note", planned.facts)
            if planned.warning:
                self.terminal.line("train-gan", "note", planned.warning)
            self.connect()
            folders = [gan.folder for _, gan in missing]
            with self.terminal.watching("train-gan", lambda: progress.of_gans(folders, planned.steps)):
                train_gans(trainings)
            return {}

        def outcome(record: Record) -> str:
            return "; ".join(split.name + _drawn(gan) for split, gan in gans)

        self.stage("train-gan", None if missing else {}, work, outcome)

    def _training(self, split: Split, gan: synthetic_pools.Gan) -> Training:
        from ganaug_ray.core import checkpoint

        training = synthetic_pools.training(split.job, split.run, gan)
        notice = functools.partial(self.terminal.line, "train-gan", "note")
        start = checkpoint.latest(gan.folder / "checkpoints", training.fingerprint(), notice)
        if start is not None:
            notice(f"{split.name}resuming at step {start.step}")
        return training

    def _label(self) -> None:
        """dataset/unlabelled -> pseudo/, where an arm needs it."""
        for split in self.splits if synthetic_pools.needs_pseudo(self.job) else ():

            def work(split: Split = split) -> Record:
                from ganaug_ray.augment import pseudo_labels

                self.connect()

                teacher, confidence = split.run.model(arms.REAL, 0), self.job.augment.pseudo_confidence
                return pseudo_labels.label(split.run.dataset, teacher, split.run.pseudo, confidence)

            def outcome(record: Record, split: Split = split) -> str:
                found = record["pseudo"]
                sure = sum(found["labelled"].values())
                return f"{split.name}the teacher is sure of {sure} of {found['unlabelled']} images"

            self.stage("label", experiment_dir.done(split.run.pseudo, "dataset.json"), work, outcome)

    def generate(self) -> None:
        """gan/ -> synthetic/, and more stores where arms ask for other images."""
        if not self.job.gan.conditional:
            raise UserError(
                "gan.conditional false: images of no class cannot be mixed with real ones; to look at some, "
                f"`ganaug generate {self.run.root} --count any=100 --png DIR`"
            )
        self._need_data()
        for split in self.splits:
            for pool in synthetic_pools.pools(split.job, split.run):
                self._generate(split, pool)

    def _generate(self, split: Split, pool: synthetic_pools.Pool) -> None:
        gan = self.need("train-gan", experiment_dir.done(pool.gan.folder, "gan.json"))

        def work() -> Record:
            synthetic_pools.refuse_copies(self.job, gan)
            from ganaug_ray.augment.generate import BLOCK, are_few, generate, generate_here

            make: Callable[..., Record] = generate_here
            if "RAY_ADDRESS" in os.environ or not are_few(pool.counts):
                self.connect()
                make = generate
            screening = synthetic_pools.screening(split.run, pool)
            total = sum(pool.counts.values()) if pool.stored else BLOCK * len(pool.counts)
            made = [0]
            with self.terminal.watching("generate", lambda: (made[0] / total, f"{made[0]} of {total} images")):
                counted = functools.partial(made.__setitem__, 0)
                seed, source = split.job.seed, pool.gan.folder
                return make(pool.counts, seed, source, pool.folder, screening, counted, stored=pool.stored)

        def outcome(record: Record) -> str:
            drawn = sum(n > 0 for n in record["counts"].values())
            rejected = sum(sum(own.values()) for own in record["screened"].values())
            stored = f"{record['images']} images of {drawn} classes"
            parts = [stored if record["images"] else "none stored: images are made in training"]
            parts += [f"{rejected} rejected (see {pool.folder.name}/screened.parquet)"] if rejected else []
            parts += [f"not drawn: {', '.join(record['not_drawn'])}"] if record["not_drawn"] else []
            return split.name + ", ".join(parts)

        self.stage("generate", synthetic_pools.generated(pool), work, outcome)

    def train(self) -> None:
        """dataset/ and synthetic/ -> models/<arm>/seed-<k>/ for every arm and seed, in every split."""
        self._need_data()
        if synthetic_pools.needs_pseudo(self.job):
            self.teach()
            self._label()
        for split in self.splits:
            for pool in synthetic_pools.pools(split.job, split.run):
                self.need("generate", synthetic_pools.generated(pool))
        splits = self.splits
        asked = [(split, *pair) for pair in arms.pairs(self.job) for split in splits]
        missing = self._missing(asked)

        def work() -> Record:
            at_once = [fit for fit in missing if not arms.waits(self.job, fit[1])]
            self._fit(at_once, "train")
            self._fit([fit for fit in missing if fit not in at_once], "train")
            return {}

        def outcome(record: Record) -> str:
            by_arm: dict[str, list[float]] = {}
            for split, arm, seed in asked:
                accuracy = split.run.model(arm, seed).read_json("model.json")["val_accuracy"]
                by_arm.setdefault(arm, []).append(accuracy)
            means = ", ".join(f"{arm} {sum(own) / len(own):.3f}" for arm, own in by_arm.items())
            return f"{len(asked)} models; mean validation accuracy: {means}"

        self.stage("train", None if missing else {}, work, outcome)

    def _need_data(self) -> None:
        for split in self.splits:
            self.need("prepare", experiment_dir.done(split.run.dataset, "dataset.json"))

    @staticmethod
    def _missing(asked: list[Asked]) -> list[Asked]:
        return [fit for fit in asked if not experiment_dir.done(fit[0].run.model(*fit[1:]), "model.json")]

    def _fit(self, wanted: list[Asked], stage: str) -> None:
        """Train these models side by side."""
        from ganaug_ray.classify import initial_weights
        from ganaug_ray.classify.launch import train
        from ganaug_ray.verdict import from_experiment

        if not wanted:
            return
        gaining = {
            arm: from_experiment.gaining(self.job, self.run, arm) for _, arm, _ in wanted if arms.waits(self.job, arm)
        }
        steps = {}
        for split in {split.number: split for split, _, _ in wanted}.values():
            if weights := initial_weights.prepare(split.job, split.run):
                self.terminal.line(stage, "note", f"{split.name}starts from {initial_weights.sentence(weights)}")
            arm_batches.refuse_streamed(split.job, split.run)
            counts = split.run.dataset.read_json("dataset.json")["counts"]["train"]
            steps[split.number] = split.job.classifier.total_steps(sum(counts.values()))
        self.connect()
        asked = [(split.run.model(arm, seed), steps[split.number]) for split, arm, seed in wanted]
        gb = self.job.data.resident_gb
        with self.terminal.watching(stage, lambda: progress.of_fits(asked)):
            train(
                [arm_batches.fit(split.job, split.run, arm, seed, gaining.get(arm)) for split, arm, seed in wanted], gb
            )


def _taught(split: Split) -> str:
    record = split.run.model(arms.REAL, 0).read_json("model.json")
    return f"validation accuracy {record['val_accuracy']:.3f} at step {record['best_step']}"


def _drawn(gan: synthetic_pools.Gan) -> str:
    record = gan.folder.read_json("gan.json")
    chosen, parts = record["chosen"], [f"{record['steps']} steps, {record['images_seen']} images seen"]
    parts += [record["ended_early"]] if record["ended_early"] else []
    again = len(gan.folder.read_json("attempts.json")["from_step"]) - 1
    parts += [f"started again {again} time" + "s" * (again > 1)] if again else []
    if chosen["value"] is not None:
        parts.append(f"kept: {chosen['chosen_by']} {chosen['value']:.4f} at step {chosen['step']}")
    return ", ".join([*parts, f"memorisation: {record['memorization']['verdict']}"])
