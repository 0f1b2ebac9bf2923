"""The experiment folder: which stages are done, what each was made from, and where each keeps its files.

A stage writes its data first and its marker ``<stage>.json`` last, in one atomic write. What has no marker is not
done; what has one is never done twice.
"""

import fcntl
import hashlib
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ganaug_ray.config import Job
from ganaug_ray.config.base import SCALING_KEYS
from ganaug_ray.config.loader import dump_job, find_differences
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError
from ganaug_ray.version import __version__

Record = dict[str, Any]

# A setting in one of these sections shaped the folders named beside it: once they exist, it cannot change.
FOLDERS_SHAPED_BY = {
    "data": ("dataset",),
    "seed": ("dataset", "gan", "synthetic", "models"),
    "gan": ("gan", "gan-pseudo"),
    "augment": ("synthetic", "pseudo"),
    "classifier": ("models",),
}
# These say how the work is spread, and change nothing of what is there.
FREE_KEYS = {
    *(f"gan.{name}" for name in SCALING_KEYS),
    *(f"classifier.{name}" for name in SCALING_KEYS),
    "data.loader",
    "data.resident_limit",
}


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
    whole = stamp_marker(stage, started, record)
    store_marker(folder, marker, whole)
    return whole


def stamp_marker(stage: str, started: float, record: Mapping[str, Any]) -> Record:
    """Add to a marker's content what every marker has; of a copied record, the stamps of its own stage give way."""
    stamps = {"stage": stage, "status": "done", "seconds": round(time.monotonic() - started, 2)}
    return {**stamps, **record, **stamps, "versions": collect_versions()}


def store_marker(folder: Folder, marker: str, whole: Record) -> None:
    """Write a stamped marker, and delete what killed processes left half-written beside it."""
    folder.delete_partial_files(
        below=not folder.has_file("job.yaml")
    )  # below an experiment's own folder others may be at work
    folder.write_json(marker, whole)


def collect_versions() -> dict[str, str]:
    """Return the versions of this package, Ray and torch; this package's is that of the code that runs."""
    return {"ganaug-ray": __version__, **{name: version(name) for name in ("ray", "torch")}}


class Run:
    """The folder of an experiment, or of one of its splits, and the folders of its stages."""

    def __init__(self, root: Folder) -> None:
        self.root = root
        self.dataset = root / "dataset"
        self.gan = root / "gan"
        self.synthetic = root / "synthetic"
        self.pseudo = root / "pseudo"
        self.models = root / "models"
        self.board = root / "board"
        self.registry = root / "registry"

    def locate_split(self, number: int) -> "Run":
        """Return the run of one split of the images, which has its own data set, GAN, synthetic images and models."""
        return self if number == 0 else Run(self.root / "splits" / str(number))

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

    def claim_folder(self, job: Job) -> None:
        """Check that the folder is empty or belongs to a compatible job, and then write job.yaml into it.

        A job is compatible if everything in the folder that is made already has the same settings in it. Settings that
        only say how the work is spread may differ.

        Raises:
            UserError: the folder cannot be written, holds something else, or holds stages of a job whose settings
                for them differ.
        """
        previous = self._read_previous_job()
        if previous is not None:
            self._refuse_conflicts(previous, job)
        try:
            self.root.create()
            self.root.write_bytes("job.yaml", dump_job(job).encode())
        except OSError as error:
            raise UserError(f"{self.root}: the output folder cannot be written ({_describe_error(error)})") from None

    def _read_previous_job(self) -> Record | None:
        local = self.root.local_path
        if local is not None and local.exists() and not local.is_dir():
            raise UserError(f"{self.root}: is a file; --out names the folder of the experiment")
        try:
            if self.root.has_file("job.yaml"):
                return yaml.safe_load(self.root.read_bytes("job.yaml"))
            strangers = self.root.list_files() + self.root.list_folders()
        except OSError as error:
            raise UserError(f"{self.root}: the output folder cannot be read ({_describe_error(error)})") from None
        if strangers:
            raise UserError(
                f"{self.root}: is not empty and holds no experiment (found {strangers[0]}); "
                "give --out a new or empty folder"
            )
        return None

    def _refuse_conflicts(self, previous: Record, job: Job) -> None:
        with suppress(ValidationError):  # settings that are newer than the folder had their defaults
            previous = _dump_settings(Job.model_validate(_fill_old_defaults(previous)))
        new = _dump_settings(job)
        lines = []
        for key, (before, after) in find_differences(previous, new).items():
            section, _, rest = key.partition(".")
            shaped = (f"models/{rest.split('.')[0]}",) if section == "arms" else FOLDERS_SHAPED_BY.get(section, ())
            if section == "arms" and after is None:  # an arm that is no longer compared
                continue
            made = [name for name in shaped if (self.root / name).list_folders() or (self.root / name).list_files()]
            if made and key not in FREE_KEYS:
                lines.append(f"{key} is {before} there and {after} in this job ({made[0]} is made)")
        if lines:
            more = [f"... and {len(lines) - 3} more"] if len(lines) > 3 else []
            raise UserError("\n".join([f"{self.root}: belongs to another job; give another --out", *lines[:3], *more]))

    @contextmanager
    def hold_lock(self) -> Iterator[None]:
        """Keep other processes of this machine out of a local experiment folder until the context ends.

        Raises:
            UserError: another process works in it.
        """
        if self.root.local_path is None:
            yield
            return
        with (self.root.local_path / ".lock").open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UserError(f"{self.root}: another ganaug process is working in this folder") from None
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
        markers = [
            ("dataset", self.dataset, "dataset.json"),
            ("pseudo", self.pseudo, "dataset.json"),
            ("gan", self.root / "gan", "gan.json"),
            ("gan-pseudo", self.root / "gan-pseudo", "gan.json"),
        ]
        for name in self.root.list_folders():
            if name.startswith("synthetic"):
                markers.append((name, self.root / name, "synthetic.json"))
        for arm in self.models.list_folders():
            for seed in (self.models / arm).list_folders():
                markers.append((f"models/{arm}/{seed}", self.models / arm / seed, "model.json"))
        for number in map(int, (self.root / "splits").list_folders()):
            for name, folder, marker in self.locate_split(number).list_markers():
                markers.append((f"{format_split_prefix(number)}{name}", folder, marker))
        markers += [(name, self.root, f"{name}.json") for name in ("verdict", "sizes", "board", "report")]
        return markers


def format_split_prefix(number: int) -> str:
    """Return the prefix of a split's folders in messages, such as ``splits/1/``; empty for the first split."""
    return f"splits/{number}/" if number else ""


def _fill_old_defaults(previous: Record) -> Record:
    """Give a stored job the settings that are newer than it and whose default is not what was done before them."""
    classifier = previous.get("classifier")
    return previous | {"classifier": {"keep": "best", **classifier}} if isinstance(classifier, dict) else previous


def _dump_settings(job: Job) -> Record:
    """What is compared of two jobs: arms that follow from the augment section are arms like others."""
    return job.model_copy(update={"arms": job.compared_arms}).model_dump(exclude_none=True)


def _describe_error(error: OSError) -> str:
    return error.strerror or str(error)
