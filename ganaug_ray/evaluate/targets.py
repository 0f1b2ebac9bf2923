"""Which models are evaluated on which images, where that is written, and whether it is done; light to import."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ganaug_ray.augment import arms
from ganaug_ray.config import Job
from ganaug_ray.core import experiment_dir, model_registry
from ganaug_ray.core.storage import Folder

MARKER = "evaluation.json"
TEST_SPLIT = "test"  # the name of the experiment's own test images


@dataclass(frozen=True)
class EvaluationTarget:
    """What is evaluated on what, and where that is written.

    Attributes:
        home: the split whose data set the model was trained on; of a model from elsewhere, the first one.
        model: a model folder.
        record: its model.json.
        data: another data set's source; None: the experiment's own test images.
        out: the folder of this evaluation.
    """

    home: experiment_dir.Run
    model: Folder
    record: experiment_dir.Record
    data: str | None
    out: Folder

    @property
    def name(self) -> str:
        """How the model is called in messages."""
        return f"{self.record['arm']}, seed {self.record['seed']}"


def describe_target(run: experiment_dir.Run, model: Folder, data: str | None) -> EvaluationTarget:
    """Name the evaluation of a model; the same model is the same wherever it lies."""
    record = model.read_json("model.json")
    arm = record["arm"]
    seed = record["seed"]
    number, home = _find_home(run, record)
    home_record = experiment_dir.read_marker(home.locate_model(arm, seed), "model.json")
    name = f"{arm}-split-{number}-seed-{seed}" if number else f"{arm}-seed-{seed}"
    if home_record is None or home_record["hash"] != record["hash"]:
        name += f"-{record['hash'][:8]}"
    images = TEST_SPLIT
    if data is not None:
        source_name = data.rstrip("/").split("?")[0].rsplit("/", 1)[-1]
        images = f"{source_name}-{experiment_dir.compute_fingerprint(data)[:8]}"
    return EvaluationTarget(home, model, record, data, run.root / "evaluation" / name / images)


def _find_home(run: experiment_dir.Run, record: experiment_dir.Record) -> tuple[int, experiment_dir.Run]:
    for number in range(1 + len((run.root / "splits").list_folders())):
        dataset = experiment_dir.read_marker(run.locate_split(number).dataset, "dataset.json")
        if dataset and dataset["hash"] == record["inputs"].get("dataset"):
            return number, run.locate_split(number)
    return 0, run


def hash_inputs(target: EvaluationTarget) -> dict[str, str]:
    """Hashes of what an evaluation on the experiment's own test images is made from."""
    hashes = {"model": target.record["hash"], "dataset": target.home.dataset.read_json("dataset.json")["hash"]}
    synthetic = experiment_dir.read_marker(target.home.locate_any_synthetic(), "synthetic.json")
    if synthetic is not None:
        hashes["synthetic"] = synthetic["hash"]
    return hashes


def read_finished(target: EvaluationTarget) -> experiment_dir.Record | None:
    """The marker of an evaluation that still holds; one on another data set is always made anew, as that may change."""
    record = experiment_dir.read_marker(target.out, MARKER)
    if record is None or target.data is not None or record["inputs"] != hash_inputs(target):
        return None
    return record


def find_model(run: experiment_dir.Run, arm: str, repeat: Mapping[str, Any]) -> Folder:
    """The folder of an arm's model, by the ``split`` and ``seed`` that verdict.json gives it."""
    return run.locate_model(arm, repeat["seed"], repeat["split"])


def find_champion(run: experiment_dir.Run, verdict: experiment_dir.Record) -> Folder:
    """The folder of the model that the verdict names."""
    return find_model(run, verdict["champion"]["arm"], verdict["champion"])


def list_models(run: experiment_dir.Run, job: Job, model: str | None = None) -> list[Folder]:
    """The folders of the models to evaluate: the one asked for, else the champion, else all that are trained.

    Raises:
        UserError: there is no finished model where one was asked for.
    """
    if model is not None:
        return [model_registry.resolve_model(model)]
    if verdict := experiment_dir.read_marker(run.root, "verdict.json"):
        return [find_champion(run, verdict)]
    folders = []
    for arm, seed in arms.list_pairs(job):
        folders += [run.locate_model(arm, seed, split) for split in range(job.compare.splits)]
    return [folder for folder in folders if experiment_dir.read_marker(folder, "model.json")]


def describe_outcome(record: experiment_dir.Record) -> str:
    """Say an evaluation in one line."""
    low, high = record["intervals"]["accuracy"]
    where = "test images" if record["data"] == TEST_SPLIT else f"images of {record['data']}"
    parts = [
        f"{record['arm']}, seed {record['seed']} on {record['n']} {where}: "
        f"accuracy {record['accuracy']:.3f} (95 % interval {low:.3f} to {high:.3f})"
    ]
    if record["excluded_train_rows"]:
        parts.append(f"{record['excluded_train_rows']} left out as trained on")
    if record["rejected"]:
        parts.append(f"{sum(record['rejected'].values())} rejected")
    return ", ".join(parts)
