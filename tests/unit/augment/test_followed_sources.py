"""What is advised where images or a generator from elsewhere are refused, followed in the same experiment or site."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save

from ganaug_ray.augment import generator_pack, shared_generator
from ganaug_ray.classify import networks
from ganaug_ray.config import GeneratorConfig
from ganaug_ray.config.loader import load_job
from ganaug_ray.core.checkpoint import pack_states
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store
from ganaug_ray.data.loading.image_store import LabelledImages
from ganaug_ray.errors import StageFailed, UserError
from ganaug_ray.pipeline.pipeline import Pipeline
from tests.conftest import DIGITS, TINY
from tests.helpers import records, sites
from tests.helpers.elsewhere import write_images


@pytest.fixture
def run(experiment: Run, tmp_path: Path) -> Run:
    """An experiment with data and a teacher, and nothing else yet."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "models").mkdir()
    for name in ("dataset", "models/teacher"):
        (tmp_path / "run" / name).symlink_to(f"{experiment.root}/{name}")
    (tmp_path / "run" / "job.yaml").write_bytes(experiment.root.read_bytes("job.yaml"))
    return Run(Folder.from_uri(tmp_path / "run"))


def make_images(run: Run, out: Path, *parts: tuple[str, int, int, float]) -> Path:
    """Write real images with noise, as another program might make them: split, first, last, grey levels of noise."""
    draw = np.random.default_rng(0)
    for split, first, last, spread in parts:
        rows = image_store.read_images(run.dataset / split).take(np.arange(first, last))
        noisy = (rows.images + draw.normal(0, spread, rows.images.shape)).clip(0, 255).astype(np.uint8)
        blank = [""] * len(rows)
        made = write_images(out / "made", LabelledImages(noisy, rows.labels, blank, blank, blank))
        for file in list(made.rglob("*.png")):
            place = out / file.parent.name / f"{split}-{file.name}"
            place.parent.mkdir(exist_ok=True)
            file.rename(place)
        shutil.rmtree(made)
    return out


def generate(run: Run, *settings: str) -> None:
    """Do what `ganaug generate` does with a job of these settings."""
    job = load_job(DIGITS, [*(setting for setting in TINY if "per_class=10" not in setting), *settings])
    run.claim_folder(job)
    Pipeline(job, run, Terminal()).generate_images()


STRICT = [  # agreement 0: so short a training knows no class, and would judge none
    "augment.screen.enabled=true",
    "augment.screen.confidence=0.99",
    "augment.screen.class_agreement=0",
]
LOWER = [f"augment.screen.{key}=0" for key in ("confidence", "class_agreement", "realism", "copy_distance")]
MADE = ["arms.m.kind=synthetic", "arms.m.source=made"]
OTHER = ["arms.o.kind=synthetic", "arms.o.source=made", "arms.o.screen.enabled=false"]
NOISE = "arms.n.kind=noise"
COPIES = ("train", 0, 60, 3)
OTHERS = ("test", 100, 160, 25)


@pytest.mark.parametrize("way", ["--set augment.allow_copies=true", "under another name in augment.images"])
def test_copies_of_training_images_give_way(way: str, run: Run, tmp_path: Path) -> None:
    """Images that copy training images are refused; others under another name are used, or those that copy none."""
    made = make_images(run, tmp_path / "some", COPIES, ("test", 100, 110, 25))
    with pytest.raises(StageFailed, match=way):
        generate(run, f"augment.images.made.source={made}")
    if way.startswith("--set"):
        generate(run, f"augment.images.made.source={made}", way.removeprefix("--set "))
    else:
        others = make_images(run, tmp_path / "others", OTHERS)
        generate(run, f"augment.images.others.source={others}")
    assert count_images(run) > 0


def test_nothing_but_copies_gives_way_to_others(run: Run, tmp_path: Path) -> None:
    """Where all images are copies, none is offered for use: others under another name are."""
    made = make_images(run, tmp_path / "all", ("train", 0, 60, 0))
    with pytest.raises(StageFailed, match=r"take others, under another name in augment\.images$"):
        generate(run, f"augment.images.made.source={made}")
    generate(run, f"augment.images.others.source={make_images(run, tmp_path / 'others', OTHERS)}")
    assert count_images(run) > 0


@pytest.mark.parametrize(
    ("arms", "advice", "followed"),
    [
        ([], "--set augment.screen.enabled=false accepts all images", ["augment.screen.enabled=false"]),
        ([], "lower limits in augment.screen accept more", LOWER),
        ([], "--set augment.ratio=0 trains without synthetic images", ["augment.ratio=0"]),
        ([NOISE], "leave made out of augment to compare the other arms", [NOISE]),
        ([*MADE, NOISE], "leave m out of arms, and made out of augment, to compare the others", [NOISE]),
        ([*MADE, *OTHER], "leave m out of arms to compare the others", OTHER),
        (MADE, "without arms, and with augment.ratio 0, no synthetic images are needed", ["augment.ratio=0"]),
    ],
)
def test_screened_images_are_accepted_or_left_out(
    arms: list[str], advice: str, followed: list[str], run: Run, tmp_path: Path
) -> None:
    """Where no image from elsewhere passes the screening, each way in the message goes on in the same folder."""
    source = f"augment.images.made.source={make_images(run, tmp_path / 'made', ('test', 100, 160, 900))}"
    with pytest.raises(StageFailed, match="none of the 60 images") as caught:
        generate(run, source, *STRICT, *arms)
    assert advice in str(caught.value)
    generate(run, *([] if "out of augment" in advice else [source]), *STRICT, *followed)
    uses_images = not any(words in advice for words in ("ratio", "out of augment"))
    assert bool(find_pools(run)) == uses_images


def find_pools(run: Run) -> list[str]:
    return [name for name in run.root.list_folders() if (run.root / name).has_file("synthetic.json")]


def count_images(run: Run) -> int:
    """Count the images of the only pool."""
    (pool,) = find_pools(run)
    return (run.root / pool).read_json("synthetic.json")["images"]


def test_gan_from_fresh_weights_is_shared(tmp_path: Path) -> None:
    """A GAN that started from another one is not shared; one of the same images from fresh weights is."""
    started = sites.make_site(tmp_path / "started", seed=1)
    sites.write_gan(started.gan, config={"init_from": "runs/first"})
    pack = Folder.from_uri(tmp_path / "pack")
    with pytest.raises(UserError, match="share a GAN that was trained from fresh weights"):
        generator_pack.write_pack(started, pack)
    generator_pack.write_pack(sites.make_site(tmp_path / "fresh", seed=1), pack)
    assert generator_pack.read_pack(str(pack)).record.classes == ["a", "b"]


@pytest.mark.parametrize("damage", ["seen.safetensors", "generator.safetensors", "classifier/model.safetensors"])
def test_each_file_of_a_pack_is_fetched_again(damage: str, tmp_path: Path) -> None:
    """A pack of which any file was changed is told so by name, and is read once it is copied again."""
    shared = share_with_classifier(tmp_path, "theirs", ["a", "b"])
    copy = Path(shutil.copytree(shared, tmp_path / "copy"))
    (copy / damage).write_bytes(b"cut off")

    def read() -> None:
        pack = generator_pack.read_pack(str(copy))
        generator_pack.read_classifier(str(copy), pack.record)

    with pytest.raises(UserError, match=rf"{damage} is not the file .*; fetch the pack again$"):
        read()
    shutil.copytree(shared, copy, dirs_exist_ok=True)
    read()


def share_with_classifier(tmp_path: Path, name: str, classes: list[str]) -> Path:
    """Share the generator of a site and its champion, which knows these classes."""
    run = sites.make_site(tmp_path / name, seed=2)
    version = (run.registry / "versions" / "1").create()
    network = networks.build_network("cnn", 1, len(classes), 0.0, networks.choose_input("cnn", 32, None, False))
    version.write_bytes("model.safetensors", save(pack_states({"network": network})))
    records.write_model(version, classes=classes, inputs={"dataset": f"{2:016x}"})
    run.registry.write_json("champion.json", {"version": 1})
    generator_pack.write_pack(run, Folder.from_uri(tmp_path / f"{name}-pack"), with_classifier=True)
    return tmp_path / f"{name}-pack"


def test_classifier_of_other_classes_is_left_out(tmp_path: Path) -> None:
    """A pack whose classifier knows other classes is used without the arm of it, as the message says."""
    pack = share_with_classifier(tmp_path, "theirs", ["a", "c"])
    ours = Run(Folder.from_uri(tmp_path / "ours"))
    ours.claim_folder(load_job(DIGITS, TINY))
    sites.write_data(ours, seed=1)
    config = GeneratorConfig(source=str(pack))
    with pytest.raises(UserError, match=r"knows other classes \(a, c\); leave out the arm of kind transfer$"):
        shared_generator.adopt_classifier(config, ours.dataset, Folder.from_uri(tmp_path / "out"))
    job = load_job(DIGITS, [*TINY, f"augment.generator={pack}"])
    assert not any(arm.traits.transfer for arm in job.compared_arms.values())
    assert shared_generator.check_generator(config, [ours.dataset])[1] == {0: 0, 1: 1}


def test_missing_pack_is_the_folder_that_share_wrote(tmp_path: Path) -> None:
    """The folder above a pack, or one of its files away, is no pack; the one that `ganaug share` wrote is."""
    generator_pack.write_pack(sites.make_site(tmp_path / "theirs", seed=2), Folder.from_uri(tmp_path / "packs" / "1"))
    with pytest.raises(UserError, match=r"not a pack that `ganaug share` wrote \(pack.json is missing\)"):
        generator_pack.read_pack(str(tmp_path / "packs"))
    assert generator_pack.read_pack(str(tmp_path / "packs" / "1"))
