"""Reads how far trainings in other processes are, from the figures that they log."""

from ganaug_ray.core import metrics_log
from ganaug_ray.core.records import GanRecord, ModelRecord
from ganaug_ray.core.storage import Folder


def read_fit_progress(fit_steps: list[tuple[Folder, int]]) -> tuple[float, str]:
    """Return how far trainings of classifiers are, from 0 to 1, and words for it; each is a folder and its steps."""
    steps_done = 0
    ready = 0
    for folder, steps in fit_steps:
        lines = metrics_log.read_newest_lines(folder)
        if folder.has_file(ModelRecord.FILE):  # it may have ended early
            ready += 1
            steps_done += steps
        elif lines:
            steps_done += lines[-1]["step"]
    total = sum(steps for _, steps in fit_steps)
    if not steps_done:
        return 0.0, "starting workers"
    return steps_done / total, f"{ready} of {len(fit_steps)} models trained, step {steps_done} of {total} in all"


def read_gan_progress(folders: list[Folder], steps: int) -> tuple[float, str]:
    """Return how far trainings of GANs are, from 0 to 1, and words for one that is running; each takes ``steps``."""
    steps_done = 0
    ready = 0
    words = "starting workers"
    for folder in folders:
        lines = [line for line in metrics_log.read_newest_lines(folder) if "loss_g" in line]
        if folder.has_file(GanRecord.FILE):
            ready += 1
            steps_done += steps
        elif lines:
            last = lines[-1]
            steps_done += last["step"]
            words = f"step {last['step']} of {steps}, loss_g {last['loss_g']:.2f}, loss_d {last['loss_d']:.2f}"
            if last["step"] >= steps:
                words = "measuring the quality of its images"
    if len(folders) > 1 and steps_done:
        words = f"{ready} of {len(folders)} GANs trained, {words}"
    return steps_done / (steps * len(folders)), words


def read_side_by_side_progress(
    gan_folders: list[Folder], gan_steps: int, fit_steps: list[tuple[Folder, int]]
) -> tuple[float, str]:
    """Return how far GANs are, and classifiers beside them if there are any, which may wait for the last of the GANs.

    So in what one GAN takes, it is those that are behind that count.
    """
    share, words = read_gan_progress(gan_folders, gan_steps)
    if not fit_steps:
        return share, words
    fit_share, _ = read_fit_progress(fit_steps)
    ready = sum(folder.has_file(ModelRecord.FILE) for folder, _ in fit_steps)
    last = 1 / len(gan_folders)
    share = (1 - last) * share + last * min(share, fit_share)
    return share, f"{words}; beside it {ready} of {len(fit_steps)} models trained"
