"""Writes training.html: the curves of all trainings and the GANs' newest samples, while they run."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import quote

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, Template

from ganaug_ray.core.storage import Folder
from ganaug_ray.tracking import curves
from ganaug_ray.tracking.training_log import TrainingLog

FILE = "training.html"
REFRESH_S = 10  # seconds after which a browser asks for the page again


class LivePage:
    """Keeps training.html up to date; a browser that shows it asks for it again every ten seconds.

    Args:
        root: the experiment's folder.
        titles: arm -> what its classifiers are trained on, in words; absent: arms have their own names.
    """

    def __init__(self, root: Folder, titles: Mapping[str, str] = MappingProxyType({})) -> None:
        self._root = root
        self._titles = titles
        self._logs: list[TrainingLog] = []
        self._is_drawn = False

    def update(self, logs: list[TrainingLog]) -> None:
        """Draw the page, unless an earlier command has drawn it of these logs."""
        self._logs = logs
        if not self._is_drawn and self._read_time() >= max(log.changed for log in logs):
            return
        self._is_drawn = True
        self._write(is_running=True)

    def close(self, status: str = "done") -> None:
        """Draw the page a last time; it no longer refreshes itself."""
        if self._is_drawn:
            self._write(is_running=False)

    def _read_time(self) -> int:
        """Return when the page was drawn last, in nanoseconds; -1 where it was not."""
        return self._root.fs.get_file_info(f"{self._root.path}/{FILE}").mtime_ns or -1

    def _write(self, is_running: bool) -> None:
        gans = [log for log in self._logs if curves.is_gan(log)]
        classifiers = [log for log in self._logs if not curves.is_gan(log)]
        samples = [(log.name, max(log.pictures), _locate_newest(log)) for log in gans if log.pictures]
        page = _load_template().render(
            name=self._root.name,
            refresh_s=REFRESH_S if is_running else None,
            at=time.strftime("%H:%M:%S"),
            sections=[
                ("The GAN" if len(gans) == 1 else "The GANs", curves.draw_gan_charts(gans), samples),
                ("Classifiers", curves.draw_classifier_charts(classifiers, self._titles), []),
            ],
            width=curves.WIDTH,
            height=curves.HEIGHT,
            has_report=self._root.has_file("report.html"),
        )
        self._root.write_bytes(FILE, page.encode())


def _locate_newest(log: TrainingLog) -> str:
    """Return the address of the newest samples, relative to the page."""
    return quote(f"{log.name}/{log.pictures[max(log.pictures)]}")


@functools.cache
def _load_template() -> Template:
    loader = ChoiceLoader([PackageLoader("ganaug_ray", f"{folder}/page") for folder in ("tracking", "data/card")])
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template("training.html")
