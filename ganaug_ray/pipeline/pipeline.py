"""All stages, top to bottom: the table of contents. Each takes folders and gives a folder."""

import time

from ganaug_ray.augment import arms
from ganaug_ray.classify import compared_models
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.experiment_dir import Record
from ganaug_ray.errors import UserError
from ganaug_ray.pipeline import size_experiments
from ganaug_ray.pipeline.evaluation_stages import Judging
from ganaug_ray.pipeline.training_stages import Making


class Pipeline(Making, Judging):
    """One job in one experiment folder, told to one terminal. Every stage keeps what is done."""

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

    def sizes(self) -> None:
        """The comparison at other numbers of training images a class -> sizes/<n>/ and sizes.json."""
        if not self.job.compare.sizes:
            raise UserError(
                "compare.sizes: the job has none; give numbers of training images a class, as [20, 50, 200]"
            )
        points = size_experiments.points(self.job, self.run)
        for n, (job, run) in points.items():
            self.terminal.line("sizes", "note", f"with {n} training images a class, in {run.root}")
            run.claim(job)
            Pipeline(job, run, self.terminal).reach_verdict()

        def work() -> Record:
            from ganaug_ray.verdict.learning_curve import curve

            started = time.monotonic()
            verdicts = {n: run.root.read_json("verdict.json") for n, (_, run) in points.items()}
            made_from = size_experiments.inputs(self.job, self.run)
            record = {"hash": experiment_dir.fingerprint(made_from), "inputs": made_from, **curve(verdicts)}
            return experiment_dir.commit(self.run.root, size_experiments.MARKER, "sizes", started, record)

        self.stage("sizes", size_experiments.done(self.job, self.run), work, lambda record: record["sentence"])

    def models(self) -> None:
        """Raw images -> board.json; the report too, where there is one to tell it in."""
        compared_models.pairs(self.job)  # before any work: there are models to compare
        self.prepare()
        self.compare_models()
        if experiment_dir.done(self.run.root, "verdict.json"):
            self.report()
        else:
            self.terminal.line("report", "note", "`ganaug run` adds the table and the plot to report.html")
