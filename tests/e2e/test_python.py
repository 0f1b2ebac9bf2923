"""``ganaug_ray.run`` where users call it: in a plain script, and in the notebook of the documentation."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PATIENCE, ROOT, TINY, environment, parse_settings

SETTINGS = parse_settings(TINY)
NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"
CALL = 'result = ganaug_ray.run(job, out="runs/notebook")'
SCRIPT = """
import json, sys
import ganaug_ray

job, settings = json.loads(sys.argv[2]), json.loads(sys.argv[3])
for attempt in range(2):
    result = ganaug_ray.run(job, out=sys.argv[1], settings=settings)
    print("answer:", result.answer)
print(result.arms)
print(result.champion, result.generator.generate("3", 2).shape)
"""


def read_notebook_job() -> dict:
    """The job in the first cell of the notebook."""
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    source = next("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "job":
            return ast.literal_eval(node.value)
    raise AssertionError("the notebook has no job")


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The notebook's job, cut short, in a script without a main guard that calls twice: folder and what is printed."""
    folder = tmp_path_factory.mktemp("script")
    script, job = folder / "script.py", json.dumps(read_notebook_job())
    script.write_text(SCRIPT)
    ended = subprocess.run(
        [sys.executable, str(script), str(folder / "digits"), job, json.dumps(SETTINGS)], cwd=folder,
        env=environment(PYTHONPATH=str(ROOT)), capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    return folder / "digits", ended.stdout


def test_plain_script_runs_and_keeps(scripted: tuple[Path, str]) -> None:
    """A script runs all stages, keeps them when it calls again, and ends what it started."""
    out, printed = scripted
    stages = re.findall(r"^(\S+) +(done|kept) ", printed, re.MULTILINE)
    names = ["prepare", "teach", "train-gan", "generate", "train", "compare", "evaluate", "report", "promote"]
    assert stages == [*((name, "done") for name in names), *((name, "kept") for name in names)]
    first, second = re.findall(r"^answer: (.*)", printed, re.MULTILINE)
    assert first == second == json.loads((out / "verdict.json").read_text())["sentence"]
    assert "Classifier(cnn, 32 px, 10 classes: 0, 1, 2, 3, 4, ...) (2, 32, 32, 1)" in printed


def test_notebook_of_the_documentation_runs(
    scripted: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every cell of the notebook works, its run is shown as it goes on, and the result as the top of its page.

    All but a model, and what is made of all models, is there already: one training of Ray's is enough.
    """
    nbformat = pytest.importorskip("nbformat", reason="nbclient and ipykernel run notebooks")
    nbclient = pytest.importorskip("nbclient", reason="it runs notebooks")
    pytest.importorskip("ipykernel", reason="it runs the cells of notebooks")
    out = shutil.copytree(scripted[0], tmp_path / "runs" / "notebook")
    for folder in ("models/real+classic/seed-0", "evaluation", "registry"):
        shutil.rmtree(out / folder)
    for file in ("verdict.json", "report.json", "report.html"):
        (out / file).unlink()
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=":")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in cells), "outputs are stripped"
    assert cells[0].source.endswith(CALL)
    cells[0].source = f"{cells[0].source.removesuffix(CALL)}{CALL.removesuffix(')')}, settings={SETTINGS})"
    nbclient.NotebookClient(notebook, timeout=PATIENCE, resources={"metadata": {"path": tmp_path}}).execute()
    ran, shown, told, classified, drawn = (cell.outputs for cell in cells)
    streams = dict.fromkeys(("stdout", "stderr"), "")
    for output in ran:
        streams[output.name] += output.text
    assert streams["stderr"] == ""
    stages = re.findall(r"^(\S+) +(done|kept) ", streams["stdout"].replace("\r", "\n"), re.MULTILINE)
    assert stages[:4] == [(name, "kept") for name in ("prepare", "teach", "train-gan", "generate")]
    assert stages[4:] == [(name, "done") for name in ("train", "compare", "evaluate", "report", "promote")]
    answer = json.loads((out / "verdict.json").read_text())["sentence"]
    assert "<iframe srcdoc=" in shown[0].data["text/html"]
    assert told[0].text.startswith(answer)
    assert classified[0].data["text/plain"] in [repr(str(label)) for label in range(10)]
    assert "image/png" in drawn[0].data
