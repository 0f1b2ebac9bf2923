"""Reads an experiment's predictions from its folders and applies the rule of the verdict to them."""

from __future__ import annotations

from ganaug_ray.augment import arms
from ganaug_ray.config import Job
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.experiment_dir import Record, Run
from ganaug_ray.core.records import DatasetRecord
from ganaug_ray.verdict import compared_candidates, per_class
from ganaug_ray.verdict import verdict as rule
from ganaug_ray.verdict.outcomes import Outcome
from ganaug_ray.verdict.split_overlap import measure_overlap


def read_outcomes(job: Job, run: Run, arm: str) -> list[Outcome]:
    """Read the predictions of an arm's models, split by split and, within a split, seed by seed.

    Args:
        job: of the whole experiment.
        run: the whole experiment; the arm's models are finished.
        arm: its name.
    """
    pairs = [(split, seed) for split in range(job.compare.splits) for seed in range(job.compare.seeds)]
    tables = {pair: run.locate_model(arm, pair[1], pair[0]).read_table("predictions.parquet") for pair in pairs}
    return [Outcome.from_table(tables[pair], *pair) for pair in pairs]


def build_verdict(job: Job, run: Run) -> Record:
    """Return the content of verdict.json, from the predictions of all models.

    Args:
        job: of the whole experiment.
        run: the whole experiment; the models of all arms are finished.
    """
    facts = DatasetRecord.read(run.dataset)
    tables = [run.locate_split(k).dataset.read_table("split.parquet") for k in range(job.compare.splits)]
    deals = [dict(zip(own["id"].to_pylist(), own["split"].to_pylist(), strict=True)) for own in tables]
    return rule.build_verdict(
        {arm: read_outcomes(job, run, arm) for arm in arms.list_names(job)},
        arms.REAL,
        arms.list_candidates(job),
        job.compare.metric,
        facts.classes,
        facts.rare,
        measure_overlap(deals) if len(deals) > 1 else None,
        job.compare.worthwhile,
        compared_candidates.record_candidates(run, facts.hash, _hash_candidates(job)),
        job.compare.looks,
    )


def _hash_candidates(job: Job) -> list[str]:
    """Hash all settings that a candidate's models are trained with, but how many they are."""
    settings = job.model_dump(include={"data", "gan", "augment", "classifier"})
    return [
        experiment_dir.compute_fingerprint(settings, job.compared_arms[arm].model_dump())
        for arm in arms.list_candidates(job)
    ]


def find_gaining_classes(job: Job, run: Run, arm: str) -> list[str]:
    """Return the names of the classes that gain on validation, for an arm that gets extra images of these alone.

    They are taken from the best arm on validation, among the arms of the same kind that have extra images of all
    classes.

    Args:
        job: of the whole experiment.
        run: the whole experiment; the models of those arms and of the baseline are finished.
        arm: the arm that gets extra images of these classes.
    """
    guided = job.compared_arms[arm]
    candidate_outcomes = {
        name: read_outcomes(job, run, name) for name, other in job.compared_arms.items() if guided.is_guided_by(other)
    }
    best = rule.choose_arm(candidate_outcomes, job.compare.metric)
    assert best is not None, "the job was refused without such an arm"
    classes = DatasetRecord.read(run.dataset).classes
    return per_class.find_gaining_classes(candidate_outcomes[best["arm"]], read_outcomes(job, run, arms.REAL), classes)
