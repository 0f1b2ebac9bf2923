"""All stages, top to bottom: the table of contents. Each takes folders and gives a folder."""

from __future__ import annotations

from dataclasses import dataclass

from ganaug_ray.augment import arms
from ganaug_ray.classify import compared_models
from ganaug_ray.config import Job
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.pipeline import evaluation_stages, size_experiments, training_stages
from ganaug_ray.pipeline.stage import Context, Split


@dataclass(frozen=True)
class Pipeline:
    """One job in one experiment folder, shown on one terminal. Every stage keeps what is done."""

    job: Job
    run: Run
    terminal: Terminal

    @property
    def context(self) -> Context:
        """What the stages are given."""
        return Context(self.job, self.run, self.terminal)

    @property
    def splits(self) -> list[Split]:
        """All of the job's splits; the first one's folders are the experiment's own."""
        return self.context.splits

    def all(self) -> None:
        """Run every stage from raw images to a promoted model."""
        self.reach_verdict()
        if self.job.compare.sizes:
            self.sizes()
        if self.job.models:
            self.compare_models()
        self.report()
        self.promote()

    def reach_verdict(self) -> None:
        """Raw images -> verdict.json."""
        self.prepare()
        if arms.has_gan(self.job):
            self.train_gan()
        if self.job.needs_gan:
            self.generate()
        self.train()
        self.compare()

    def models(self) -> None:
        """Raw images -> board.json; the report too, where there is one to tell it in."""
        compared_models.pairs(self.job)  # before any work: there are models to compare
        self.prepare()
        self.compare_models()
        if experiment_dir.done(self.run.root, "verdict.json"):
            self.report()
        else:
            self.terminal.line("report", "note", "`ganaug run` adds the table and the plot to report.html")

    def prepare(self) -> None:
        """Raw images -> dataset/."""
        training_stages.prepare(self.context)

    def teach(self) -> None:
        """dataset/ -> the first model of the real arm, whose features judge the generator."""
        training_stages.teach(self.context)

    def train_gan(self) -> None:
        """dataset/train -> gan/; teaches first."""
        training_stages.train_gan(self.context)

    def generate(self) -> None:
        """gan/ -> synthetic/."""
        training_stages.generate(self.context)

    def train(self) -> None:
        """dataset/ and synthetic/ -> models/."""
        training_stages.train(self.context)

    def compare(self) -> None:
        """models/ -> verdict.json."""
        evaluation_stages.compare(self.context)

    def sizes(self) -> None:
        """The comparison at other numbers of training images a class -> sizes/<n>/ and sizes.json."""
        for job, run in size_experiments.open_points(self.context):
            Pipeline(job, run, self.terminal).reach_verdict()
        size_experiments.draw_curve(self.context)

    def compare_models(self) -> None:
        """dataset/ -> board/ and board.json."""
        evaluation_stages.compare_models(self.context)

    def evaluate(self, model: str | None = None, data: str | None = None) -> None:
        """A model -> evaluation/<model>/<images>/."""
        evaluation_stages.evaluate(self.context, model, data)

    def report(self) -> None:
        """Everything so far -> report.html and report.json; evaluates the champion first."""
        evaluation_stages.report(self.context)

    def promote(self, force: bool = False) -> None:
        """The champion's model -> a version in the registry and its champion.json."""
        evaluation_stages.promote(self.context, force)
