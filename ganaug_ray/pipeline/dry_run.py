"""The dry run: the facts of a job's data, what would be trained, and how long each stage would take."""

from ganaug_ray.augment import arms
from ganaug_ray.augment.arm_kinds import KINDS
from ganaug_ray.classify import augmentation_choice
from ganaug_ray.config import Job
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.wording import format_count, format_time
from ganaug_ray.data.ingest.imbalance import list_rare_classes
from ganaug_ray.data.ingest.scan import Survey
from ganaug_ray.gan import training_budget
from ganaug_ray.pipeline import comparison_plan, plan_ladder
from ganaug_ray.pipeline.job_facts import JobFacts
from ganaug_ray.verdict.visible_gain import describe_visible_gain, predict_visible_gain

MAX_NAMED_CLASSES = 12
LABEL_WIDTH = 12
LAST_STAGES = ("compare", "evaluate", "report", "promote")  # seconds each, whatever the job


def describe_job(job: Job, run: Run, job_facts: JobFacts | None = None) -> str:
    """Return the text of --dry-run. It reads the source, times some steps, and keeps nothing but those times.

    No Ray is started, but to reserve a GPU of this machine for the timing.

    Args:
        job: with its plan.
        run: the experiment's folder.
        job_facts: that the plan was made from; absent: found out here.

    Raises:
        UserError: the source cannot be prepared as the job asks.
    """
    job_facts = job_facts or JobFacts(job)
    survey = job_facts.survey
    counts = survey.count_images()
    rows = {split: sum(class_counts.values()) for split, class_counts in counts.items()}
    fits = len(arms.list_pairs(job))
    fit_steps = job.classifier.count_steps(rows["train"])
    size = job.data.image_size
    names = survey.classes[:MAX_NAMED_CLASSES]
    if len(survey.classes) > len(names):
        names.append("...")
    facts = [
        ("experiment", str(run.root)),
        ("classes", f"{len(survey.classes)}: {', '.join(names)}"),
        ("images", f"{_describe_images(survey)}; stored at {size} × {size} × {survey.channels}"),
        *(("note", remark) for remark in survey.remarks),
        *(("note", f"{n} × {note}") for note, n in survey.count_notes().items()),
    ]
    if arms.has_gan(job):
        planned = training_budget.compute_budget(job.gan, job.gan_image_size, rows["train"])
        workers = format_count(job.gan.workers, "worker")
        drawn = f"{job.gan_image_size} × {job.gan_image_size} × {survey.channels}, {planned.summary}, {workers}"
        if not job.gan.conditional:
            drawn += ", without classes"
        facts.append(("GAN", drawn))
        if planned.warning:
            facts.append(("warning", planned.warning))
    facts += [(name, source.address) for name, source in job.augment.sources.items()]
    batch_size = job.classifier.batch_size
    rare = list_rare_classes(counts, job.data)
    arms.check_data(job, counts["train"], rare)
    for name, arm in job.compared_arms.items():
        # Which classes gain is known later; until then an arm that goes by that is described with all of them.
        used = arms.choose_classes(arm, survey.classes, rare, gaining=survey.classes)
        unused = set(survey.classes) - set(used)
        facts.append((name, KINDS[arm.kind].describe_batches(arm, counts["train"], batch_size, fit_steps, unused)))
    splits = job.compare.splits
    trainings = f"{format_count(splits * fits, 'training')} of {format_count(fit_steps, 'step')}"
    trainings += f", batches of {batch_size} real images"
    if splits > 1:
        trainings += f"; {splits} splits"
    facts.append(("classifiers", trainings))
    if augmentation_choice.needs_choice(job):
        facts.append(("augment", "light or strong, chosen on validation by a training of each"))
    if job.compared_arms:
        facts += _describe_plan(job, run, rows["test"], job_facts)
    if job.models:
        facts.append(("models", f"{', '.join(job.models)}: {job.compare.seeds} of each"))
    lines = [f"{name:<{LABEL_WIDTH}} {text}" for name, text in facts]
    return "\n".join([*lines, *_describe_time(job, run, job_facts)])


def _describe_time(job: Job, run: Run, job_facts: JobFacts) -> list[str]:
    """Say how long each stage takes that is not finished, and all of them."""
    time = job_facts.estimate(job, run)
    words = f"about {format_time(time.total_s)} in all {time.describe_place()}{time.describe_slowdown()}"
    lines = [f"{'time':<{LABEL_WIDTH}} {words}"]
    stages = [(stage.name, stage.seconds, stage.words) for stage in time.stages if stage.name not in LAST_STAGES]
    last = [stage for stage in time.stages if stage.name in LAST_STAGES]
    stages.append(("the rest", sum(stage.seconds for stage in last), ", ".join(stage.name for stage in last)))
    return lines + [f"  {name:<10} {format_time(seconds):<11} {words}".rstrip() for name, seconds, words in stages]


def _describe_plan(job: Job, run: Run, tested_per_split: int, job_facts: JobFacts) -> list[tuple[str, str]]:
    """Say how often is trained, what gain that can show, and which aim of the job it fails."""
    compare = job.compare
    tested = tested_per_split * compare.splits
    candidates = len(arms.list_candidates(job))
    looks = compare.looks
    notes = []
    if candidates:  # what was compared on these images before makes intervals wider
        from ganaug_ray.verdict import candidates as identities
        from ganaug_ray.verdict import from_experiment

        count = from_experiment.count_looks(job, run, job_facts.survey)
        if price := count.describe_price(candidates, looks):
            unread = "" if identities.has_read_sources(job, run) else "; what comes from elsewhere counts as new"
            notes.append(("note", price + unread))
        candidates, looks = count
    gain = predict_visible_gain(tested, compare.splits, compare.seeds, looks=looks, arms=candidates)
    visible = describe_visible_gain(tested, gain)
    if compare.metric != "accuracy" and gain is not None:
        visible += f"; for {compare.metric}, which decides here, nothing is predicted"
    lines = [("plan", comparison_plan.describe_plan(job)), ("visible", visible), *notes]
    if compare.planned_seeds and (shortfall := plan_ladder.describe_shortfall(job, job_facts, gain, run)):
        lines.append(("warning", shortfall))
    return lines


def _describe_images(survey: Survey) -> str:
    counts = {split: sum(class_counts.values()) for split, class_counts in survey.count_images().items()}
    images = [f"{n} {split}" for split, n in counts.items() if n or split in ("train", "val", "test")]
    images.append(f"{len(survey.rejected)} rejected")
    if survey.passed_over:
        images.append(f"{format_count(sum(survey.passed_over.values()), 'other file')} skipped")
    if len(survey.unlabelled):
        images.append(f"{survey.unlabelled['reason'].null_count} without labels")
    return ", ".join(images)
