"""What a job would do: the resolved settings, the facts of its data, and the values derived from both."""

from ganaug_ray import arms, jobfile
from ganaug_ray.augment import plan
from ganaug_ray.config import Job
from ganaug_ray.data.prepare import survey_only
from ganaug_ray.gan import budget
from ganaug_ray.runs import Run
from ganaug_ray.spread import processes


def describe(job: Job, run: Run) -> str:
    """Return the text of --dry-run. Reads the source, writes nothing, starts no Ray.

    Raises:
        UserError: the source cannot be prepared as the job asks.
    """
    with processes() as each:
        found = survey_only(job.data, each)
    counts = found.counts()
    rows = {split: sum(own.values()) for split, own in counts.items()}
    fits = len(arms.pairs(job))
    fit_steps = job.classifier.total_steps(rows["train"])
    names = ", ".join(found.classes[:12]) + (", ..." if len(found.classes) > 12 else "")
    facts = [
        ("experiment", str(run.root)),
        ("classes", f"{len(found.classes)}: {names}"),
        (
            "images",
            ", ".join(f"{n} {split}" for split, n in rows.items()) + f", {len(found.rejected)} rejected",
        ),
        ("stored", f"{job.data.image_size} × {job.data.image_size} × {found.channels}, uint8"),
    ]
    if arms.has_gan(job):
        planned = budget.of(job.gan, job.gan_size, rows["train"])
        drawn = f"{job.gan_size} × {job.gan_size} × {found.channels}, {planned.facts}, {job.gan.workers} workers"
        facts.append(("GAN", drawn if job.gan.conditional else f"{drawn}, draws of no class"))
        if planned.warning:
            facts.append(("warning", planned.warning))
    batch = f"{job.classifier.batch_size} real"
    if arms.has_synthetic(job):
        pool = plan.pool(counts["train"], job.augment)
        made = f"{sum(pool.values())} images, {min(pool.values())} to {max(pool.values())} a class"
        synthetic = {"pool": made, "live": "new images in every step"}
        facts.append(("synthetic", "; ".join(f"{source}: {synthetic[source]}" for source in job.augment.source)))
        batch += f" + {job.augment.ratio * job.classifier.batch_size:g} synthetic"
    facts.append(("classifiers", f"{fits} of {fit_steps} steps, batches of {batch}"))
    return jobfile.dump(job) + "\n" + "\n".join(f"{name:<12} {text}" for name, text in facts)
