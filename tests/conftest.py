"""What several tests share: small jobs and small trained things, made once."""

from __future__ import annotations

import functools
import itertools
import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from ganaug_ray.config import Job
from ganaug_ray.config.loader import load_job
from ganaug_ray.core import rng
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading.resident_loader import open_real_feed

ROOT = Path(__file__).parent.parent
JOBS = ROOT / "ganaug_ray" / "examples" / "jobs"
SPACES = ROOT / "ganaug_ray" / "examples" / "spaces"
DIGITS = JOBS / "digits_alone.yaml"
PATIENCE = 900  # seconds: what takes longer hangs; a busy machine is slow, and Ray on it slower
WITHOUT_RAY = ("test_bad_input", "test_report_page", "test_serve_page")  # of tests/e2e

# Small enough for a unit test, and the same code as the real thing.
TINY = [
    "arms={}",  # the synthetic one alone
    "data.train_per_class=8",
    "data.val_per_class=5",
    "gan.steps=6",
    "gan.workers=1",
    "gan.batch_size=16",
    "gan.filters=8",
    "gan.latent=16",
    "gan.log_every=2",
    "gan.checkpoint_every=2",
    "gan.snapshot_every=4",
    "gan.cas_steps=4",
    "classifier.steps=8",
    "classifier.batch_size=16",
    "classifier.log_every=4",
    "classifier.evaluate_every=4",
    "compare.seeds=2",
    "augment.per_class=10",
    "augment.screen.enabled=false",  # so short a training draws nothing that a teacher would know
    "augment.use_anyway=true",
]


def parse_settings(overrides: list[str]) -> dict[str, Any]:
    """Return overrides of the command line as the settings that Python is given."""
    return {key: yaml.safe_load(value) for key, value in (override.split("=", 1) for override in overrides)}


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """The whole suite runs in two processes; what is asked for by name in this one, which is there already."""
    return 2 if config.args_source is config.ArgsSource.TESTPATHS else 0


class ByFile(LoadScopeScheduling):
    """One process has what starts Ray in tests/ray, the other that in tests/e2e: two clusters; then the rest by file.

    Clusters wait for processes to come up more than they compute, but three of them are too much for two cores.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = Path(nodeid.partition("::")[0])
        if file.stem in WITHOUT_RAY:
            return str(file)
        return next((room for room in ("ray", "e2e") if room in file.parts), str(file))

    def remove_node(self, node: WorkerController) -> str | None:
        """Return the test in which a process has died, if it has.

        Its other tests are not run: the suite ends after it (--max-worker-restart=0). xdist would have another process
        run the same test again, and wait for ever for one that got nothing but finished ones.
        """
        tests = itertools.chain.from_iterable(unit.items() for unit in self.assigned_work.pop(node).values())
        return next((test for test, is_done in tests if not is_done), None)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    return ByFile(config, log)


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """A shell that runs the suite in the background has it ignore Ctrl-C, and all that it starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _no_kept_times() -> Iterator[None]:
    """No test plans with the times that another one or a user measured: in this file no folder can be made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GANAUG_CACHE", "/dev/null/times")
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Results must not depend on how many cores the machine has."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_job() -> Job:
    return load_job(DIGITS, TINY)


@pytest.fixture(scope="session")
def digits(tiny_job: Job, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A prepared data set: 80 train, 50 val, 898 test rows of 32 × 32 grey digits."""
    from ganaug_ray.data.prepare import prepare_dataset

    out = Folder.from_uri(tmp_path_factory.mktemp("digits") / "dataset")
    prepare_dataset(tiny_job.data, out)
    return out


@pytest.fixture(scope="session")
def _small_embeddings() -> Iterator[None]:
    """An evaluation embeds fewer images, also one that is repeated by a test."""
    from ganaug_ray.evaluate import insights

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(insights, "MAX_EMBEDDED", {"real": 60, "synthetic": 30})
        yield


@pytest.fixture(scope="session")
def experiment(tiny_job: Job, digits: Folder, _small_embeddings: None, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished experiment, its stages called in this process without Ray."""
    run = Run(Folder.from_uri(tmp_path_factory.mktemp("runs") / "tiny"))
    run.claim_folder(tiny_job)
    Path(str(run.dataset)).symlink_to(str(digits))
    finish(tiny_job, run)
    return run


def finish(job: Job, run: Run) -> None:
    """Do all stages after the first one, in this process."""
    from ganaug_ray.augment import generated_blocks, mixed_batches, strategies, synthetic_pools
    from ganaug_ray.augment.arms import REAL, SYNTHETIC, TEACHER
    from ganaug_ray.classify import train_worker as classify
    from ganaug_ray.core import experiment_dir
    from ganaug_ray.core.console import Terminal
    from ganaug_ray.data.loading import image_store
    from ganaug_ray.gan import train_worker as gan
    from ganaug_ray.gan.sampler import Generator
    from ganaug_ray.pipeline.pipeline import Pipeline

    dataset = str(run.dataset)

    def fit(arm: str, seed: int, batches: Callable) -> None:
        out = str(run.locate_model(arm, seed).create())
        inputs = {"dataset": run.dataset.read_json("dataset.json")["hash"]}
        classify.train_and_finish(
            classify.ClassifierTraining(arm, seed, job.classifier, dataset, out, batches, inputs), Place()
        )

    for seed in range(2):
        fit(REAL, seed, functools.partial(open_real_feed, dataset, 16, 1.0, seed))
    fit(TEACHER, 0, functools.partial(open_real_feed, dataset, 16, 1.0, 2))
    gan.train_and_finish(synthetic_pools.build_training(job, run, synthetic_pools.locate_gan(run)), Place())
    generator = Generator.load(run.gan)
    run.synthetic.create()
    for label in range(10):
        rows = generated_blocks.generate_block(generator, label, 0, 10, seed=0)
        image_store.write_shard(run.synthetic, label, rows, "synthetic")
    spec = {
        "hash": "made-in-process",
        "inputs": {"gan": generator.spec.hash},
        "counts": dict.fromkeys(generator.classes, 10),
        "screened": {},
        "not_drawn": [],
        "images": 100,
    }
    experiment_dir.write_marker(run.synthetic, "synthetic.json", "generate", 0.0, spec)
    for seed in range(2):
        real = functools.partial(open_real_feed, dataset, 16, 1.0, seed)
        upto = functools.partial(strategies.count_synthetic_rows, batch_size=16, ratio=0.5)
        fake = functools.partial(mixed_batches.open_pool_feed, str(run.synthetic), upto, 1.0, seed)
        fit(SYNTHETIC, seed, functools.partial(mixed_batches.open_mixed_feed, real, fake))
    pipeline = Pipeline(job, run, Terminal())
    pipeline.compare_arms()
    pipeline.build_report()
    pipeline.promote_champion()


@pytest.fixture
def generator_of() -> Callable[..., torch.Generator]:
    return rng.make_generator


def environment(**extra: str) -> dict[str, str]:
    """The environment for a child process: no cluster of the caller's, fixed threads, no patience with other work."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "GANAUG_"))}
    return {**kept, "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0", **extra}


@pytest.fixture
def package_logger() -> Iterator[logging.Logger]:
    """The package's logger as in a fresh process; it is left as it was."""
    logger = logging.getLogger("ganaug_ray")
    handlers, level, propagate = logger.handlers[:], logger.level, logger.propagate
    logger.handlers.clear()
    logger.propagate = True
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)
    logger.propagate = propagate
