"""The plan of the splits: whether images stay in the folders train, val and test, where the job leaves that open."""

import yaml

from ganaug_ray.config import Job
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import DatasetRecord
from ganaug_ray.data.ingest import given_splits
from ganaug_ray.data.sources.listing import SourceListing


def plan_given(job: Job, run: Run | None = None, listing: SourceListing | None = None) -> Job:
    """Return the job with ``data.split.given`` decided: its own, what the experiment has, or what the source says.

    Args:
        job: as it was loaded.
        run: the folder of the experiment, if there is one.
        listing: of the job's sources, where it is kept for what follows.

    Raises:
        UserError: there is no such source.
    """
    split = job.data.split
    if split.given is None and job.compare.splits > 1:  # several splits are asked for: the folders are one
        data = job.data.model_copy(update={"split": split.model_copy(update={"given": False})})
    elif split.given is None and run is not None and run.dataset.has_file(DatasetRecord.FILE):
        stored = yaml.safe_load(run.root.read_bytes("job.yaml"))["data"]["split"]
        data = job.data.model_copy(update={"split": split.model_copy(update={"given": bool(stored.get("given"))})})
    else:
        data = given_splits.resolve_given(job.data, listing)
    return job.model_copy(update={"data": data})
