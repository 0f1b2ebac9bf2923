"""Images of a finished generator as files, as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganaug_ray import cli
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError
from ganaug_ray.gan import png_export
from ganaug_ray.gan.sampler import Generator
from tests.conftest import DIGITS, environment


@pytest.fixture
def ganaug(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Type a command; get its exit code, and what it printed and complained of."""

    def typed(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ganaug", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        printed = capsys.readouterr()
        return caught.value.code or 0, printed.out, printed.err

    return typed


def test_export_writes_folder_per_class(experiment: Run, tmp_path: Path, ganaug) -> None:
    """Images of the requested classes are written to one folder for each class."""
    code, said, _ = ganaug("generate", experiment.root, "--count", "3=5", "--count", "7=2", "--png", tmp_path / "out")
    assert code == 0
    assert "unscreened" in said
    found = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert found == [*(f"3/3-0-{i:05d}.png" for i in range(5)), "7/7-0-00000.png", "7/7-0-00001.png"]
    expected = Generator.load(experiment.gan).generate("3", 5)
    pixels = [np.asarray(Image.open(tmp_path / "out" / name)) for name in found[:5]]
    assert (np.stack(pixels) == expected[..., 0]).all()


def test_same_command_exports_same_bytes(experiment: Run, tmp_path: Path, ganaug) -> None:
    """The same command exports the same bytes, and another seed exports other images."""
    for out, more in (("one", ()), ("two", ()), ("other", ("--seed", 1))):
        assert ganaug("generate", experiment.gan, "--count", "3=2", "--png", tmp_path / out, *more)[0] == 0
    one, two = ((tmp_path / out / "3" / "3-0-00001.png").read_bytes() for out in ("one", "two"))
    assert one == two
    assert one != (tmp_path / "other" / "3" / "3-1-00001.png").read_bytes()


def test_export_overwrites_no_file(experiment: Run, tmp_path: Path, ganaug) -> None:
    """An export overwrites no file and then writes nothing; images of another seed are added next to the old."""
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "3-0-00001.png").write_bytes(b"mine")
    code, _, said = ganaug("generate", experiment.gan, "--count", "2=1", "--count", "3=2", "--png", tmp_path)
    assert code == 2
    assert "3-0-00001.png already exists" in said
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["3-0-00001.png"], "nor any written"
    assert ganaug("generate", experiment.gan, "--count", "3=2", "--png", tmp_path, "--seed", 1)[0] == 0
    assert (tmp_path / "3" / "3-0-00001.png").read_bytes() == b"mine"
    assert len(list((tmp_path / "3").iterdir())) == 3


def test_export_starts_no_ray(experiment: Run, tmp_path: Path) -> None:
    """Images are exported without importing or starting Ray."""
    code = """
import sys
from ganaug_ray import cli
try:
    cli.main()
finally:
    assert "ray" not in sys.modules
"""
    command = [sys.executable, "-c", code, "generate", str(experiment.gan), "--count=3=1", f"--png={tmp_path / 'out'}"]
    subprocess.run(command, check=True, env=environment())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--png", "OUT"], ["--count", "0=100", "0, 1, 2"]),
        (["--count", "3=1"], ["--png", "folder"]),
        (["--count", "cat=1", "--png", "OUT"], ["no class 'cat'", "draws 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"]),
        (["--count", "3", "--png", "OUT"], ["--count 3", "CLASS=N"]),
        (["--count", "3=0", "--png", "OUT"], ["--count 3=0", "from 1"]),
        (["--count", "3=x", "--png", "OUT"], ["--count 3=x", "whole number"]),
        (["--count", "3=1", "--count", "3=2", "--png", "OUT"], ["3 is given twice"]),
        (["--count", "3=60000", "--count", "4=60000", "--png", "OUT"], ["120000", "100000"]),
        (["--count", "3=1", "--png", "OUT", "--set", "seed=1"], ["--set", "job file"]),
        (["--count", "3=1", "--png", "OUT", "--out", "elsewhere"], ["--out", "job file"]),
        (["--count", "3=1", "--png", "OUT", "--dry-run"], ["--dry-run", "job file"]),
    ],
)
def test_mistaken_options_write_nothing(
    experiment: Run, tmp_path: Path, ganaug, options: list[str], words: list[str]
) -> None:
    """A mistake in the options ends with exit code 2, names the option and writes nothing."""
    options = [str(tmp_path / "out") if option == "OUT" else option for option in options]
    code, _, said = ganaug("generate", experiment.gan, *options)
    assert code == 2
    assert all(word in said for word in words), said
    assert len(said.splitlines()) <= 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", [["--count", "3=1"], ["--png", "out"], ["--seed", "0"]])
def test_job_file_refuses_folder_options(tmp_path: Path, ganaug, option: list[str]) -> None:
    """Options that belong to a generator folder are refused with a job file."""
    code, _, said = ganaug("generate", DIGITS, *option, "--out", tmp_path / "out")
    assert code == 2
    assert said.startswith(option[0])
    assert "digits_alone.yaml" in said
    assert not list(tmp_path.iterdir())


def test_unusable_folders_are_refused(experiment: Run, tmp_path: Path, ganaug) -> None:
    """A folder without a generator and an output folder that cannot be written are clear errors."""
    code, _, said = ganaug("generate", experiment.dataset, "--count", "3=1", "--png", tmp_path / "out")
    assert (code, "no finished generator" in said) == (2, True)
    (tmp_path / "file").touch()
    code, _, said = ganaug("generate", experiment.gan, "--count", "3=1", "--png", tmp_path / "file")
    assert (code, said.endswith("; give another --png\n"), "Traceback" in said) == (2, True, False)
    assert ganaug("generate", experiment.gan, "--count", "3=1", "--png", tmp_path / "folder")[0] == 0
    assert len(list((tmp_path / "folder").rglob("*.png"))) == 1


def test_export_warns_about_copying_generator(experiment: Run, tmp_path: Path, ganaug) -> None:
    """An export from a generator that copies training images warns, and no other export does."""
    spec = experiment.gan.read_json("gan.json")
    spec["memorization"] |= {"verdict": "copies", "reason": "90% are near copies"}
    (tmp_path / "gan.json").write_text(json.dumps(spec))
    (tmp_path / "gan.safetensors").write_bytes(experiment.gan.read_bytes("gan.safetensors"))
    code, said, _ = ganaug("generate", tmp_path, "--count", "3=1", "--png", tmp_path / "out")
    assert code == 0
    assert "copies training images: 90% are near copies" in said
    said = ganaug("generate", experiment.gan, "--count", "3=1", "--png", tmp_path / "out2")[1]
    assert "copies" not in said


def test_class_names_stay_inside_export_folder(experiment: Run, tmp_path: Path) -> None:
    """Class names such as .. or a/b can neither lead out of the export folder nor share a folder."""
    names = ["..", "../../up", "/etc", "a/b", "a_b", "a%2Fb", "Albrecht_Dürer", ".hidden", "tab\t", "10"]
    generator = Generator.load(experiment.gan)
    generator.classes = names
    out = tmp_path / "deep" / "out"
    png_export.export_images(generator, dict.fromkeys(names, 2), 0, Folder.from_uri(out), lambda written: None)
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert len(list(out.iterdir())) == len(names)
    assert len([path for path in out.rglob("*.png") if path.is_file()]) == 2 * len(names)
    assert (out / "Albrecht_Dürer" / "Albrecht_Dürer-0-00001.png").is_file()


def test_class_with_equals_sign_is_parsed() -> None:
    """A class with an equals sign in its name can be requested."""
    assert png_export.parse_counts(["a=b=3", "any=1"], ["a=b", "any"]) == {"a=b": 3, "any": 1}
    with pytest.raises(UserError, match="no class 'a'"):
        png_export.parse_counts(["a=3"], ["a=b"])


def test_export_spans_several_blocks(experiment: Run, tmp_path: Path) -> None:
    """More images than are drawn at once are all written, and they are the generator's."""
    generator, seen = Generator.load(experiment.gan), []
    png_export.export_images(generator, {"3": 260}, 0, Folder.from_uri(tmp_path), seen.append)
    assert seen == list(range(1, 261))
    last = np.asarray(Image.open(tmp_path / "3" / "3-0-00259.png"))
    assert (last == generator.generate("3", 260)[-1, ..., 0]).all()
