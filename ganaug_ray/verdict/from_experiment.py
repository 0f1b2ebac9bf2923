"""The verdict of an experiment: what its models answered is read from its folders, and handed to the rule."""

from __future__ import annotations

from ganaug_ray.augment import arms
from ganaug_ray.config import Job
from ganaug_ray.core.experiment_dir import Record, Run
from ganaug_ray.verdict import per_class
from ganaug_ray.verdict import verdict as rule
from ganaug_ray.verdict.outcomes import Outcome
from ganaug_ray.verdict.split_overlap import overlap


def outcomes(job: Job, run: Run, arm: str) -> list[Outcome]:
    """What an arm's models answered, split by split and seed by seed; job and run are whole."""
    every = [(split, seed) for split in range(job.compare.splits) for seed in range(job.compare.seeds)]
    tables = {pair: run.model(arm, pair[1], pair[0]).read_table("predictions.parquet") for pair in every}
    return [Outcome.of(tables[pair], *pair) for pair in every]


def verdict(job: Job, run: Run) -> Record:
    """The content of verdict.json, from the predictions of all models; job and run are whole."""
    facts = run.dataset.read_json("dataset.json")
    tables = [run.split(k).dataset.read_table("split.parquet") for k in range(job.compare.splits)]
    deals = [dict(zip(own["id"].to_pylist(), own["split"].to_pylist(), strict=True)) for own in tables]
    return rule.verdict(
        {arm: outcomes(job, run, arm) for arm in arms.names(job)},
        arms.REAL,
        arms.candidates(job),
        job.compare.metric,
        facts["classes"],
        facts["rare"],
        overlap(deals) if len(deals) > 1 else None,
    )


def gaining(job: Job, run: Run, arm: str) -> list[str]:
    """The classes that gained on validation in the best arm of its kind with all classes; job and run are whole."""
    guided = job.compared[arm]
    whole = {name: outcomes(job, run, name) for name, other in job.compared.items() if guided.is_guided_by(other)}
    best = rule.choose(whole, job.compare.metric)
    assert best is not None, "the job was refused without such an arm"
    classes = run.dataset.read_json("dataset.json")["classes"]
    return per_class.gaining_classes(whole[best["arm"]], outcomes(job, run, arms.REAL), classes)
