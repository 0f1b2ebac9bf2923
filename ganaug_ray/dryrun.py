"""What a job would do: the resolved settings, the facts of its data, and the values derived from both."""

from ganaug_ray import arms, jobfile
from ganaug_ray.augment import plan
from ganaug_ray.config import AugmentConfig, Job
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
        made = f"{sum(pool.values())} images of {len(pool)} classes, {min(pool.values())} to {max(pool.values())} each"
        synthetic = {"pool": made, "live": "new images in every step"}
        facts.append(("synthetic", "; ".join(f"{source}: {synthetic[source]}" for source in job.augment.source)))
        mixture = plan.Mixture.of(job.augment, counts["train"], job.classifier.batch_size, fit_steps)
        facts.append(("strategy", _strategy(job.augment, mixture)))
        batch += _synthetic_rows(mixture)
    facts.append(("classifiers", f"{fits} of {fit_steps} steps, batches of {batch}"))
    if job.models:
        facts.append(("models", f"{', '.join(job.models)}: {job.compare.seeds} of each"))
    return jobfile.dump(job) + "\n" + "\n".join(f"{name:<12} {text}" for name, text in facts)


def _strategy(augment: AugmentConfig, mixture: plan.Mixture) -> str:
    parts = [f"{augment.strategy}: {mixture.synthetic_upto(mixture.steps)} synthetic rows in all"]
    parts += [f"loss weight {augment.weight:g}"] if augment.weight != 1 else []
    parts += ["batch norm apart"] if augment.batch_norm == "separate" else []
    parts += ["soft labels"] if augment.soft_labels else []
    return ", ".join(parts)


def _synthetic_rows(mixture: plan.Mixture) -> str:
    if mixture.strategy == "pretrain":
        return f", and of {mixture.batch_size} synthetic alone in the first {mixture.wait} steps"
    falling = ", falling to none" if mixture.strategy == "anneal" else ""
    return f" + {mixture.ratio * mixture.batch_size:g} synthetic{falling}"
