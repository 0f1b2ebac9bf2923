"""Reads an experiment's predictions from its folders and applies the rule of the verdict to them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from ganaug_ray.augment import arm_titles, arms, usable_arms
from ganaug_ray.config import Job
from ganaug_ray.core.experiment_dir import Record, Run
from ganaug_ray.core.records import DatasetRecord
from ganaug_ray.verdict import answer, choices, comparison_books, per_class
from ganaug_ray.verdict import verdict as rule
from ganaug_ray.verdict.candidates import hash_candidates, hash_testable_images
from ganaug_ray.verdict.comparison_books import Count
from ganaug_ray.verdict.outcomes import Outcome
from ganaug_ray.verdict.split_overlap import SplitOverlap, measure_overlap

if TYPE_CHECKING:
    from ganaug_ray.data.ingest.scan import Survey


def read_outcomes(job: Job, run: Run, arm: str) -> list[Outcome]:
    """Read the predictions of an arm's models, split by split and, within a split, seed by seed.

    Args:
        job: of the whole experiment.
        run: the whole experiment; the arm's models are finished.
        arm: its name.
    """
    outcomes = []
    for split, seed in itertools.product(range(job.compare.splits), range(job.compare.seeds)):
        table = run.locate_model(arm, seed, split).read_table("predictions.parquet")
        outcomes.append(Outcome.from_table(table, split, seed))
    return outcomes


def build_verdict(job: Job, run: Run, count: Count | None = None) -> Record:
    """Return the content of verdict.json, from the predictions of all models, and what the generators are worth.

    Args:
        job: of the whole experiment, without the arms that were left out.
        run: the whole experiment; the models of all arms are finished.
        count: of the candidates and looks that the interval has to allow for; absent: those of the job alone.
    """
    candidates = arms.list_candidates(job)
    count = count or Count(len(candidates), job.compare.looks)
    facts = DatasetRecord.read(run.dataset)
    overlap = None
    if job.compare.splits > 1:
        overlap = read_overlap(job, run)
    record = rule.build_verdict(
        {arm: read_outcomes(job, run, arm) for arm in arms.list_names(job)},
        arms.REAL,
        candidates,
        job.compare.metric,
        facts.classes,
        facts.rare,
        overlap,
        job.compare.worthwhile,
        count.candidates,
        count.looks,
        {arm: job.describe_addition(arm) for arm in job.compared_arms},
        [job.describe_addition(arm) for arm, settings in job.compared_arms.items() if settings.is_from_elsewhere],
        [arm for arm, settings in job.compared_arms.items() if settings.uses_gan],
        arm_titles.name_arms(job),
    )
    left_out = [name for name in job.all_arms if name not in job.compared_arms]
    untried = [name for name in left_out if not job.all_arms[name].traits.control]
    if untried and not candidates:
        record |= answer.describe_untried(job.describe_addition(untried[0]))._asdict()
    return {**record, "generators": _judge_generators(job, run), "left_out": left_out}


def _judge_generators(job: Job, run: Run) -> list[Record]:
    """Return the rows of ``generators`` in verdict.json."""
    rows = []
    for judged in usable_arms.judge_generators(job, run):
        rows.append(
            {
                "name": judged.name,
                "colour": judged.colour,
                "sentence": judged.sentence,
                "splits": {str(number): verdict.colour for number, verdict in judged.verdicts.items()},
                "undrawn": judged.worst.undrawn,
                "arms": judged.arms,
            }
        )
    return rows


def record_looks(job: Job, run: Run) -> Count:
    """Enter in the books that the candidates' verdict is looked at, and count what its interval has to allow for.

    Args:
        job: of the whole experiment, without the arms that were left out.
        run: the whole experiment; its data set is finished.
    """
    return comparison_books.record_looks(
        run, *_describe_look(job, run), job.compare.splits, job.compare.seeds, job.compare.looks
    )


def count_looks(job: Job, run: Run, survey: Survey) -> Count:
    """Count the same without entering anything.

    Args:
        job: of the whole experiment.
        run: the whole experiment, begun or not.
        survey: of its images, which says what its data set will be where that is not there yet.
    """
    is_prepared = DatasetRecord.find(run.dataset) is not None
    images, candidates = _describe_look(job, run) if is_prepared else _foresee_look(job, run, survey)
    return comparison_books.count_looks(
        run, images, candidates, job.compare.splits, job.compare.seeds, job.compare.looks
    )


def _describe_look(job: Job, run: Run) -> tuple[str, list[str]]:
    """Return the hash of the images that may be tested, and the fingerprints of the candidates."""
    deal = run.dataset.read_table("split.parquet", ["id", "class", "split"])
    images = hash_testable_images(deal, bool(job.data.split.given))
    return images, hash_candidates(job, run, DatasetRecord.read(run.dataset).hash)


def _foresee_look(job: Job, run: Run, survey: Survey) -> tuple[str, list[str]]:
    """Return the same before the images are prepared."""
    from ganaug_ray.data.ingest.scan import deal_out
    from ganaug_ray.data.prepare import hash_dataset

    data = job.derive_split(0).data
    dealt = deal_out(data, survey)
    deal = dealt.usable.select(["id", "label", "split"]).rename_columns(["id", "class", "split"])
    images = hash_testable_images(deal, bool(data.split.given))
    return images, hash_candidates(job, run, hash_dataset(data, dealt))


def read_overlap(job: Job, run: Run) -> SplitOverlap:
    """Read how many images the splits of an experiment share; their data sets are finished.

    Raises:
        UserError: two of them test the same image.
    """
    return measure_overlap([_read_deal(run, number) for number in range(job.compare.splits)])


def _read_deal(run: Run, number: int) -> dict[str, str]:
    """Content id -> train, val, test or unused, of one split."""
    table = run.locate_split(number).dataset.read_table("split.parquet")
    return dict(zip(table["id"].to_pylist(), table["split"].to_pylist(), strict=True))


def choose_classes_for_guided_arm(job: Job, run: Run, arm: str) -> list[str]:
    """Choose the classes of an arm that gets extra images only of those that gain, and return their names.

    They are those that gain on validation in the best arm on validation, among the arms of the same kind that have
    extra images of all classes.

    Args:
        job: of the whole experiment.
        run: the whole experiment; the models of those arms and of the baseline are finished.
        arm: the arm that gets extra images of these classes.
    """
    guided = job.compared_arms[arm]
    guiding_arms = [name for name, other in job.compared_arms.items() if guided.is_guided_by(other)]
    candidate_outcomes = {name: read_outcomes(job, run, name) for name in guiding_arms}
    best = choices.choose_arm(candidate_outcomes, job.compare.metric)
    assert best is not None, "the job was refused without such an arm"
    classes = DatasetRecord.read(run.dataset).classes
    return per_class.find_gaining_classes(candidate_outcomes[best["arm"]], read_outcomes(job, run, arms.REAL), classes)
