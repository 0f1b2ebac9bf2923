"""The pages of the reference that the documentation makes from the code: everything that there is stands on them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from ganaug_ray import cli
from ganaug_ray.core.storage import Folder
from ganaug_ray.serve import app, metrics
from ganaug_ray.serve.limits import RequestLimits
from ganaug_ray.serve.live_model import LiveModel
from ganaug_ray.serve.service import Service
from tests.conftest import ROOT
from tests.helpers.serving import promote
from tests.unit.config.test_schema import SETTINGS


@pytest.fixture(scope="module")
def builders() -> Iterator[Any]:
    """Imports a module that builds a page, as mkdocs does."""
    folder = str(ROOT / "docs" / "_build")
    sys.path.insert(0, folder)

    def load(name: str) -> ModuleType:
        return import_module(name)

    yield load
    sys.path.remove(folder)


def read_rows(page: str) -> dict[str, list[str]]:
    """First cell of each table row, without markup -> the other cells."""
    lines = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| ---")]
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    return {re.sub(r"<a .*?></a>|`", "", cells[0]): cells[1:] for cells in rows}


def test_every_setting_has_a_row(builders: Any) -> None:
    """Every setting of the schema has a row with its values, a default where there is one, and a description."""
    page = builders("settings_page").build_page()
    rows = read_rows(page)
    missing = []
    for key, (node, required) in SETTINGS.items():
        name = re.sub(r"^(arms)\.", r"\1.NAME.", key)
        if key.startswith("models."):  # a network to compare has the settings of classifier
            name = key.replace("models.", "classifier.", 1)
        if re.search(r"^arms\.screen\.|^augment\.images\.(label_from|columns)\.", key):  # listed where they first stand
            continue
        values, default, text = rows.get(name, ["", "", ""])
        has_default = required or ("default" in node and not isinstance(node["default"], dict))
        if not (values and text and (default or not has_default)):
            missing.append(name)
    assert missing == []
    assert len(rows) > 120


def test_links_of_settings_lead_somewhere(builders: Any) -> None:
    """Each section that a setting may be is on the page, under the name that the link has."""
    page = builders("settings_page").build_page()
    targets = set(re.findall(r"\{#(\S+?)\}", page)) | set(re.findall(r'<a id="(\S+?)">', page))
    links = set(re.findall(r"\]\(#(\S+?)\)", page))
    assert len(links) > 12
    assert links <= targets


def test_every_command_and_option_is_listed(builders: Any) -> None:
    """Every command, also one in a group, is on the page with its help and all of its options."""
    page = builders("cli_page").build_page()
    sections = dict(re.findall(r"^## (.+)\n((?:.|\n)*?)(?=^## |\Z)", page, re.MULTILINE))
    commands: dict[str, Any] = dict(typer.main.get_command(cli.app).commands)  # type: ignore[attr-defined]  # a group's
    for group in [name for name, command in commands.items() if hasattr(command, "commands")]:
        commands |= {f"{group} {name}": command for name, command in commands[group].commands.items()}
    assert sections.keys() == commands.keys()
    assert len(commands) > 20
    for name, command in commands.items():
        options = [option for parameter in command.params for option in parameter.opts if option.startswith("--")]
        assert command.help.split()[0] in sections[name]
        assert [option for option in options if f"`{option}" not in sections[name]] == [], name


def test_every_route_is_listed(builders: Any, tmp_path: Path) -> None:
    """The routes are those of a server with a real model, and each says what it answers."""
    folder = Folder.from_uri(tmp_path / "pets")
    promote(folder, 0)
    service = Service(LiveModel(str(folder)), RequestLimits())
    try:
        document = app.describe_api(service)
    finally:
        service.shut_down()
    page_builder = builders("http_page")
    assert page_builder.build_document()["paths"] == document["paths"]
    page = page_builder.build_page()
    routes = [f"## `{method.upper()} {path}`" for path, methods in document["paths"].items() for method in methods]
    assert [route for route in routes if route not in page] == []
    assert len(routes) > 12
    assert page.count("Answers with 2") == len(routes)
    statuses = {
        status
        for methods in document["paths"].values()
        for operation in methods.values()
        for status in operation["responses"]
        if not status.startswith("2")
    }
    assert statuses <= read_rows(page).keys()


def test_every_metric_is_listed(builders: Any) -> None:
    """Every metric that the server's source names has a row with its kind, its description and its labels."""
    rows = read_rows(builders("metrics_page").build_page())
    names = re.findall(r'"(ganaug_\w+)"', Path(metrics.__file__).read_text())
    assert rows.keys() - {"Metric"} == set(names)
    assert rows["ganaug_predictions"] == ["counter", "Images, by predicted class.", "`version`, `label`"]


def test_source_has_a_file_for_each_page() -> None:
    """Links to a generated page lead to a short file of the same title, which the build replaces with the page."""
    pytest.importorskip("mkdocs")
    from mkdocs.config import load_config
    from mkdocs.structure.files import get_files

    config = load_config(str(ROOT / "mkdocs.yml"), plugins=[])
    files = get_files(config)
    stubs = {page.src_uri: page.content_string for page in files.documentation_pages()}
    files = config.plugins.on_files(files, config=config)
    pages = {page.src_uri: page.content_string for page in files.documentation_pages()}
    replaced = {path: text for path, text in pages.items() if text != stubs.get(path)}
    assert sorted(replaced) == [f"reference/{name}.md" for name in ("cli", "http", "metrics", "settings")]
    for path, text in replaced.items():
        assert len(stubs[path].split()) < 60 < len(text.split())
        assert stubs[path].splitlines()[0] == text.splitlines()[0]


def test_examples_in_docstrings_are_fenced(builders: Any) -> None:
    """An example of a docstring is shown as code, the text around it as text."""
    pytest.importorskip("griffe")
    fenced = builders("doctest_fences").fence_examples("Add.\n\n>>> 1 + 1\n2\n\nMore.")
    assert fenced == "Add.\n\n```pycon\n>>> 1 + 1\n2\n```\n\nMore."
