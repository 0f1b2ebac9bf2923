"""All stages of a job, in order. Each takes folders and writes a folder."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from ganaug_ray.augment import arms, usable_arms
from ganaug_ray.classify import compared_models
from ganaug_ray.config import Job
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import DatasetRecord, VerdictRecord
from ganaug_ray.core.run_clock import PartClock, RunClock
from ganaug_ray.core.wording import exceeds_budget, format_time
from ganaug_ray.pipeline import (
    comparison_plan,
    evaluation_stages,
    generation_stage,
    generator_check,
    preparation_stage,
    sequential_plan,
    size_experiments,
    training_stages,
)
from ganaug_ray.pipeline.job_facts import JobFacts
from ganaug_ray.pipeline.missing_trainings import count_missing
from ganaug_ray.pipeline.stage import Split, StageContext
from ganaug_ray.pipeline.step_timer import StepTimer
from ganaug_ray.pipeline.work_left import count_work


@dataclass(frozen=True)
class Pipeline:
    """One job in one experiment folder, shown on one terminal. A finished stage is not run again.

    The attributes are those of ``StageContext``, and ``facts`` of the job, where its plan needed some.
    """

    job: Job
    run: Run
    terminal: Terminal
    cpu_only: bool = False
    arguments: str = "JOB.yaml"
    facts: JobFacts | None = None

    @property
    def context(self) -> StageContext:
        """The context that stages get."""
        return StageContext(self.job, self.run, self.terminal, self.cpu_only, self.arguments)

    @property
    def usable_context(self) -> StageContext:
        """The context of what comes after the generators: without the arms whose generator is not usable."""
        return replace(self.context, job=usable_arms.leave_out_unusable(self.job, self.run))

    @property
    def splits(self) -> list[Split]:
        """All splits of the job; the folders of the first are the experiment's."""
        return self.context.splits

    def run_all(self) -> None:
        """Run every stage from raw images to a promoted model."""
        started = time.monotonic()
        self.reach_verdict()
        self._conclude()
        self._compare_with_budget(time.monotonic() - started)

    def _compare_with_budget(self, seconds: float) -> None:
        """Say that a run was longer than its budget, where it was: nothing is left out for that."""
        if self.job.compare.budget_minutes is None:
            return
        minutes = self.job.compare.budget_minutes
        if exceeds_budget(seconds, minutes):
            words = f"it took {format_time(seconds)} instead of {format_time(60 * minutes)}; nothing was left out"
            self.terminal.print_stage_line("time", "note", words)

    def run_until_clear(self, hours: float | None = None) -> None:
        """Run every stage as ``run_all``, and add seeds, then splits, until the verdict is firm.

        Args:
            hours: for all looks of this call together; none is begun that is expected to take longer. None: no limit.
        """
        plan = sequential_plan.SequentialPlan(self.job, self.run, hours)
        job: Job | None = sequential_plan.resume_look(self.job, self.run)
        while job is not None:
            pipeline = replace(self, job=job)
            self.run.claim_folder(job)  # job.yaml has these splits and seeds before any of them is trained
            missing = count_missing(job, self.run)
            started = time.monotonic()
            pipeline.reach_verdict()
            verdict = VerdictRecord.read(self.run.root).verdict
            job, words = plan.choose_next(job, verdict, time.monotonic() - started, missing)
            self.terminal.print_stage_line(plan.name_stage(pipeline.job), "note" if job else "done", words)
        pipeline._conclude()

    def _conclude(self) -> None:
        """Run the stages that come after the verdict."""
        if self.job.compare.sizes:
            self.run_size_experiments()
        if self.job.models:
            self.compare_models()
        self.build_report()
        self.promote_champion()
        if advice := evaluation_stages.advise_next(self.usable_context):
            self.terminal.print_stage_line("next", "note", advice)

    def reach_verdict(self) -> None:
        """Run all stages from raw images to verdict.json.

        The time that all takes is told before anything begins if steps were timed for the plan, else once the data are
        there.
        """
        if self.job.compared_arms:
            self.terminal.print_stage_line("plan", "note", comparison_plan.describe_plan(self.job))
        is_timed = self.facts is not None and self.facts.is_timed
        if is_timed:
            self._start_clock()
        self.prepare_data()
        if not is_timed:
            self._start_clock()
        self.choose_augmentation()
        if arms.has_gan(self.job):
            if self.job.augment.sources:
                self.import_sources()  # what is wrong with them is told before the GAN
            self.train_gan(with_classifiers=bool(self.job.compared_arms))
        if self.job.needs_synthetic_sources:
            self.generate_images()
        self.train_classifiers()
        self.compare_arms()

    def _start_clock(self) -> None:
        """Say how long what is left of the run takes, and have the terminal count it down."""
        if isinstance(self.terminal.clock, PartClock):
            return  # the time of the whole run was told
        self.terminal.clock = RunClock()
        dataset = DatasetRecord.find(self.run.dataset)
        if not count_work(self.job, self.run).trainings:
            return  # it takes seconds
        facts = self.facts
        if facts is None or not facts.is_timed:
            if dataset is None:
                return
            training_stages.prepare_weights(self.context)  # wrong ones are told before steps are timed
            facts = JobFacts(self.job, dataset=dataset, timer=facts.timer if facts else StepTimer(self.cpu_only))
        with self.terminal.show_progress("plan", lambda: (0.0, "timing some steps of each training")):
            time_left = facts.estimate(self.job, self.run)
        is_resumed = count_work(self.job, self.run).trainings < count_work(self.job).trainings
        words = f"left: {time_left.describe()}" if is_resumed else time_left.describe()
        self.terminal.print_stage_line("plan", "note", words)
        self.terminal.clock = time_left.start_clock()

    def reach_model_comparison(self) -> None:
        """Run all stages from raw images to board.json, and write the report if there is a verdict."""
        compared_models.list_pairs(self.job)  # before any work: there are models to compare
        self.prepare_data()
        self.compare_models()
        if VerdictRecord.find(self.run.root):
            self.build_report()
        else:
            self.terminal.print_stage_line("report", "note", "`ganaug run` adds the table and the plot to report.html")

    def prepare_data(self) -> None:
        """Prepare the data set of each split from raw images: dataset/."""
        preparation_stage.prepare_data(self.context, self.facts.listing if self.facts else None)

    def choose_augmentation(self) -> None:
        """Choose the augmentation of all arms on validation, where the job leaves it open."""
        training_stages.choose_augmentation(self.context)

    def import_sources(self) -> None:
        """Read the synthetic images that come from elsewhere: images/ and others."""
        generation_stage.import_sources(self.context)

    def train_teachers(self) -> None:
        """Train each split's teacher on real images; its features measure the GAN's quality, and it screens images."""
        training_stages.train_teachers(self.context)

    def train_gan(self, with_classifiers: bool = False) -> None:
        """Train the GANs on the training images: gan/; the teachers come first. Say what their images are worth.

        Args:
            with_classifiers: whether classifiers that need no generated images may be trained beside them.
        """
        training_stages.train_gan(self.context, with_classifiers)
        generator_check.print_verdicts(self.context)

    def generate_images(self) -> None:
        """Generate synthetic images or import them, and screen them: synthetic/."""
        generation_stage.generate_images(self.context)

    def train_classifiers(self) -> None:
        """Train the models of all arms: models/."""
        training_stages.train_classifiers(self.usable_context)

    def compare_arms(self) -> None:
        """Compare the arms' models and write verdict.json."""
        evaluation_stages.compare_arms(self.usable_context)

    def run_size_experiments(self) -> None:
        """Run the experiment at each of the job's numbers of training images a class, and write the learning curve.

        The folders are sizes/<n>/, and the curve is sizes.json.

        Raises:
            UserError: the job has no sizes.
        """
        clock = self.terminal.clock
        clock.begin("sizes")
        experiments = 1 + len(self.job.compare.sizes)
        for number, (job, run) in enumerate(size_experiments.open_experiments(self.context)):
            if clock.knows_time:
                self.terminal.clock = PartClock(clock, number / experiments)
            replace(self, job=job, run=run, facts=None).reach_verdict()
        self.terminal.clock = clock
        clock.end()
        size_experiments.write_learning_curve(self.context)

    def compare_models(self) -> None:
        """Train and compare the models of the job's models section: board/ and board.json."""
        evaluation_stages.compare_models(self.context)

    def evaluate_models(self, model: str | None = None, data: str | None = None) -> None:
        """Evaluate models on labelled images: evaluation/<model>/<images>/."""
        evaluation_stages.evaluate_models(self.usable_context, model, data)

    def build_report(self) -> None:
        """Write report.html and report.json from all that is finished; the champion is evaluated first."""
        evaluation_stages.build_report(self.usable_context)

    def promote_champion(self, force: bool = False) -> None:
        """Copy the champion's model to the registry as a new version, and make it the registry's champion.

        Args:
            force: promote the model even if the registry's champion does better, or the model was rolled back there.

        Raises:
            StageFailed: without force, the model does worse than the registry's champion, or was rolled back there.
            UserError: there is no verdict; or without force, the model cannot be compared with the registry's champion.
        """
        evaluation_stages.promote_champion(self.usable_context, force)
