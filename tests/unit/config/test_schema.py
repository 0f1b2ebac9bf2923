"""The JSON schemas of jobs and search spaces, the explanations made of them, and the examples that name them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ganaug_ray.config import examples
from ganaug_ray.config.loader import load_job
from ganaug_ray.config.schema import build_job_schema
from ganaug_ray.config.settings import explain_setting
from ganaug_ray.errors import UserError
from ganaug_ray.search.space_schema import build_space_schema

SCHEMAS = {"job": build_job_schema, "space": build_space_schema}
WITHOUT_RANGE = {"published.loss_g", "published.loss_d", "data.value_range"}  # any number there is


def iter_settings(schema: dict[str, Any], node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, bool]]:
    """Yield dotted key, schema and whether it is required, of every setting of a job."""
    for option in [node, *node.get("anyOf", []), *node.get("patternProperties", {}).values(), node.get("items", {})]:
        section = schema["$defs"][option["$ref"].rpartition("/")[2]] if "$ref" in option else option
        for name, setting in section.get("properties", {}).items():
            yield f"{prefix}{name}", setting, name in section.get("required", [])
            yield from iter_settings(schema, setting, f"{prefix}{name}.")


SETTINGS = {key: (node, required) for key, node, required in iter_settings(build_job_schema(), build_job_schema())}


def test_every_setting_is_found() -> None:
    """The settings that the tests below go over are those of all sections, and of arms and models too."""
    assert len(SETTINGS) > 150
    assert {"gan.filters", "arms.kind", "models.arch", "augment.screen.enabled", "gan.then.lr"} <= SETTINGS.keys()


def find_fault(key: str, node: dict[str, Any], required: bool) -> str | None:
    """Say what is missing of a setting."""
    options = [node, node.get("items", {}), *node.get("anyOf", [])]
    if len(node.get("description", "").split()) < 3:
        return "no description"
    is_open = any("$ref" in one or "patternProperties" in one or one.get("type") == "array" for one in options)
    if not (required or is_open or "default" in node or key.startswith("arms.")):  # of an arm it is that of augment
        return "neither required nor with a default"
    for one in options:
        is_number = one.get("type") in ("integer", "number") and key not in WITHOUT_RANGE
        if is_number and not {"minimum", "exclusiveMinimum", "enum"} & one.keys():
            return "a number without a range"
    return None


def test_every_setting_is_described() -> None:
    """Every setting has a description, is required or has a default, and if it is a number a range or a list."""
    faults = {key: find_fault(key, node, required) for key, (node, required) in SETTINGS.items()}
    assert {key: fault for key, fault in faults.items() if fault} == {}


@pytest.mark.parametrize("kind", SCHEMAS)
def test_shipped_schema_is_current(kind: str) -> None:
    """The file beside the examples is what the models say: `ganaug schema KIND` writes it anew."""
    assert json.loads(examples.locate_schema(kind).read_text(encoding="utf-8")) == SCHEMAS[kind]()


@pytest.mark.parametrize("path", examples.list_examples(), ids=lambda path: path.stem)
def test_examples_name_and_fit_their_schema(path: Path) -> None:
    """Every shipped job and search space is valid by the schema that its first line names for editors."""
    first, _, text = path.read_text(encoding="utf-8").partition("\n")
    schema = (path.parent / first.removeprefix(examples.SCHEMA_LINE)).resolve()
    jsonschema.validate(yaml.safe_load(text), json.loads(schema.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "text",
    [
        "data: {source: [a, b], split: given, label_from: parent}",
        "data: {source: a}\narms: {pseudo: {}, few: {kind: synthetic}, real+classic+live: null}",
        "data: {source: a}\ngan: {workers: auto}\nmodels: {a: {}, b: {arch: 'timm:resnet18'}}",
        "data: {source: a, value_range: [0, 4095], train_per_class: null}",
    ],
)
def test_schema_takes_short_forms(text: str) -> None:
    """What a job may say in a word, or leave out, is not underlined by an editor."""
    jsonschema.validate(yaml.safe_load(text), build_job_schema())


@pytest.mark.parametrize(
    "text", ["data: {source: a}\ngan: {stepz: 3}", "data: {source: a, split: taken}", "gan: {}", "data: {source: []}"]
)
def test_schema_refuses_mistakes(text: str) -> None:
    """Unknown keys, unknown words, and what is missing are underlined."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), build_job_schema())


@pytest.mark.parametrize(
    ("key", "lines"),
    [
        ("gan.filters", ["gan.filters: whole number, 4 to 512; default 32", "Filters of the layer next"]),
        ("data.source", ["data.source: text or a list, each text; required"]),
        ("gan.lr", ["gan.lr: number, more than 0 and at most 1; default absent"]),
        ("gan.workers", ["gan.workers: auto or whole number, 1 or more; default 1"]),
        ("classifier.steps", ["classifier.steps: whole number, 1 or more; default 1500"]),
        ("arms.mine.kind", ["arms.mine.kind: one of real, oversample, synthetic,"]),
        ("gan", ["gan: a section", "filters: whole number, 4 to 512; default 32", "    Filters of the layer"]),
        ("", ["data: a section; required", "gan: a section"]),
    ],
)
def test_setting_is_explained_in_words(key: str, lines: list[str]) -> None:
    """A setting's type, range, default and description; of a section, those of all its settings."""
    explained = explain_setting(key).splitlines()
    assert all(any(one.startswith(line) for one in explained) for line in lines), explained


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("gan.filtres", "gan: unknown setting filtres; did you mean filters?"),
        ("xyz", "unknown setting xyz; expected one of about, data,"),
        ("gan.filters.x", "gan.filters: has no settings of its own"),
    ],
)
def test_unknown_setting_is_named(key: str, words: str) -> None:
    """A setting that there is not is an error that names those that there are."""
    with pytest.raises(UserError, match=words.replace("?", r"\?")):
        explain_setting(key)


def test_copied_example_is_a_job(tmp_path: Path) -> None:
    """A copied example loads wherever it lies, names the installed schema, and overwrites nothing."""
    copy = examples.copy_example("digits", tmp_path / "mine.yaml")
    assert load_job(copy) == load_job(examples.find_example("digits.yaml"))
    line = copy.read_text(encoding="utf-8").split("\n", 1)[0]
    assert Path(line.removeprefix(f"{examples.SCHEMA_LINE}file://")).is_file()
    with pytest.raises(UserError, match="already exists"):
        examples.copy_example("digits", copy)
    with pytest.raises(UserError, match=r"digit: there is no such example; expected one of .*\bgan\b"):
        examples.find_example("digit")
