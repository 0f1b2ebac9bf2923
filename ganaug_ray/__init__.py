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

    A run that was interrupted goes on where it was when it is called again; a finished one is only read. Ray is
    started for it and ended after it; one that this program is connected to is used, and stays.

    Args:
        images_or_job: images: a folder, an archive, any ``data.source``; or a job: a file, or its content, such as
            ``{"data": {"source": "pets/"}, "gan": {"steps": 2000}}``; or the folder of an experiment.
        minutes: that the whole run is planned for, on this machine; it is not cut off after them. For images 30 by
            default.
        out: folder of the experiment, a path or URI; by default one named after the job or the images in ``runs``, or
            in $GANAUG_HOME.
        settings: of the job, by dotted key, such as ``{"gan.lr": 1e-4}``.
        until_clear: add seeds, then splits, until the verdict is helped, no worthwhile gain or hurt.
        cpu: compute on the CPU, also where there are GPUs.
        verbose: show what Ray and torch print; by default it is in log.txt.

    Raises:
        UserError: the job, the images or the folder are wrong; the message says what to do, in the words of the
            command line (``--out`` is ``out``).
        StageFailed: a stage could not finish although the input is right.
        KeyboardInterrupt: Ctrl-C; what is done is kept, and the same call goes on from there.
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
    """Load a trained model or generator, for use in other software. Needs no Ray.

    Args:
        path: an experiment or registry (its champion is loaded), a model folder, or a gan folder; local or a URI.
        device: where it runs, such as "cpu" or "cuda".

    Raises:
        ganaug_ray.errors.UserError: there is nothing finished at the path.

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
