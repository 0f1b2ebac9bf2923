"""The result of a run, for Python: the answer, the figures of all arms, the champion, the generator and the page."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganaug_ray.core.console import Terminal
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import GanRecord, VerdictRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError
from ganaug_ray.pipeline.experiments import PAGE
from ganaug_ray.pipeline.pipeline import Pipeline
from ganaug_ray.pipeline.run_job import RunOptions, act_on_experiment, open_experiment

if TYPE_CHECKING:  # they import torch, or are no requirement
    import pandas as pd

    from ganaug_ray.classify.predict import Classifier
    from ganaug_ray.gan.sampler import Generator

NOTEBOOK_HEIGHT_PX = 520  # of the page's top in a notebook


@dataclass(frozen=True)
class ExperimentResult:
    """The result of a run. A notebook shows it as the top of its page.

    Attributes:
        verdict: helped, no worthwhile gain, unclear, hurt or not enough repeats; None if nothing was compared.
        answer: the verdict with its figures, in a sentence.
        action: what to do now, in a sentence.
        folder: of the experiment: a path, or a URI such as s3://bucket/runs/pets.
        page: report.html in that folder.
        rows: a row for each arm, the baseline first. ``arm`` is its name, ``trainings`` their number, ``role`` one of
            baseline, chosen, candidate and control. The metrics on test images are means over its trainings, as shares
            in [0, 1]. Every arm but the baseline also has ``verdict``, and ``change``, ``low`` and ``high``: how much
            the deciding metric changed, with the 95 % interval.
    """

    verdict: str | None
    answer: str
    action: str
    folder: str
    page: str
    rows: list[dict[str, Any]] = field(repr=False)

    @property
    def arms(self) -> pd.DataFrame | list[dict[str, Any]]:
        """The rows as a pandas DataFrame with the arm as its index, or as a list of dicts without pandas."""
        try:
            import pandas as pd
        except ImportError:
            return self.rows
        return pd.DataFrame(self.rows).set_index("arm")

    @cached_property
    def champion(self) -> Classifier:
        """The champion, loaded on the CPU; ``champion.predict("cat.jpg")`` classifies an image."""
        from ganaug_ray.classify.predict import Classifier
        from ganaug_ray.core import model_registry

        return Classifier.load(model_registry.resolve_model(self.folder))

    @cached_property
    def generator(self) -> Generator | None:
        """The generator, loaded on the CPU; None if no GAN was trained."""
        from ganaug_ray.gan.sampler import Generator

        folder = Run(Folder.from_uri(self.folder)).gan
        return Generator.load(folder) if folder.has_file(GanRecord.FILE) else None

    def _repr_html_(self) -> str:
        """Return the page's top in a frame of its own, so that its style changes nothing else of a notebook."""
        from ganaug_ray.report.report import render_top

        page = html.escape(render_top(Run(Folder.from_uri(self.folder))))
        frame = f"width: 100%; height: {NOTEBOOK_HEIGHT_PX}px; border: 0"
        return f'<iframe srcdoc="{page}" style="{frame}" title="{html.escape(self.answer)}"></iframe>'


def run_experiment(options: RunOptions) -> ExperimentResult:
    """Run all stages of what is asked for, and read what came out.

    Raises:
        UserError: the job, its source or its folder is wrong.
        StageFailed: a stage could not finish although the input is right.
    """
    if options.minutes is not None and not options.minutes > 0:
        raise UserError(f"minutes: found {options.minutes:g}, expected more than 0")
    terminal = Terminal()
    experiment = open_experiment(options, terminal)
    action: Callable[[Pipeline], None] = Pipeline.run_until_clear if options.until_clear else Pipeline.run_all
    act_on_experiment(action, experiment, options, terminal)
    return read_result(experiment.run)


def read_result(run: Run) -> ExperimentResult:
    """Read what came out of a finished run."""
    verdict = VerdictRecord.read(run.root)
    folder = str(run.root) if run.root.local_path is None else str(run.root.local_path.absolute())
    page = str(run.root / PAGE) if run.root.local_path is None else str(Path(folder) / PAGE)
    return ExperimentResult(verdict.verdict, verdict.sentence, verdict.action, folder, page, _list_arms(verdict))


def _list_arms(verdict: VerdictRecord) -> list[dict[str, Any]]:
    comparisons = {comparison.arm: comparison.to_json() for comparison in verdict.comparisons}
    rows = []
    for arm, figures in verdict.arms.items():
        row = {"arm": arm, **figures.mean, "trainings": len(figures.repeats)}
        comparison = comparisons.get(arm, {})
        low, high = comparison.get("ci95") or (None, None)
        row |= {"role": comparison.get("role", "baseline"), "change": comparison.get("mean"), "low": low, "high": high}
        rows.append(row | {"verdict": comparison.get("verdict")})
    return rows
