"""Says what a search would try, and how long that would take on this machine."""

from __future__ import annotations

import math

from ganaug_ray.config import Job
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.wording import format_count, format_time
from ganaug_ray.pipeline.dry_run import LABEL_WIDTH
from ganaug_ray.pipeline.job_facts import JobFacts
from ganaug_ray.pipeline.run_time import FIT_S, PROCESSES_START_S, SIDE_BY_SIDE_FACTOR
from ganaug_ray.runtime import hardware
from ganaug_ray.search.search_plan import SearchPlan
from ganaug_ray.search.search_space import SearchKind, SearchSpace

STAGES_BEFORE: dict[SearchKind, tuple[str, ...]] = {
    "gan": ("prepare", "choose", "teach"),
    "mix": ("prepare", "choose", "teach", "train-gan"),
    "classifier": ("prepare", "choose"),
}
"""Kind of search -> the stages that its trials need."""


def describe_search(job: Job, run: Run, facts: JobFacts, space: SearchSpace) -> str:
    """Return the text of ``ganaug search --dry-run``. It reads the source, and times some steps.

    Args:
        job: with its plan.
        run: the experiment that the search belongs to; what is finished there takes no time.
        facts: of the job.
        space: what is searched.
    """
    plan = SearchPlan(job, space, str(run.root))
    trial_s, trial_words = _estimate_trial(plan, facts)
    slots = facts.time.gpus or hardware.count_usable_cores()
    at_once = max(1, slots // job.search.workers)
    trials = plan.max_trials
    if trials is None:
        assert job.search.hours is not None, "the budget is in trials or in hours"
        search_s = 3600 * job.search.hours
        count_words = f"as many as {job.search.hours:g} hours allow"
    else:
        total = trials + plan.has_baseline
        at_once = min(at_once, total)
        search_s = PROCESSES_START_S + math.ceil(total / at_once) * trial_s
        count_words = format_count(trials, "trial")
    if plan.has_baseline:
        count_words += ", and one without synthetic images"
    slower = facts.time.compute_slowdown(at_once) * (SIDE_BY_SIDE_FACTOR if at_once > 1 else 1.0)
    search_s *= 1.0 if trials is None else slower
    before = [stage for stage in facts.estimate(job, run).stages if stage.name in STAGES_BEFORE[space.kind]]
    before_s = sum(stage.seconds for stage in before)
    words = f"about {format_time(before_s + search_s)} on this machine"
    if before:
        words += f", {format_time(before_s)} of it for {', '.join(stage.name for stage in before)}"
    if job.search.stop_early and trials is not None:
        words += "; less where trials are stopped early"
    lines = [
        ("experiment", str(run.root)),
        ("searched", ", ".join(space.build_record())),
        ("trials", f"{count_words}; {at_once} at a time"),
        ("a trial", f"{trial_words}: about {format_time(trial_s * slower)}"),
        ("decides", f"{plan.objective.replace('_', ' ')} on validation images"),
        ("time", words),
    ]
    return "\n".join(f"{label:<{LABEL_WIDTH}} {text}" for label, text in lines)


def _estimate_trial(plan: SearchPlan, facts: JobFacts) -> tuple[float, str]:
    """Return the computing seconds of a trial that is not stopped, and what it trains in words."""
    rows = facts.images.count("train")
    steps = plan.count_full_steps(rows)
    if plan.space.kind == "gan":
        gan_s = facts.time.gan_s * steps / plan.job.gan.count_steps(rows)
        return gan_s + len(plan.list_budgets(rows)) * facts.time.look_s, f"a GAN of {steps:,} steps"
    classifiers = len(plan.split_seed_pairs)
    words = f"{format_count(classifiers, 'classifier')} of {plan.job.classifier.count_steps(rows):,} steps"
    return classifiers * (facts.time.classifier_s + FIT_S), words
