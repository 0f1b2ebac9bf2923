"""Does a GAN trained on your few labelled images make your classifier better? Evidence first, on Ray."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganaug_ray.errors import StageFailed, UserError
from ganaug_ray.version import __version__

if TYPE_CHECKING:
    from ganaug_ray.classify.predict import Classifier
    from ganaug_ray.gan.sampler import Generator
    from ganaug_ray.pipeline.experiment_result import ExperimentResult

__all__ = ["StageFailed", "UserError", "__version__", "load", "run"]


def run(
    images_or_job: str | Path | Mapping[str, Any],
    *,
    minutes: float | None = None,
    out: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    until_clear: bool = False,
    cpu: bool = False,
    verbose: bool = False,
) -> ExperimentResult:
    """Run all stages from images to a promoted model, as ``ganaug run`` does, and return what came out.

    After an interruption, the same call continues from there. Of a finished run, it only reads the result. Ray is
    started when a stage needs it, and ended with the run. If this program is already connected to a Ray, that one is
    used and keeps running.

    Args:
        images_or_job: images, a job, or the folder of an experiment. Images are a folder, an archive, or anything else
            that ``data.source`` takes. A job is a file, or its content, such as
            ``{"data": {"source": "pets/"}, "gan": {"steps": 2000}}``.
        minutes: how long the whole run is planned to take on this machine; it is not cut off. 30 by default where
            ``images_or_job`` is images.
        out: folder of the experiment, a path or URI. By default it is named after the job or the images, and lies in
            ``runs`` or in $GANAUG_HOME.
        settings: settings of the job to change, by dotted key, such as ``{"gan.lr": 1e-4}``.
        until_clear: add seeds, then splits, until the verdict is helped, no worthwhile gain or hurt.
        cpu: compute on the CPU, even if there are GPUs.
        verbose: show what Ray and torch print; by default it goes to log.txt.

    Returns:
        The answer, the figures of all arms, the champion, the generator and the page.

    Raises:
        UserError: the job, the images or the folder are wrong. The message says what to do, in the words of the
            command line: ``--out`` is ``out``.
        StageFailed: a stage could not finish, although the input is right.
        KeyboardInterrupt: Ctrl-C. What is finished stays, and the same call continues from there.
    """
    import json

    from ganaug_ray.core.interrupts import keep_interrupts
    from ganaug_ray.pipeline.experiment_result import run_experiment
    from ganaug_ray.pipeline.run_job import RunOptions

    overrides = tuple(f"{key}={json.dumps(value, default=str)}" for key, value in (settings or {}).items())
    options = RunOptions(
        images_or_job if isinstance(images_or_job, Mapping) else str(images_or_job),
        None if out is None else str(out),
        overrides,
        verbose=verbose,
        cpu_only=cpu,
        until_clear=until_clear,
        minutes=minutes,
        takes_images=True,
    )
    with keep_interrupts():
        return run_experiment(options)


def load(path: str | Path, device: str = "cpu") -> Classifier | Generator:
    """Load a trained classifier or generator, for use in other software. Ray is not needed.

    Args:
        path: an experiment or a registry, whose champion is loaded; or the folder of a model or a GAN. A local path or
            a URI.
        device: where it runs, such as "cpu" or "cuda".

    Raises:
        UserError: the path holds no finished model or generator.

    >>> model = load(EXPERIMENT)
    >>> answer = model.predict([some_image])[0]
    >>> answer.label in model.classes, round(sum(answer.probabilities.values()), 3)
    (True, 1.0)
    >>> generator = load(EXPERIMENT + "/gan")
    >>> images = generator.generate(model.classes[0], n=3, seed=7)
    >>> images.dtype, images.shape
    (dtype('uint8'), (3, 32, 32, 1))
    """
    from ganaug_ray.classify.predict import Classifier
    from ganaug_ray.core import model_registry
    from ganaug_ray.core.records import GanRecord
    from ganaug_ray.core.storage import Folder
    from ganaug_ray.gan.sampler import Generator

    folder = Folder.from_uri(path)
    if folder.has_file(GanRecord.FILE):
        return Generator.load(folder, device)
    return Classifier.load(model_registry.resolve_model(path), device)
