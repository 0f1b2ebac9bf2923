"""Says on the terminal what generators are worth, which arms are left out for it, and what helps."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable

from ganaug_ray.augment.usable_arms import JudgedGenerator, find_unusable_arms, judge_generators
from ganaug_ray.config.synthetic_sources import GENERATOR
from ganaug_ray.errors import StageFailed
from ganaug_ray.pipeline.stage import StageContext

STAGE = "generator"
LONGER_SUFFIX = "-longer"  # of the folder of an experiment whose GAN is trained longer


def print_verdicts(context: StageContext, name: str | None = None) -> None:
    """Print the verdict on each finished generator, and which arms are left out.

    Args:
        context: of the job.
        name: of the one that is asked for, as its folder is called; absent: all that the job trains itself.
    """
    left_out = find_unusable_arms(context.job, context.run)
    for judged in judge_generators(context.job, context.run):
        if (judged.name != GENERATOR) if name is None else (judged.name == name):
            context.terminal.print_stage_line(STAGE, judged.colour, judged.sentence)
            if set(judged.arms) & set(left_out):
                text = f"no classifier is trained with its images; {_advise(context, judged, _format_option)}"
                context.terminal.print_stage_line(STAGE, "note", text)


def advise_next(context: StageContext) -> str | None:
    """Say what helps the first generator that arms were left out for, with a command; None where none were."""
    left_out = find_unusable_arms(context.job, context.run)
    for judged in judge_generators(context.job, context.run):
        if set(judged.arms) & set(left_out):
            return _advise(context, judged, lambda setting: f"`ganaug run {_put_setting(context.arguments, setting)}`")
    return None


def advise_longer(context: StageContext) -> str | None:
    """Say how long a GAN should be trained whose images were used though they are not usable; None where none were."""
    for judged in judge_generators(context.job, context.run):
        is_trained_here = judged.name != GENERATOR and not judged.records[judged.worst_split].ended_early
        if judged.colour == "red" and is_trained_here and not judged.worst.copies:
            longer = _put_setting(_put_folder(context), _choose_length(context, judged))
            return (
                f"`ganaug run {longer}` trains the GAN longer: the present generator is not usable, and repeats would "
                "not change that"
            )
    return None


def refuse_unusable(context: StageContext, name: str) -> None:
    """Raise StageFailed if a finished generator is not usable, and the job does not use it anyway."""
    if context.job.augment.use_anyway:
        return
    for judged in judge_generators(context.job, context.run):
        if judged.name == name and judged.colour == "red":
            raise StageFailed(f"{judged.sentence} {_advise(context, judged, _format_option)}")


def _put_setting(arguments: str, setting: str) -> str:
    """Add a setting to a command line's arguments, in place of what they set that key to.

    >>> _put_setting("pets --set gan.steps=150 --out pets-long", "gan.steps=4000")
    'pets --out pets-long --set gan.steps=4000'
    """
    key = setting.partition("=")[0]
    words: list[str] = []
    for word in shlex.split(arguments):
        if words[-1:] == ["--set"] and word.startswith(f"{key}="):
            words.pop()
        else:
            words.append(word)
    return shlex.join([*words, "--set", setting])


def _put_folder(context: StageContext) -> str:
    """Return the arguments that name the job, with another folder of the experiment beside the present one."""
    words = shlex.split(context.arguments)
    if "--out" in words:
        place = words.index("--out")
        del words[place : place + 2]
    root = context.run.root
    return shlex.join([*words, "--out", f"{root.uri or root.path}{LONGER_SUFFIX}{root.query}"])


def _format_option(setting: str) -> str:
    return f"--set {setting}"


def _advise(context: StageContext, judged: JudgedGenerator, format_command: Callable[[str], str]) -> str:
    """Say what gives better images than those of a generator that is not usable, and what uses these.

    With either setting the same folder goes on.

    Args:
        context: of the job.
        judged: the generator.
        format_command: writes the command, or the option, with a setting.
    """
    record = judged.records[judged.worst_split]
    if judged.worst.copies:
        remedy = "more images or fewer gan.steps may help"
        if judged.name == GENERATOR:
            remedy = "take another generator"
        allowed = format_command("augment.allow_copies=true")
        return f"{remedy}, in another --out (see {judged.name}/closest_pairs.png); {allowed} uses its images anyway"
    anyway = format_command("augment.use_anyway=true")
    if judged.name == GENERATOR:
        return f"{anyway} uses its images as they are; another generator, in another --out, may suit your images better"
    if record.ended_early:
        return f"{anyway} uses its images as they are; more steps would not help: {record.ended_early}"
    longer = format_command(_choose_length(context, judged))
    return f"{longer} trains the GAN longer, then the arms; --set augment.use_anyway=true uses its images as they are"


def _choose_length(context: StageContext, judged: JudgedGenerator) -> str:
    """Choose the setting of a longer training: twice as long or, if that is more, as long as was measured to work."""
    gan = context.job.gan
    steps = judged.records[judged.worst_split].steps
    needed_steps = max(2 * steps, judged.needed_steps or 0)
    if gan.epochs is None:
        return f"gan.steps={needed_steps}"
    return f"gan.epochs={math.ceil(gan.epochs * needed_steps / steps)}"
