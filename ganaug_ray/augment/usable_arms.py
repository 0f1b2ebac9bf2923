"""Which arms are trained: those whose generator was not judged unusable, see ``gan.generator_verdict``.

An arm is left out where its generator is red in any split. Arms are compared over the same splits, and to leave out
those splits alone in which the GAN failed would flatter it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from ganaug_ray.augment.synthetic_pools import list_gans
from ganaug_ray.augment.synthetic_sources import SyntheticSource, locate_source
from ganaug_ray.config import Job
from ganaug_ray.config.synthetic_sources import GENERATOR
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import GanRecord
from ganaug_ray.gan import training_budget
from ganaug_ray.gan.generator_verdict import COLOURS, Colour, GeneratorVerdict, judge_generator


@dataclass(frozen=True)
class JudgedGenerator:
    """A generator of the experiment, which each split has trained or adopted anew, and what it is worth.

    Attributes:
        name: of its folder in each split.
        arms: that have its images, by name.
        verdicts: number of a split -> the verdict on its generator.
        records: number of a split -> its gan.json.
        needed_steps: the fewest steps after which images were measured to be good, of one that is trained here; None:
            nothing was measured.
    """

    name: str
    arms: list[str]
    verdicts: dict[int, GeneratorVerdict]
    records: dict[int, GanRecord]
    needed_steps: int | None

    @property
    def worst_split(self) -> int:
        """The number of the split with the worst verdict; the first of several."""
        return min(self.verdicts, key=lambda split: COLOURS.index(self.verdicts[split].colour))

    @property
    def worst(self) -> GeneratorVerdict:
        """The worst verdict of all splits, which speaks for all."""
        return self.verdicts[self.worst_split]

    @property
    def colour(self) -> Colour:
        """The colour of the worst verdict."""
        return self.worst.colour

    @property
    def sentence(self) -> str:
        """The worst verdict in words; of several splits with the number of those that have it."""
        if len(self.verdicts) == 1:
            return self.worst.sentence
        alike = sum(verdict.colour == self.colour for verdict in self.verdicts.values())
        return f"In {alike} of {len(self.verdicts)} splits: {self.worst.sentence}"


def judge_generators(job: Job, run: Run) -> list[JudgedGenerator]:
    """Judge the generators of an experiment that are finished, in all splits.

    Args:
        job: of the whole experiment.
        run: the whole experiment.
    """
    judged = []
    for name, sources in _list_generators(job, run).items():
        needed_steps = None
        if name != GENERATOR:
            needed_steps = training_budget.find_needed_steps(job.gan, job.gan_image_size)
        verdicts = {}
        records = {}
        for number, source in sources.items():
            record = source.find_record()
            if isinstance(record, GanRecord):
                verdict = judge_generator(record, job.augment.allow_copies, needed_steps)
                if verdict is not None:
                    verdicts[number] = verdict
                    records[number] = record
        if verdicts:
            judged.append(JudgedGenerator(name, _list_arms(job, run, name), verdicts, records, needed_steps))
    return judged


def _list_generators(job: Job, run: Run) -> dict[str, dict[int, SyntheticSource]]:
    """Return name of a folder -> number of a split -> generator, of the GANs and of what the arms need."""
    generators: dict[str, dict[int, SyntheticSource]] = defaultdict(dict)
    for number in range(job.compare.splits):
        split = run.locate_split(number)
        sources: list[SyntheticSource] = [*list_gans(job, split)]
        sources += [locate_source(split, arm) for arm in job.all_arms.values() if arm.traits.is_synthetic]
        for source in sources:
            if not source.is_imported:
                generators[source.folder.name][number] = source
    return generators


def _list_arms(job: Job, run: Run, generator: str) -> list[str]:
    """List the arms that have the images of a generator, by the name of its folder."""
    arms = []
    for name, arm in job.all_arms.items():
        if arm.traits.is_synthetic and locate_source(run, arm).folder.name == generator:
            arms.append(name)
    return arms


def find_unusable_arms(job: Job, run: Run) -> list[str]:
    """Find the arms whose generator is not usable in some split, unless the job uses it anyway.

    Args:
        job: of the whole experiment.
        run: the whole experiment.
    """
    if job.augment.use_anyway:
        return []
    unusable = {arm for judged in judge_generators(job, run) if judged.colour == "red" for arm in judged.arms}
    return [arm for arm in job.all_arms if arm in unusable]


def leave_out_unusable(job: Job, run: Run) -> Job:
    """Return the job without the arms whose generator is not usable, as far as the generators are finished."""
    return job.leave_out(find_unusable_arms(job, run))
