"""All stages, top to bottom: the table of contents. Each takes folders and gives a folder."""

from ganaug_ray import arms, board, runs
from ganaug_ray.judging import Judging
from ganaug_ray.making import Making


class Pipeline(Making, Judging):
    """One job in one experiment folder, told to one terminal. Every stage keeps what is done."""

    def all(self) -> None:
        """Run every stage from raw images to a promoted model."""
        self.prepare()
        if arms.has_gan(self.job):
            self.train_gan()
        if self.job.needs_gan:
            self.generate()
        self.train()
        self.compare()
        if self.job.models:
            self.compare_models()
        self.report()
        self.promote()

    def models(self) -> None:
        """Raw images -> board.json; the report too, where there is one to tell it in."""
        board.pairs(self.job)  # before any work: there are models to compare
        self.prepare()
        self.compare_models()
        if runs.done(self.run.root, "verdict.json"):
            self.report()
        else:
            self.terminal.line("report", "note", "`ganaug run` adds the table and the plot to report.html")
