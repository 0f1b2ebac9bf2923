"""What a job would do: the resolved settings, the facts of its data, and the values derived from both."""

from ganaug_ray.augment import arms
from ganaug_ray.augment.arm_kinds import KINDS
from ganaug_ray.config import Job, loader
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.wording import format_count
from ganaug_ray.data.ingest.scan import survey_only
from ganaug_ray.gan import training_budget
from ganaug_ray.runtime.executors import processes


def describe(job: Job, run: Run) -> str:
    """Return the text of --dry-run. Reads the source, writes nothing, starts no Ray.

    Raises:
        UserError: the source cannot be prepared as the job asks.
    """
    with processes() as each:
        found = survey_only(job.data, each)
    counts = found.counts()
    rows = {split: sum(own.values()) for split, own in counts.items()}
    fits = len(arms.list_pairs(job))
    fit_steps = job.classifier.total_steps(rows["train"])
    names = ", ".join(found.classes[:12]) + (", ..." if len(found.classes) > 12 else "")
    beside = f", {found.unlabelled['reason'].null_count} without labels" if len(found.unlabelled) else ""
    facts = [
        ("experiment", str(run.root)),
        ("classes", f"{len(found.classes)}: {names}"),
        (
            "images",
            ", ".join(f"{n} {split}" for split, n in rows.items()) + f", {len(found.rejected)} rejected" + beside,
        ),
        ("stored", f"{job.data.image_size} × {job.data.image_size} × {found.channels}, uint8"),
    ]
    if arms.has_gan(job):
        planned = training_budget.compute_budget(job.gan, job.gan_size, rows["train"])
        workers = format_count(job.gan.workers, "worker")
        drawn = f"{job.gan_size} × {job.gan_size} × {found.channels}, {planned.summary}, {workers}"
        facts.append(("GAN", drawn if job.gan.conditional else f"{drawn}, draws of no class"))
        if planned.warning:
            facts.append(("warning", planned.warning))
    size = job.classifier.batch_size
    for name, arm in job.compared.items():
        facts.append((name, KINDS[arm.kind].describe_batches(arm, counts["train"], size, fit_steps)))
    n = job.compare.splits
    facts.append(
        ("classifiers", f"{n * fits} of {fit_steps} steps, batches of {size} real" + (f"; {n} splits" if n > 1 else ""))
    )
    if job.models:
        facts.append(("models", f"{', '.join(job.models)}: {job.compare.seeds} of each"))
    return loader.dump(job) + "\n" + "\n".join(f"{name:<12} {text}" for name, text in facts)
