"""The advice in a message on a shared generator, or on a GAN to start from, followed with the same GANs and data."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from ganaug_ray.augment import generator_pack, shared_generator, warm_start
from ganaug_ray.augment.synthetic_sources import locate_images
from ganaug_ray.config import GeneratorConfig
from ganaug_ray.config.loader import load_job
from ganaug_ray.config.yaml_text import parse_yaml
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import GanRecord, ImagesRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.ingest import synthetic_images
from ganaug_ray.pipeline import generation_stage
from ganaug_ray.pipeline.pipeline import Pipeline
from tests.conftest import DIGITS, TINY
from tests.helpers import records, sites
from tests.helpers.refusals import refuse

SMALL = ["gan.image_size=32", "gan.filters=8", "gan.latent=16"]
"""The size of the GANs of ``sites``."""


@pytest.fixture
def ours(tmp_path: Path) -> Run:
    """An experiment with data of its own, and nothing else."""
    run = Run(Folder.from_uri(tmp_path / "ours"))
    run.claim_folder(load_job(DIGITS, TINY))
    sites.write_data(run, seed=1)
    return run


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """The pack of another site."""
    generator_pack.write_pack(sites.make_site(tmp_path / "theirs", seed=2), Folder.from_uri(tmp_path / "pack"))
    return tmp_path / "pack"


def check(pack: Path, *runs: Run, **classes: str) -> dict[int, int]:
    """Check a pack against the data of experiments, as is done before any work; return whom it draws."""
    config = GeneratorConfig(source=str(pack), classes=classes)
    return shared_generator.check_generator(config, [run.dataset for run in runs])[1]


def follow_command(command: str, verb: str) -> Run:
    """Open the experiment that an advised command works in, as the command does before its work."""
    program, given_verb, job_file, option, out = shlex.split(command)
    assert (program, given_verb, option) == ("ganaug", verb, "--out")
    run = Run(Folder.from_uri(out))
    run.claim_folder(load_job(Path(job_file)))
    return run


def test_pack_is_written_once_gan_is_trained(ours: Run, tmp_path: Path) -> None:
    """The command that trains the GAN is of the same experiment, and an empty folder takes the pack."""
    full = Folder.from_uri(tmp_path / "full").create()
    full.write_bytes("notes.txt", b"mine")
    command = refuse(r"`(ganaug train-gan .*)` trains it", generator_pack.write_pack, ours, full)[1]
    sites.write_gan(follow_command(command, "train-gan").gan)
    refuse("is not empty; give a new folder", generator_pack.write_pack, ours, full)
    generator_pack.write_pack(ours, Folder.from_uri(tmp_path / "new"))
    assert generator_pack.read_pack(str(tmp_path / "new")).record.classes == ["a", "b"]


@pytest.mark.parametrize("advice", [r"`(ganaug promote .*)` does it", "share without --classifier"])
def test_classifier_is_shared_once_promoted(ours: Run, tmp_path: Path, advice: str) -> None:
    """A champion of the same images is shared, which the command in the message promotes; one of others stays."""
    sites.write_gan(ours.gan)
    version = ours.registry / "versions" / "1"

    def promote(dataset: str) -> None:
        records.write_model(version.create(), inputs={"dataset": dataset})
        version.write_bytes("model.safetensors", b"weights")
        ours.registry.write_json("champion.json", {"version": 1})

    def share(with_classifier: bool) -> bool:
        out = Folder.from_uri(tmp_path / "pack")
        return generator_pack.write_pack(ours, out, with_classifier=with_classifier).classifier

    if advice.startswith("share"):
        promote("f" * 16)
        refuse(advice, share, True)
        assert not share(False)
        return
    assert str(follow_command(refuse(advice, share, True)[1], "promote").root) == str(ours.root)
    promote(f"{1:016x}")
    assert share(True)


def test_damaged_pack_is_fetched_again(pack: Path, ours: Run, tmp_path: Path) -> None:
    """A pack of which a file was changed is taken once it is copied again."""
    copy = tmp_path / "copy"
    shutil.copytree(pack, copy)
    (copy / "generator.safetensors").write_bytes(b"cut off")
    refuse("fetch the pack again", check, copy, ours)
    shutil.copytree(pack, copy, dirs_exist_ok=True)
    assert check(copy, ours) == {0: 0, 1: 1}


def test_data_in_advised_colours_take_the_pack(pack: Path, tmp_path: Path) -> None:
    """Data in colour are no match for grey images until they are prepared with the channels of the message."""
    colour = Run(Folder.from_uri(tmp_path / "colour"))
    sites.write_data(colour, seed=1, channels=3)
    match = refuse(r"data\.channels (\d) makes them so, in another --out", check, pack, colour)
    channels = load_job(DIGITS, [*TINY, f"data.channels={match[1]}"]).data.channels
    other = Run(Folder.from_uri(tmp_path / "other"))
    sites.write_data(other, seed=1, channels=channels)
    assert check(pack, other) == {0: 0, 1: 1}


def test_advised_map_names_a_class(pack: Path, tmp_path: Path) -> None:
    """A pack with other names is taken once its classes are mapped as the message exemplifies."""
    run = Run(Folder.from_uri(tmp_path / "cats"))
    sites.write_data(run, seed=1, classes=("cat", "dog"))
    advised = parse_yaml(refuse(r"map them: (classes: \{.*\})", check, pack, run)[1], "the advice")
    assert check(pack, run, **advised["classes"]) == {0: 0}
    known = refuse(r"is not there; there are (\w+), (\w+)", check, pack, run, c="cat")
    ours = refuse(r"classes of the data set are (\w+), (\w+)", check, pack, run, a="cow")
    mapped = dict(zip(known.groups(), ours.groups(), strict=True))
    assert check(pack, run, **mapped) == {0: 0, 1: 1}


@pytest.mark.parametrize("way", ["Take another generator", "take these images out of data.source in another --out"])
def test_seen_images_or_their_generator_are_replaced(pack: Path, ours: Run, tmp_path: Path, way: str) -> None:
    """A generator that has seen what is tested on is taken for data without these images; here another one is."""
    seen = Run(Folder.from_uri(tmp_path / "seen"))
    sites.write_data(seen, seed=2)
    shutil.copytree(f"{seen.dataset}/train", f"{seen.dataset}/test", dirs_exist_ok=True)
    refuse(way, check, pack, seen)
    if way.startswith("take these"):
        assert check(pack, ours)
        return
    generator_pack.write_pack(sites.make_site(tmp_path / "third", seed=3), Folder.from_uri(tmp_path / "other"))
    assert check(tmp_path / "other", seen)


def test_pack_without_classifier_has_no_transfer(pack: Path, ours: Run, tmp_path: Path) -> None:
    """Where a pack has no classifier, the arm of it is left out, and the generator is of use."""
    config = GeneratorConfig(source=str(pack))
    out = Folder.from_uri(tmp_path / "out")
    refuse("leave out the arm of kind transfer", shared_generator.adopt_classifier, config, ours.dataset, out)
    settings = [*TINY, f"augment.generator={pack}"]
    with_arm = load_job(DIGITS, [*settings, "arms.t.kind=transfer"])
    without = load_job(DIGITS, settings)
    assert [any(arm.traits.transfer for arm in job.compared_arms.values()) for job in (with_arm, without)] == [1, 0]
    assert check(pack, ours)


@pytest.mark.parametrize("way", ["map it", "rename the folder"])
def test_unknown_class_is_mapped_or_renamed(way: str) -> None:
    """A folder of images that is called as no class is taken once it is mapped, or called as the class."""

    def number(name: str, **names: str) -> list[int]:
        return synthetic_images._number_classes("augment.images made", [name, "dog"], names, ["cat", "dog"]).tolist()

    match = refuse(rf"{way}.*(classes: \{{cats: (\w+)\}})", number, "cats")
    if way == "map it":
        assert number("cats", **parse_yaml(match[1], "the advice")["classes"]) == [0, 1]
    else:
        assert number(match[2]) == [0, 1]


@pytest.mark.parametrize("way", ["another name in augment.images", "another --out"])
def test_other_images_have_another_folder(ours: Run, tmp_path: Path, way: str) -> None:
    """Where a folder has the images of another source, another name takes these, and so does another experiment."""

    def import_images(run: Run, name: str, source: str) -> None:
        job = load_job(DIGITS, [*TINY, f"augment.images.{name}.source={source}"])
        images = job.augment.images[name]
        folder = locate_images(run, name)
        if record := ImagesRecord.find(folder):
            generation_stage._refuse_other_settings(folder, record, images)
        records.write_images(folder.create(), source=images.source)

    import_images(ours, "made", "/first")
    refuse(way, import_images, ours, "made", "/second")
    if way == "another --out":
        import_images(Run(Folder.from_uri(tmp_path / "other")), "made", "/second")
    else:
        import_images(ours, "more", "/second")
    assert len(list(tmp_path.rglob("images.json"))) == 2


def start(run: Run, address: object, out: Path, *settings: str) -> list[str]:
    """Start a GAN from another one; return the tensors that it takes."""
    job = load_job(DIGITS, [*TINY, *SMALL, f"gan.init_from={address}", *settings])
    return warm_start.prepare_start(job, run.dataset, Folder.from_uri(out))["taken"]


def test_advised_size_takes_other_weights(pack: Path, tmp_path: Path) -> None:
    """Where nothing of a GAN fits, the settings in the message make it fit."""
    run = Run(Folder.from_uri(tmp_path / "cats"))
    sites.write_data(run, seed=1, classes=("cat", "dog"))
    match = refuse(
        r"take its (gan\.image_size=\d+), (gan\.filters=\d+) and (gan\.latent=\d+)$",
        start, run, pack, tmp_path / "out", "gan.image_size=16", "gan.filters=5", "gan.latent=32",
    )  # fmt: skip
    assert "generator.first.weight" in start(run, pack, tmp_path / "out", *match.groups())


@pytest.mark.parametrize("way", ["name its experiment", "or a pack"])
def test_gan_is_named_with_its_images(pack: Path, ours: Run, tmp_path: Path, way: str) -> None:
    """A GAN that lies alone is no start; its experiment is, and so is its pack."""
    shutil.copytree(tmp_path / "theirs" / "gan", tmp_path / "alone" / "gan")
    refuse(way, start, ours, tmp_path / "alone" / "gan", tmp_path / "out")
    assert start(ours, pack if way == "or a pack" else tmp_path / "theirs", tmp_path / "out")


def test_adopted_generator_names_its_pack(pack: Path, ours: Run, tmp_path: Path) -> None:
    """A shared generator that was adopted elsewhere is no start; the pack that the message names is."""
    sites.write_gan(Folder.from_uri(tmp_path / "elsewhere" / "generator"), source=str(pack))
    match = refuse(r"name its pack, (\S+)$", start, ours, tmp_path / "elsewhere" / "generator", tmp_path / "out")
    assert start(ours, match[1], tmp_path / "out")


@pytest.mark.parametrize("changed", ["source", "classes"])
def test_other_pack_is_adopted_in_another_folder(
    pack: Path, ours: Run, tmp_path: Path, changed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a generator was adopted, another one, or the same with other classes, goes to another experiment."""

    def adopt(config: GeneratorConfig, dataset: Folder, teacher: Folder, out: Folder, seed: int) -> GanRecord:
        return records.write_gan(out.create(), source=config.source, class_names=config.classes)

    def adopt_in(run: Run, config: dict[str, Any]) -> None:
        job = load_job(DIGITS, [*TINY, f"augment.generator={json.dumps(config)}"])
        context = Pipeline(job, run, Terminal()).context
        for split in context.splits:
            generation_stage._adopt_generator(context, split)

    monkeypatch.setattr(shared_generator, "adopt_generator", adopt)
    first = {"source": str(pack), "classes": {"a": "cat"}}
    other = first | ({"source": f"{pack}-2"} if changed == "source" else {"classes": {"a": "dog"}})
    adopt_in(ours, first)
    refuse("give another --out", adopt_in, ours, other)
    adopt_in(Run(Folder.from_uri(tmp_path / "another")), other)
    assert (tmp_path / "another" / "generator" / "gan.json").exists()


def test_damaged_start_is_fetched_again(pack: Path, ours: Run, tmp_path: Path) -> None:
    """A pack to start from of which a file was changed is told under its own setting, and taken once copied again."""
    copy = Path(shutil.copytree(pack, tmp_path / "copy"))
    (copy / "seen.safetensors").write_bytes(b"cut off")
    refuse(r"^gan\.init_from .*; fetch the pack again$", start, ours, copy, tmp_path / "out")
    shutil.copytree(pack, copy, dirs_exist_ok=True)
    assert start(ours, copy, tmp_path / "out")
