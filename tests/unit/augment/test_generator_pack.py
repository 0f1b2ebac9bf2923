"""A generator is shared as a pack, adopted at another site, and refused where it has seen what models are judged by."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ganaug_ray.augment import arm_batches, generator_pack, shared_generator, synthetic_pools
from ganaug_ray.augment.arms import locate_teacher
from ganaug_ray.augment.generate import generate_locally
from ganaug_ray.classify.predict import Classifier
from ganaug_ray.cli import models
from ganaug_ray.config import GeneratorConfig, Job
from ganaug_ray.config.loader import load_job
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import GanRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.prepare import prepare_dataset
from ganaug_ray.errors import UserError
from ganaug_ray.gan.sampler import Generator
from ganaug_ray.pipeline.pipeline import Pipeline
from tests.conftest import DIGITS, TINY
from tests.helpers.elsewhere import write_unseen_digits

# The team's names, in the order of the digits: as names are sorted, the numbers of the classes are others.
NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
MATCHED = {str(number): name for number, name in enumerate(NAMES)}


@pytest.fixture(scope="module")
def pack(experiment: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pack of the finished experiment, with its classifier."""
    out = tmp_path_factory.mktemp("shared") / "pack"
    generator_pack.write_pack(experiment, Folder.from_uri(out), "Digits of the partner", with_classifier=True)
    return out


@pytest.fixture(scope="module")
def team(experiment: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, Run]:
    """A data set of digits that the partner has not seen, under other names; the teacher is the partner's."""
    root = tmp_path_factory.mktemp("team")
    source = write_unseen_digits(root / "images", experiment, NAMES)
    job = load_job(DIGITS, [*TINY, f"data.source={source}"])
    run = Run(Folder.from_uri(root / "run"))
    prepare_dataset(job.data, run.dataset)
    (root / "run" / "models").mkdir()
    (root / "run" / "models" / "teacher").symlink_to(f"{experiment.models}/teacher")
    return job, run


def adopt(pack: Path, team: tuple[Job, Run], out: Path, classes: dict[str, str]) -> GanRecord:
    config = GeneratorConfig(source=str(pack), classes=classes)
    _, run = team
    return shared_generator.adopt_generator(config, run.dataset, locate_teacher(run), Folder.from_uri(out), seed=0)


def test_pack_holds_no_trace_of_images(pack: Path, experiment: Run) -> None:
    """A pack has the generator and its card, and neither ids, names of files nor folders of its site."""
    files = sorted(str(path.relative_to(pack)) for path in pack.rglob("*") if path.is_file())
    assert files == [
        "card.md",
        "classifier/model.json",
        "classifier/model.safetensors",
        "generator.safetensors",
        "pack.json",
        "seen.safetensors",
    ]
    content = b"".join((pack / name).read_bytes() for name in files)
    table = experiment.dataset.read_table("split.parquet", ["id", "path"]).to_pylist()
    for row in table[:50]:
        assert row["id"].encode() not in content
        assert bytes.fromhex(row["id"]) not in content
        assert row["path"].encode() not in content
    assert str(experiment.root).encode() not in content
    card = (pack / "card.md").read_text()
    for words in ("Digits of the partner", "Copying test: **", "Anyone who has an image", "130"):
        assert words in card


def test_adopted_generator_draws_the_same(pack: Path, team: tuple[Job, Run], experiment: Run, tmp_path: Path) -> None:
    """A class under its name here is drawn from a latent exactly as the partner's generator draws it."""
    record = adopt(pack, team, tmp_path / "generator", MATCHED)
    assert record.classes == sorted(NAMES)
    assert record.inputs["pack"] == GanRecord.read(experiment.gan).hash
    theirs = Generator.load(experiment.gan)
    ours = Generator.load(Folder.from_uri(tmp_path / "generator"))
    z_BZ = torch.randn(4, ours.spec.latent)
    for number, name in enumerate(NAMES):
        labels = [torch.full((4,), label) for label in (number, ours.classes.index(name))]
        with torch.no_grad():
            assert torch.equal(theirs.network(z_BZ, labels[0]), ours.network(z_BZ, labels[1]))


def test_unknown_class_is_not_drawn(pack: Path, team: tuple[Job, Run], tmp_path: Path) -> None:
    """A class that the generator does not know gets no image, and the pool says so."""
    some = {number: name for number, name in MATCHED.items() if name != "nine"}
    record = adopt(pack, team, tmp_path / "generator", some)
    assert record.undrawn == ["nine"]
    counts = dict.fromkeys(record.classes, 5)
    pool = generate_locally(
        counts, 0, Folder.from_uri(tmp_path / "generator"), Folder.from_uri(tmp_path / "pool"), None
    )
    assert (pool["not_drawn"], pool["counts"]["nine"], pool["images"]) == (["nine"], 0, 45)
    with pytest.raises(UserError, match="draws none of the classes of the data set, but 0, 1"):
        adopt(pack, team, tmp_path / "other", {})


def test_seen_test_images_refuse_the_generator(pack: Path, experiment: Run, tmp_path: Path) -> None:
    """A generator that has seen validation images here is refused, and the images are named."""
    config = GeneratorConfig(source=str(pack))
    with pytest.raises(UserError, match=r"has seen 50 of the validation and test images.*digits/\d+ \(val, same\)"):
        shared_generator.adopt_generator(
            config, experiment.dataset, locate_teacher(experiment), Folder.from_uri(tmp_path), seed=0
        )
    assert not list(tmp_path.iterdir())


def test_seen_images_of_any_split_refuse_the_generator(
    pack: Path, team: tuple[Job, Run], experiment: Run, tmp_path: Path
) -> None:
    """All splits are looked at before anything is trained: an image that is tested in the last one is named too."""
    job = load_job(DIGITS, [*TINY, f"augment.generator={pack}", "compare.splits=2"])
    job.augment.generator.classes.update(MATCHED)
    (tmp_path / "dataset").symlink_to(str(team[1].dataset))
    (tmp_path / "splits" / "1").mkdir(parents=True)
    (tmp_path / "splits" / "1" / "dataset").symlink_to(str(experiment.dataset))
    with pytest.raises(UserError, match="has seen 50 of the validation and test images"):
        Pipeline(job, Run(Folder.from_uri(tmp_path)), Terminal()).import_sources()


def test_other_colours_are_refused(pack: Path, team: tuple[Job, Run], tmp_path: Path) -> None:
    """A generator of grey images is no help for a data set in colour."""
    _, run = team
    dataset = tmp_path / "dataset"
    dataset.mkdir()
    facts = run.dataset.read_json("dataset.json")
    (dataset / "dataset.json").write_text(json.dumps(facts | {"channels": 3}))
    with pytest.raises(UserError, match="draws images in grey, and those of the data set are in colour"):
        shared_generator.adopt_generator(
            GeneratorConfig(source=str(pack)),
            Folder.from_uri(dataset),
            locate_teacher(run),
            Folder.from_uri(tmp_path),
            0,
        )


def test_shared_classifier_is_a_rival(pack: Path, team: tuple[Job, Run], experiment: Run) -> None:
    """An arm of kind transfer trains on the baseline's rows, from the partner's weights with the classes of here."""
    job, run = team
    augment = job.augment.model_copy(update={"generator": GeneratorConfig(source=str(pack), classes=MATCHED)})
    job = load_job(DIGITS, [*TINY]).model_copy(update={"data": job.data, "augment": augment})
    job = Job.model_validate(job.model_dump(exclude_none=True) | {"arms": {"transfer": {}}})
    start = arm_batches.prepare_transfer(job, run, "transfer")
    champion = experiment.registry / "versions" / "1"
    theirs = load_file(f"{champion}/model.safetensors")
    ours = load_file(f"{run.models}/transfer/start.safetensors")
    order = [NAMES.index(name) for name in sorted(NAMES)]
    (head,) = [name for name in ours if name.startswith("head.") and name.endswith("weight")]
    assert torch.equal(ours[head], theirs[f"network.{head}"][order])
    fit = arm_batches.build_training(job, run, "transfer", 0)
    assert (fit.start, fit.inputs["weights"]) == (f"{run.models}/transfer", start["hash"])
    baseline = arm_batches.build_training(job, run, "real+classic", 0)
    assert baseline.start is None
    assert torch.equal(fit.batches(Place())(1).x_BCHW, baseline.batches(Place())(1).x_BCHW)
    assert [pool.source.name for pool in synthetic_pools.list_pools(job, run)] == ["generator"]


def test_shared_classifier_judges_its_generators_images(pack: Path, team: tuple[Job, Run], tmp_path: Path) -> None:
    """Images of a generator are screened by the classifier that came with it, if that knows every class here."""
    (tmp_path / "dataset").symlink_to(str(team[1].dataset))
    run = Run(Folder.from_uri(tmp_path))
    config = {"source": str(pack), "classes": MATCHED}
    job = load_job(DIGITS, [*TINY, f"augment.generator={json.dumps(config)}", "augment.screen.enabled=true"])
    pool = synthetic_pools.plan_pool(job, run, job.compared_arms["real+classic+generator"])
    without_nine = {number: name for number, name in MATCHED.items() if name != "nine"}
    adopt(pack, team, tmp_path / "generator", without_nine)
    screening = synthetic_pools.build_screening(run, pool)
    assert screening is not None
    assert screening.teacher == str(locate_teacher(run))
    adopt(pack, team, tmp_path / "generator", MATCHED)
    screening = synthetic_pools.build_screening(run, pool)
    assert screening is not None
    assert screening.teacher == str(run.root / "generator" / "classifier")
    assert Classifier.load(Folder.from_uri(screening.teacher), "cpu").classes == sorted(NAMES)


def change_json(key: str, value: Any) -> Callable[[Path], None]:
    def change(pack: Path) -> None:
        record = json.loads((pack / "pack.json").read_text())
        (pack / "pack.json").write_text(json.dumps(record | {key: value}))

    return change


def change_weights(change: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[Path], None]:
    """Change the weights, and the hash with them, as someone would who means harm."""

    def apply(pack: Path) -> None:
        path = pack / "generator.safetensors"
        weights = load_file(path)
        change(weights)
        save_file(weights, path)
        record = json.loads((pack / "pack.json").read_text())
        record["files"]["generator.safetensors"] = sha256(path.read_bytes()).hexdigest()
        (pack / "pack.json").write_text(json.dumps(record))

    return apply


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda pack: (pack / "pack.json").unlink(), r"not a pack that `ganaug share` wrote"),
        (lambda pack: (pack / "pack.json").write_text("{"), "is not JSON"),
        (lambda pack: (pack / "pack.json").write_bytes(b" " * 5_000_000), "bytes; at most 4194304 are read"),
        (lambda pack: (pack / "generator.safetensors").write_bytes(b"x"), "is not the file that pack.json was written"),
        (lambda pack: (pack / "seen.safetensors").unlink(), r"seen\.safetensors is missing"),
        (change_json("latent", 10**9), "cannot build a generator with latent 1000000000"),
        (change_json("size", 31), "generator with size 31"),
        (change_json("conditional", False), "generator with conditional False"),
        (change_json("seen", {"images": 1, "salt": "00" * 16}), "does not hold 1 images"),
        (change_json("version", 99), "is version 99"),
        (change_json("filters", 16), r"the weights do not fit: first\.weight is float32"),
        (change_weights(lambda weights: weights["generator.last.bias"].fill_(float("nan"))), "last.bias is not finite"),
        (change_weights(lambda weights: weights.update(extra=torch.zeros(1))), "extra is float32"),
    ],
)
def test_damaged_pack_is_refused(pack: Path, tmp_path: Path, damage: Callable[[Path], Any], words: str) -> None:
    """What is missing, too large, changed or no generator of ours is refused, with the reason."""
    copy = tmp_path / "pack"
    shutil.copytree(pack, copy)
    damage(copy)
    with pytest.raises(UserError, match=words):
        generator_pack.read_pack(str(copy))


@pytest.mark.parametrize(
    ("file", "section", "change", "words"),
    [
        ("gan/gan.json", "config", {"init_from": "runs/first"}, "its GAN started from runs/first"),
        ("registry/versions/1/model.json", "inputs", {"dataset": "f00d"}, "was trained on other images"),
        ("registry/versions/1/model.json", "inputs", {"pseudo": "f00d"}, "was trained on other images"),
    ],
)
def test_unnamed_images_keep_a_pack_back(
    experiment: Run, tmp_path: Path, file: str, section: str, change: dict[str, str], words: str
) -> None:
    """What was trained on images that the pack does not name is not shared."""
    copy = tmp_path / "run"
    shutil.copytree(str(experiment.root), copy)
    record = json.loads((copy / file).read_text())
    record[section] |= change
    (copy / file).write_text(json.dumps(record))
    with pytest.raises(UserError, match=words):
        generator_pack.write_pack(Run(Folder.from_uri(copy)), Folder.from_uri(tmp_path / "pack"), with_classifier=True)


def test_share_says_what_it_wrote(experiment: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command names the pack and the card, and writes into no folder that holds something."""
    models.share(str(experiment.root), str(tmp_path / "pack"))
    assert "a generator of 10 classes, and hashes of the 130 images" in " ".join(capsys.readouterr().out.split())
    sentence = experiment.root.read_json("verdict.json")["sentence"]  # the verdict of its site
    assert sentence in (tmp_path / "pack" / "card.md").read_text()
    with pytest.raises(UserError, match="is not empty; give a new folder"):
        models.share(str(experiment.root), str(tmp_path / "pack"))


def test_copying_generator_is_not_shared(experiment: Run, tmp_path: Path) -> None:
    """A GAN that copies would give its training images away."""
    run = Run(Folder.from_uri(tmp_path / "run"))
    shutil.copytree(str(experiment.gan), tmp_path / "run" / "gan", ignore=shutil.ignore_patterns("checkpoints"))
    record = run.gan.read_json("gan.json")
    run.gan.write_json("gan.json", record | {"memorization": {"verdict": "copies", "reason": "60% are near copies"}})
    with pytest.raises(UserError, match="copies training images, and a pack would reveal them: 60%"):
        generator_pack.write_pack(run, Folder.from_uri(tmp_path / "pack"))
    assert not (tmp_path / "pack").exists()
