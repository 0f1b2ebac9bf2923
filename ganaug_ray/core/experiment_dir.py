"""The experiment folder: which stages are done, what each was made from, and where each keeps its files.

A stage writes its data first and its marker ``<stage>.json`` last, in one atomic write. What has no marker is not
done; what has one is never done twice.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ganaug_ray.core.storage import Folder
from ganaug_ray.core.wording import describe_unwritable
from ganaug_ray.errors import UserError
from ganaug_ray.version import __version__

if TYPE_CHECKING:
    from ganaug_ray.config import Job
    from ganaug_ray.core.job_changes import JobChanges, MadeStage

# The schema of jobs is imported where it is needed: whoever only predicts with a model has no job.

Record = dict[str, Any]
FAILURE_FILE = "failed.json"
LOCK_FILE = ".lock"  # of every experiment's folder on a local disk


def compute_fingerprint(*parts: Any) -> str:
    """Hash JSON-like values to 16 hex digits.

    >>> compute_fingerprint({"a": 1, "b": 2}) == compute_fingerprint({"b": 2, "a": 1})
    True
    """
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def hash_content(content: bytes) -> str:
    """Hash bytes to 16 hex digits."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def read_marker(folder: Folder, marker: str) -> Record | None:
    """Return a finished stage's marker, or None where the stage is not done."""
    try:
        return folder.read_json(marker)
    except FileNotFoundError:
        return None


def write_marker(folder: Folder, marker: str, stage: str, started: float, record: Mapping[str, Any]) -> Record:
    """Write the marker that says a stage is done, with its seconds since ``started`` (a time.monotonic())."""
    content = stamp_marker(stage, started, record)
    store_marker(folder, marker, content)
    return content


def stamp_marker(stage: str, started: float, record: Mapping[str, Any]) -> Record:
    """Add to a marker's content what every marker has; of a copied record, the stamps of its own stage give way."""
    stamps = {"stage": stage, "status": "done", "seconds": round(time.monotonic() - started, 2)}
    return {**stamps, **record, **stamps, "versions": collect_versions()}


def store_marker(folder: Folder, marker: str, content: Record) -> None:
    """Write a stamped marker, and delete what killed processes left half-written beside it."""
    folder.delete_partial_files(
        below=not folder.has_file("job.yaml")
    )  # below an experiment's own folder others may be at work
    folder.write_json(marker, content)


def collect_versions() -> dict[str, str]:
    """Return the versions of this package, Ray and torch; this package's is that of the code that runs."""
    return {"ganaug-ray": __version__, **{name: version(name) for name in ("ray", "torch")}}


class Run:
    """The folder of an experiment, or of one of its splits, and the folders of its stages.

    Args:
        root: of the experiment or split.
        experiment: the whole experiment's; absent: it is the same.
    """

    def __init__(self, root: Folder, experiment: Folder | None = None) -> None:
        self.root = root
        self.experiment = experiment or root
        self.dataset = root / "dataset"
        self.gan = root / "gan"
        self.synthetic = root / "synthetic"
        self.pseudo = root / "pseudo"
        self.models = root / "models"
        self.board = root / "board"
        self.registry = root / "registry"

    def format_command(self, verb: str) -> str:
        """Return the command that does a stage of the experiment as its job.yaml says, for advice."""
        return shlex.join(["ganaug", verb, str(self.root / "job.yaml"), "--out", str(self.root)])

    def locate_split(self, number: int) -> Run:
        """Return the run of one split of the images, which has its own data set, GAN, synthetic images and models."""
        return self if number == 0 else Run(self.root / "splits" / str(number), self.root)

    def locate_model(self, arm: str, seed: int, split: int = 0) -> Folder:
        """Return the folder of an arm's model of one seed and split."""
        return self.locate_split(split).models / arm / f"seed-{seed}"

    def choose_synthetic_folder(self) -> Folder:
        """Return the folder of the augment section's synthetic images or, if only arms have some, that of an arm's."""
        other_names = [name for name in self.root.list_folders() if name.startswith("synthetic-")]
        return (
            self.synthetic
            if not other_names or self.synthetic.has_file("synthetic.json")
            else self.root / other_names[0]
        )

    def claim_folder(self, job: Job, notify: Callable[[str], None] = lambda sentence: None) -> None:
        """Check that the folder is empty or belongs to a compatible job, and then write job.yaml into it.

        A job is compatible if every finished stage in the folder has the same settings in it, see ``job_changes``.
        What unfinished stages left that were begun with other settings is deleted. Hold the lock.

        Args:
            job: with its plan.
            notify: told what is made anew, in a sentence each.

        Raises:
            UserError: the folder cannot be written, holds something else, or holds finished stages of a job whose
                settings for them differ.
        """
        from ganaug_ray.config.loader import dump_job

        previous = self._read_previous_job()
        try:
            if previous is not None:
                self._collect_changes(previous, job).apply(notify)
            self.root.create()
            self.root.write_bytes("job.yaml", dump_job(job).encode())
        except OSError as error:
            raise UserError(describe_unwritable("--out", self.root, error)) from None

    def check_folder(self, job: Job) -> None:
        """Raise UserError where ``claim_folder`` would; nothing is changed."""
        previous = self._read_previous_job()
        if previous is not None:
            self._collect_changes(previous, job)

    def _read_previous_job(self) -> Record | None:
        local = self.root.local_path
        if local is not None and local.exists() and not local.is_dir():
            raise UserError(f"{self.root}: is a file; --out names the folder of the experiment")
        try:
            if self.root.has_file("job.yaml"):
                return yaml.safe_load(self.root.read_bytes("job.yaml"))
            strangers = self.root.list_files() + self.root.list_folders()
        except OSError as error:
            raise UserError(
                f"{self.root}: the output folder cannot be read ({error.strerror or error}); give another --out"
            ) from None
        if strangers:
            raise UserError(
                f"{self.root}: is not empty and holds no experiment (found {strangers[0]}); "
                "give --out a new or empty folder"
            )
        return None

    def read_about(self) -> str:
        """Return what the experiment's job says it is about; empty where it says nothing, or there is no job."""
        if not self.root.has_file("job.yaml"):
            return ""
        return yaml.safe_load(self.root.read_bytes("job.yaml")).get("about", "")

    def _collect_changes(self, previous: Record, job: Job) -> JobChanges:
        """Return what follows from the settings that the folder was not made with. Raises UserError."""
        from ganaug_ray.config.loader import find_differences
        from ganaug_ray.core.job_changes import JobChanges, complete_settings, dump_settings

        previous = complete_settings(previous)
        changes = JobChanges(self._list_made_stages(), previous.get("arms") or {}, self._read_failed_stage())
        for key, (before, after) in find_differences(previous, dump_settings(job)).items():
            changes.add_change(key, before, after)
        lines = changes.refusals
        if lines:
            more = [f"... and {len(lines) - 3} more"] if len(lines) > 3 else []
            raise UserError("\n".join([f"{self.root}: belongs to another job; give another --out", *lines[:3], *more]))
        return changes

    def _list_made_stages(self) -> list[MadeStage]:
        """List what stages have left in the folders of all splits, finished or not."""
        from ganaug_ray.core.job_changes import MadeStage

        stages = []
        for path, folder, marker in self._list_stage_markers():
            if folder.list_entries():
                name = re.sub(r"^splits/\d+/", "", path)
                stages.append(MadeStage(name, path, folder, marker, folder.has_file(marker)))
        return stages

    def note_failure(self, stage: str, message: str) -> None:
        """Note that a stage failed for good reasons: the settings of what it left may change."""
        self.root.write_json(FAILURE_FILE, {"stage": stage, "message": message})

    def _read_failed_stage(self) -> str | None:
        """Return the name of the stage that failed last; None where none did, or the note of it was cut off."""
        with suppress(ValueError):
            return (read_marker(self.root, FAILURE_FILE) or {}).get("stage")
        return None

    def clear_failure(self) -> None:
        """Forget what failed last: a stage is at work again."""
        self.root.delete_file(FAILURE_FILE)

    @contextmanager
    def hold_lock(self) -> Iterator[None]:
        """Keep other processes of this machine out of a local experiment folder until the context ends.

        Raises:
            UserError: another process works in it; or it holds something else, or cannot be written.
        """
        self._read_previous_job()  # a folder of something else is left as it is
        if self.root.local_path is None:
            yield
            return
        try:
            self.root.create()
            lock = (self.root.local_path / LOCK_FILE).open("a")
        except OSError as error:
            raise UserError(describe_unwritable("--out", self.root, error)) from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                remedy = "wait until it has ended, or give another --out"
                raise UserError(f"{self.root}: another ganaug process is working in this folder; {remedy}") from None
            except OSError as error:
                raise UserError(describe_unwritable("--out", self.root, error)) from None
            yield

    @contextmanager
    def open_log_file(self) -> Iterator[Path]:
        """Yield the path of log.txt, to which the output of Ray and torch is appended until the context ends.

        An object store has no append: there it is written to a temporary file and added at the end.
        """
        if self.root.local_path is not None:
            yield self.root.local_path / "log.txt"
            return
        with tempfile.TemporaryDirectory(prefix="ganaug-") as folder:
            log = Path(folder) / "log.txt"
            try:
                yield log
            finally:
                with suppress(OSError):  # whatever ended the block is what matters
                    before = self.root.read_bytes("log.txt") if self.root.has_file("log.txt") else b""
                    self.root.write_bytes("log.txt", before + log.read_bytes())

    def list_markers(self) -> list[tuple[str, Folder, str]]:
        """List (name, folder, marker file) of every stage that may have been run, in order."""
        markers = [(name, self.root, f"{name}.json") for name in ("verdict", "sizes", "board", "report")]
        return self._list_stage_markers() + markers

    def _list_stage_markers(self) -> list[tuple[str, Folder, str]]:
        """List the same of the stages that have a folder, in all splits."""
        markers = [
            ("dataset", self.dataset, "dataset.json"),
            ("pseudo", self.pseudo, "dataset.json"),
            ("gan", self.root / "gan", "gan.json"),
            ("gan-pseudo", self.root / "gan-pseudo", "gan.json"),
            ("generator", self.root / "generator", "gan.json"),
        ]
        for name in self.root.list_folders():
            if name == "images" or name.startswith("images-"):
                markers.append((name, self.root / name, "images.json"))
            if name.startswith("synthetic"):
                markers.append((name, self.root / name, "synthetic.json"))
        for arm in self.models.list_folders():
            for seed in (self.models / arm).list_folders():
                markers.append((f"models/{arm}/{seed}", self.models / arm / seed, "model.json"))
        for number in map(int, (self.root / "splits").list_folders()):
            for name, folder, marker in self.locate_split(number)._list_stage_markers():
                markers.append((f"{format_split_prefix(number)}{name}", folder, marker))
        return markers


def format_split_prefix(number: int) -> str:
    """Return the prefix of a split's folders in messages, such as ``splits/1/``; empty for the first split."""
    return f"splits/{number}/" if number else ""
