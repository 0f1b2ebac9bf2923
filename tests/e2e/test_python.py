"""``ganaug_ray.run`` where users call it: in a plain script, and in the notebook of the documentation."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, TINY, environment, parse_settings

NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"
SCRIPT = """
import json, sys
import ganaug_ray

settings = json.loads(sys.argv[2])
for attempt in range(2):
    result = ganaug_ray.run({"data": {"source": "sklearn:digits"}}, out=sys.argv[1], settings=settings)
    print("answer:", result.answer)
print(result.arms)
print(result.champion, result.generator.generate("3", 2).shape)
"""


def test_plain_script_runs_and_keeps(tmp_path: Path) -> None:
    """A script without a main guard runs all stages, keeps them when it calls again, and ends what it started."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    settings = {**parse_settings(TINY), "arms": {"real+classic+synthetic": {}}, "compare.splits": 1}
    ended = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "digits"), json.dumps(settings)], cwd=tmp_path,
        env=environment(PYTHONPATH=str(ROOT)), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    stages = re.findall(r"^(\S+) +(done|kept) ", ended.stdout, re.MULTILINE)
    names = ["prepare", "teach", "train-gan", "generate", "train", "compare", "evaluate", "report", "promote"]
    assert stages == [*((name, "done") for name in names), *((name, "kept") for name in names)]
    first, second = re.findall(r"^answer: (.*)", ended.stdout, re.MULTILINE)
    assert first == second == json.loads((tmp_path / "digits" / "verdict.json").read_text())["sentence"]
    assert "Classifier(cnn, 32 px, 10 classes: 0, 1, 2, 3, 4, ...) (2, 32, 32, 1)" in ended.stdout


def test_notebook_of_the_documentation_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cell of the notebook works, its run is shown as it goes on, and the result as the top of its page."""
    nbformat = pytest.importorskip("nbformat", reason="nbclient and ipykernel run notebooks")
    nbclient = pytest.importorskip("nbclient", reason="it runs notebooks")
    pytest.importorskip("ipykernel", reason="it runs the cells of notebooks")
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=":")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in cells), "outputs are stripped"
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": tmp_path}}).execute()
    ran, shown, told, classified, drawn = (cell.outputs for cell in cells)
    streams = dict.fromkeys(("stdout", "stderr"), "")
    for output in ran:
        streams[output.name] += output.text
    assert streams["stderr"] == ""
    assert re.search(r"^promote +done ", streams["stdout"].replace("\r", "\n"), re.MULTILINE)
    answer = json.loads((tmp_path / "runs" / "notebook" / "verdict.json").read_text())["sentence"]
    assert "<iframe srcdoc=" in shown[0].data["text/html"]
    assert told[0].text.startswith(answer)
    assert classified[0].data["text/plain"] in [repr(str(label)) for label in range(10)]
    assert "image/png" in drawn[0].data
