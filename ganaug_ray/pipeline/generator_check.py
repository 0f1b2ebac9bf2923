"""Says on the terminal what generators are worth, which arms are left out for it, and what helps."""

from __future__ import annotations

from ganaug_ray.augment.usable_arms import JudgedGenerator, find_unusable_arms, judge_generators
from ganaug_ray.config.synthetic_sources import GENERATOR
from ganaug_ray.errors import StageFailed
from ganaug_ray.pipeline.stage import StageContext

STAGE = "generator"


def print_verdicts(context: StageContext, name: str | None = None) -> None:
    """Print the verdict on each finished generator, and which arms are left out.

    Args:
        context: of the job with all its arms.
        name: of the one that is asked for, as its folder is called; absent: all that the job trains itself.
    """
    left_out = find_unusable_arms(context.job, context.run)
    for judged in judge_generators(context.job, context.run):
        if (judged.name != GENERATOR) if name is None else (judged.name == name):
            context.terminal.print_stage_line(STAGE, judged.colour, judged.sentence)
            arms = [arm for arm in judged.arms if arm in left_out]
            if arms:
                verb = "is" if len(arms) == 1 else "are"
                text = f"{' and '.join(arms)} {verb} not trained; {advise_better_images(context, judged)}"
                context.terminal.print_stage_line(STAGE, "note", text)


def advise_next(context: StageContext) -> str | None:
    """Say what helps the first generator that arms were left out for; None where none were."""
    left_out = find_unusable_arms(context.job, context.run)
    for judged in judge_generators(context.job, context.run):
        if set(judged.arms) & set(left_out):
            return advise_better_images(context, judged)
    return None


def refuse_unusable(context: StageContext, name: str) -> None:
    """Raise StageFailed if a finished generator is not usable, and the job does not use it anyway."""
    if context.job.augment.use_anyway:
        return
    for judged in judge_generators(context.job, context.run):
        if judged.name == name and judged.colour == "red":
            raise StageFailed(f"{judged.sentence} {advise_better_images(context, judged)}")


def advise_better_images(context: StageContext, judged: JudgedGenerator) -> str:
    """Say which command gets better images than those of a generator that is not usable, and which uses these."""
    command = f"`ganaug run {context.arguments} --set"
    record = judged.records[judged.worst_split]
    if judged.worst.copies:
        help_ = "more images or fewer gan.steps help, in another --out"
        if judged.name == GENERATOR:
            help_ = "take another generator, in another --out"
        return (
            f"{help_} (see {judged.name}/closest_pairs.png); {command} augment.allow_copies=true` uses its images all "
            "the same"
        )
    anyway = f"{command} augment.use_anyway=true` uses its images as they are"
    if judged.name == GENERATOR:
        return f"another generator may suit these images better, in another --out; {anyway}"
    if record.ended_early:
        return f"more images help, since more steps would not: {record.ended_early}; {anyway}"
    gan = context.job.gan
    key = "epochs" if gan.epochs else "steps"
    length = _choose_length(judged, gan.epochs or gan.steps or record.steps, record.steps)
    return f"{command} gan.{key}={length}` trains the GAN on, and tries its images then; {anyway}"


def _choose_length(judged: JudgedGenerator, length: int, steps: int) -> int:
    """Choose the length of a longer training: twice as long or, if that is more, as long as was measured to work."""
    needed_steps = judged.needed_steps or 0
    return max(2 * length, -(-needed_steps * length // steps))
