"""All stages, top to bottom: the table of contents. Each takes folders and gives a folder."""

from __future__ import annotations

from dataclasses import dataclass

from ganaug_ray.augment import arms
from ganaug_ray.classify import compared_models
from ganaug_ray.config import Job
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import VerdictRecord
from ganaug_ray.pipeline import evaluation_stages, size_experiments, training_stages
from ganaug_ray.pipeline.stage import Split, StageContext


@dataclass(frozen=True)
class Pipeline:
    """One job in one experiment folder, shown on one terminal. Every stage keeps what is done."""

    job: Job
    run: Run
    terminal: Terminal

    @property
    def context(self) -> StageContext:
        """What the stages are given."""
        return StageContext(self.job, self.run, self.terminal)

    @property
    def splits(self) -> list[Split]:
        """All of the job's splits; the first one's folders are the experiment's own."""
        return self.context.splits

    def run_all(self) -> None:
        """Run every stage from raw images to a promoted model."""
        self.reach_verdict()
        if self.job.compare.sizes:
            self.compare_sizes()
        if self.job.models:
            self.compare_models()
        self.build_report()
        self.promote_champion()

    def reach_verdict(self) -> None:
        """Raw images -> verdict.json."""
        self.prepare_data()
        if arms.has_gan(self.job):
            self.train_gan()
        if self.job.needs_gan:
            self.generate_images()
        self.train_classifiers()
        self.compare_arms()

    def reach_model_comparison(self) -> None:
        """Raw images -> board.json; the report too, where there is one to tell it in."""
        compared_models.list_pairs(self.job)  # before any work: there are models to compare
        self.prepare_data()
        self.compare_models()
        if VerdictRecord.find(self.run.root):
            self.build_report()
        else:
            self.terminal.print_stage_line("report", "note", "`ganaug run` adds the table and the plot to report.html")

    def prepare_data(self) -> None:
        """Raw images -> dataset/."""
        training_stages.prepare_data(self.context)

    def train_teachers(self) -> None:
        """dataset/ -> the first model of the real arm, whose features judge the generator."""
        training_stages.train_teachers(self.context)

    def train_gan(self) -> None:
        """dataset/train -> gan/; teaches first."""
        training_stages.train_gan(self.context)

    def generate_images(self) -> None:
        """gan/ -> synthetic/."""
        training_stages.generate_images(self.context)

    def train_classifiers(self) -> None:
        """dataset/ and synthetic/ -> models/."""
        training_stages.train_classifiers(self.context)

    def compare_arms(self) -> None:
        """models/ -> verdict.json."""
        evaluation_stages.compare_arms(self.context)

    def compare_sizes(self) -> None:
        """The comparison at other numbers of training images a class -> sizes/<n>/ and sizes.json."""
        for job, run in size_experiments.open_experiments(self.context):
            Pipeline(job, run, self.terminal).reach_verdict()
        size_experiments.draw_curve(self.context)

    def compare_models(self) -> None:
        """dataset/ -> board/ and board.json."""
        evaluation_stages.compare_models(self.context)

    def evaluate_models(self, model: str | None = None, data: str | None = None) -> None:
        """A model -> evaluation/<model>/<images>/."""
        evaluation_stages.evaluate_models(self.context, model, data)

    def build_report(self) -> None:
        """Everything so far -> report.html and report.json; evaluates the champion first."""
        evaluation_stages.build_report(self.context)

    def promote_champion(self, force: bool = False) -> None:
        """The champion's model -> a version in the registry and its champion.json."""
        evaluation_stages.promote_champion(self.context, force)
