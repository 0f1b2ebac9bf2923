"""The dry run: the resolved settings of a job, the facts of its data, and values derived from both."""

from ganaug_ray.augment import arms
from ganaug_ray.augment.arm_kinds import KINDS
from ganaug_ray.config import Job, loader
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.wording import format_count
from ganaug_ray.data.ingest.scan import survey_without_storing
from ganaug_ray.gan import training_budget
from ganaug_ray.pipeline import comparison_plan
from ganaug_ray.runtime.executors import open_process_pool
from ganaug_ray.verdict.visible_gain import describe_visible_gain, predict_visible_gain

MAX_NAMED_CLASSES = 12


def describe_job(job: Job, run: Run) -> str:
    """Return the text of --dry-run. It reads the source, writes nothing and starts no Ray.

    Raises:
        UserError: the source cannot be prepared as the job asks.
    """
    with open_process_pool() as executor:
        survey = survey_without_storing(job.data, executor)
    counts = survey.count_images()
    rows = {split: sum(class_counts.values()) for split, class_counts in counts.items()}
    fits = len(arms.list_pairs(job))
    fit_steps = job.classifier.count_steps(rows["train"])
    names = survey.classes[:MAX_NAMED_CLASSES]
    if len(survey.classes) > len(names):
        names.append("...")
    images = [f"{n} {split}" for split, n in rows.items()]
    images.append(f"{len(survey.rejected)} rejected")
    if len(survey.unlabelled):
        images.append(f"{survey.unlabelled['reason'].null_count} without labels")
    notes = [f"{n} × {note}" for note, n in survey.count_notes().items()]
    facts = [
        ("experiment", str(run.root)),
        ("classes", f"{len(survey.classes)}: {', '.join(names)}"),
        ("images", ", ".join(images)),
        *[("note", note) for note in notes],
        ("stored", f"{job.data.image_size} × {job.data.image_size} × {survey.channels}, uint8"),
    ]
    if arms.has_gan(job):
        planned = training_budget.compute_budget(job.gan, job.gan_image_size, rows["train"])
        workers = format_count(job.gan.workers, "worker")
        drawn = f"{job.gan_image_size} × {job.gan_image_size} × {survey.channels}, {planned.summary}, {workers}"
        if not job.gan.conditional:
            drawn += ", draws of no class"
        facts.append(("GAN", drawn))
        if planned.warning:
            facts.append(("warning", planned.warning))
    size = job.classifier.batch_size
    for name, arm in job.compared_arms.items():
        facts.append((name, KINDS[arm.kind].describe_batches(arm, counts["train"], size, fit_steps)))
    splits = job.compare.splits
    trainings = f"{splits * fits} of {fit_steps} steps, batches of {size} real"
    if splits > 1:
        trainings += f"; {splits} splits"
    facts.append(("classifiers", trainings))
    if job.compared_arms:
        tested = rows["test"] * splits
        gain = predict_visible_gain(tested, splits, job.compare.seeds, looks=job.compare.looks)
        facts.append(("plan", comparison_plan.describe_plan(job)))
        facts.append(("visible", describe_visible_gain(tested, gain)))
    if job.models:
        facts.append(("models", f"{', '.join(job.models)}: {job.compare.seeds} of each"))
    return loader.dump_job(job) + "\n" + "\n".join(f"{name:<12} {text}" for name, text in facts)
