"""Which models are evaluated on which images, where that is written, and whether it is done; light to import."""

from dataclasses import dataclass

from ganaug_ray.augment import arms
from ganaug_ray.config import Job
from ganaug_ray.core import experiment_dir, model_registry
from ganaug_ray.core.records import DatasetRecord, ModelRecord, Repeat, VerdictRecord
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
    record: ModelRecord
    data: str | None
    out: Folder

    @property
    def name(self) -> str:
        """How the model is called in messages."""
        return f"{self.record.arm}, seed {self.record.seed}"


def describe_target(run: experiment_dir.Run, model: Folder, data: str | None) -> EvaluationTarget:
    """Name the evaluation of a model; the same model is the same wherever it lies."""
    record = ModelRecord.read(model)
    arm, seed = record.arm, record.seed
    number, home = _find_home(run, record)
    home_record = ModelRecord.find(home.locate_model(arm, seed))
    name = f"{arm}-split-{number}-seed-{seed}" if number else f"{arm}-seed-{seed}"
    if home_record is None or home_record.hash != record.hash:
        name += f"-{record.hash[:8]}"
    images = TEST_SPLIT
    if data is not None:
        images = f"{data.rstrip('/').split('?')[0].rsplit('/', 1)[-1]}-{experiment_dir.compute_fingerprint(data)[:8]}"
    return EvaluationTarget(home, model, record, data, run.root / "evaluation" / name / images)


def _find_home(run: experiment_dir.Run, record: ModelRecord) -> tuple[int, experiment_dir.Run]:
    for number in range(1 + len((run.root / "splits").list_folders())):
        dataset = DatasetRecord.find(run.locate_split(number).dataset)
        if dataset and dataset.hash == record.inputs.get("dataset"):
            return number, run.locate_split(number)
    return 0, run


def hash_inputs(target: EvaluationTarget) -> dict[str, str]:
    """Hashes of what an evaluation on the experiment's own test images is made from."""
    hashes = {"model": target.record.hash, "dataset": DatasetRecord.read(target.home.dataset).hash}
    synthetic = experiment_dir.read_marker(target.home.locate_any_synthetic(), "synthetic.json")
    return hashes | ({"synthetic": synthetic["hash"]} if synthetic else {})


def read_finished(target: EvaluationTarget) -> experiment_dir.Record | None:
    """The marker of an evaluation that still holds; one on another data set is always made anew, as that may change."""
    record = experiment_dir.read_marker(target.out, MARKER)
    return record if record and target.data is None and record["inputs"] == hash_inputs(target) else None


def find_model(run: experiment_dir.Run, arm: str, repeat: Repeat) -> Folder:
    """The folder of an arm's model, by the ``split`` and ``seed`` that verdict.json gives it."""
    return run.locate_model(arm, repeat.seed, repeat.split)


def find_champion(run: experiment_dir.Run, verdict: VerdictRecord) -> Folder:
    """The folder of the model that the verdict names."""
    return find_model(run, verdict.champion.arm, verdict.champion)


def list_models(run: experiment_dir.Run, job: Job, model: str | None = None) -> list[Folder]:
    """The folders of the models to evaluate: the one asked for, else the champion, else all that are trained.

    Raises:
        UserError: there is no finished model where one was asked for.
    """
    if model is not None:
        return [model_registry.resolve_model(model)]
    if verdict := VerdictRecord.find(run.root):
        return [find_champion(run, verdict)]
    fits = [(arm, seed, split) for arm, seed in arms.list_pairs(job) for split in range(job.compare.splits)]
    return [folder for fit in fits if ModelRecord.find(folder := run.locate_model(*fit))]


def describe_outcome(record: experiment_dir.Record) -> str:
    """Say an evaluation in one line."""
    low, high = record["intervals"]["accuracy"]
    where = "test images" if record["data"] == TEST_SPLIT else f"images of {record['data']}"
    parts = [
        f"{record['arm']}, seed {record['seed']} on {record['n']} {where}: "
        f"accuracy {record['accuracy']:.3f} (95 % interval {low:.3f} to {high:.3f})"
    ]
    parts += [f"{record['excluded_train_rows']} left out as trained on"] if record["excluded_train_rows"] else []
    parts += [f"{sum(record['rejected'].values())} rejected"] if record["rejected"] else []
    return ", ".join(parts)
