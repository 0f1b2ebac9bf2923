"""Says which models are evaluated on which images, where to, and whether that is done; light to import."""

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
    """A model, the images to evaluate it on, and the folder for the results.

    Attributes:
        home: the split whose data set the model was trained on; for a model from elsewhere, the first one.
        model: its folder.
        record: its model.json.
        data: source of another data set; None: the experiment's test images.
        out: folder of this evaluation.
    """

    home: experiment_dir.Run
    model: Folder
    record: ModelRecord
    data: str | None
    out: Folder

    @property
    def name(self) -> str:
        """The model's name in messages: arm and seed."""
        return f"{self.record.arm}, seed {self.record.seed}"


def build_target(run: experiment_dir.Run, model: Folder, data: str | None) -> EvaluationTarget:
    """Build the target of an evaluation: a model, the images, and the folder for the results, which is chosen here.

    The folder's name comes from the model's arm, seed and split, or for a model from elsewhere also from its hash; so a
    model has the same one wherever it lies.

    Args:
        run: the whole experiment.
        model: a finished model's folder, of the experiment or from elsewhere.
        data: source of another data set; None: the experiment's test images.
    """
    record = ModelRecord.read(model)
    arm = record.arm
    seed = record.seed
    number, home = _find_home(run, record)
    home_record = ModelRecord.find(home.locate_model(arm, seed))
    name = f"{arm}-split-{number}-seed-{seed}" if number else f"{arm}-seed-{seed}"
    if home_record is None or home_record.hash != record.hash:
        name += f"-{record.hash[:8]}"
    images = TEST_SPLIT
    if data is not None:
        source_name = data.rstrip("/").split("?")[0].rsplit("/", 1)[-1]
        images = f"{source_name}-{experiment_dir.compute_fingerprint(data)[:8]}"
    return EvaluationTarget(home, model, record, data, run.root / "evaluation" / name / images)


def _find_home(run: experiment_dir.Run, record: ModelRecord) -> tuple[int, experiment_dir.Run]:
    for number in range(1 + len((run.root / "splits").list_folders())):
        dataset = DatasetRecord.find(run.locate_split(number).dataset)
        if dataset and dataset.hash == record.inputs.get("dataset"):
            return number, run.locate_split(number)
    return 0, run


def hash_inputs(target: EvaluationTarget) -> dict[str, str]:
    """Return the hashes of what an evaluation on the experiment's test images is made from, by name.

    Args:
        target: a model of an experiment with a prepared data set.

    Returns:
        ``model``, ``dataset`` and, if synthetic images are stored, ``synthetic``, each with its hash.
    """
    hashes = {"model": target.record.hash, "dataset": DatasetRecord.read(target.home.dataset).hash}
    synthetic = experiment_dir.read_marker(target.home.choose_synthetic_folder(), "synthetic.json")
    if synthetic is not None:
        hashes["synthetic"] = synthetic["hash"]
    return hashes


def read_finished(target: EvaluationTarget) -> experiment_dir.Record | None:
    """Return the marker of a finished evaluation, or None if there is none or its inputs have changed.

    An evaluation on another data set is never taken as finished, as that data set may have changed.

    Args:
        target: the evaluation.

    Returns:
        The content of its evaluation.json, or None.
    """
    record = experiment_dir.read_marker(target.out, MARKER)
    if record is None or target.data is not None or record["inputs"] != hash_inputs(target):
        return None
    return record


def find_model(run: experiment_dir.Run, arm: str, repeat: Repeat) -> Folder:
    """Return the folder of an arm's model of one split and seed.

    Args:
        run: the whole experiment.
        arm: its name.
        repeat: has ``split`` and ``seed``, such as a row of ``repeats`` in verdict.json.
    """
    return run.locate_model(arm, repeat.seed, repeat.split)


def find_champion(run: experiment_dir.Run, verdict: VerdictRecord) -> Folder:
    """Return the folder of the model that verdict.json names as champion.

    Args:
        run: the whole experiment.
        verdict: the content of its verdict.json.
    """
    return find_model(run, verdict.champion.arm, verdict.champion)


def list_models(run: experiment_dir.Run, job: Job, model: str | None = None) -> list[Folder]:
    """List the folders of the models to evaluate.

    Args:
        run: the whole experiment.
        job: its job.
        model: path of the one model that was asked for; None: the champion, or before there is a verdict all trained
            models.

    Raises:
        UserError: there is no finished model at the path.
    """
    if model is not None:
        return [model_registry.resolve_model(model)]
    if verdict := VerdictRecord.find(run.root):
        return [find_champion(run, verdict)]
    folders = []
    for arm, seed in arms.list_pairs(job):
        folders += [run.locate_model(arm, seed, split) for split in range(job.compare.splits)]
    return [folder for folder in folders if ModelRecord.find(folder)]


def describe_outcome(record: experiment_dir.Record) -> str:
    """Summarise an evaluation in one line, with accuracy and its 95 % interval.

    Args:
        record: the content of evaluation.json.
    """
    low, high = record["intervals"]["accuracy"]
    where = "test images" if record["data"] == TEST_SPLIT else f"images of {record['data']}"
    parts = [
        f"{record['arm']}, seed {record['seed']} on {record['n']} {where}: "
        f"accuracy {100 * record['accuracy']:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f})"
    ]
    if record["excluded_train_rows"]:
        parts.append(f"{record['excluded_train_rows']} left out as trained on")
    if record["rejected"]:
        parts.append(f"{sum(record['rejected'].values())} rejected")
    return ", ".join(parts)
