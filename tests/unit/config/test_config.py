"""A job is one YAML; mistakes in it are named by file and key."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from ganaug_ray.config import Job
from ganaug_ray.config.gan_presets import PRESETS
from ganaug_ray.config.loader import dump_job, load_job
from ganaug_ray.config.search import SearchConfig
from ganaug_ray.config.yaml_text import TEXT_KEYS
from ganaug_ray.errors import UserError
from tests.conftest import DIGITS


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(text)
    return path


MINIMAL = """
data: {source: sklearn:digits}
gan: {steps: 10, lr: 1e-4}
classifier: {epochs: 3}
"""


def test_scientific_notation_is_a_number(tmp_path: Path) -> None:
    """Scientific notation is a number in YAML and on the command line."""
    assert load_job(write(tmp_path, MINIMAL)).gan.lr == 1e-4
    assert load_job(DIGITS, ["gan.lr=3e-4"]).gan.lr == 3e-4


NUMBER_LIKE = ["no", "007", "1.10", "2020-01-01", "12:30:45", "2020", "1e3", "0x10", ".5", "true", "1_000", ".inf"]


@pytest.mark.parametrize("name", NUMBER_LIKE)
def test_names_are_text_as_written(name: str, tmp_path: Path) -> None:
    """Names of files, columns, classes and models are the text that is written, whatever YAML takes it for."""
    text = (
        f"about: {name}\n"
        f"data: {{source: {name}, unlabelled: [{name}, b], columns: {{image: {name}, label: {name}}},"
        f" label_from: {{csv: {name}}}, metadata: {name}, imbalance: {{factor: 2, rare: [{name}]}}}}\n"
        f"augment: {{images: {{ship: {{source: {name}, classes: {{{name}: {name}}}}}}}}}\n"
        f"models: {{first: {{weights: {name}}}, second: {{}}}}\n"
    )
    job = load_job(write(tmp_path, text))
    path = name if ":" in name else str(tmp_path / name)  # else it is an address
    assert (job.about, job.data.columns.image, job.data.columns.label) == (name, name, [name])
    assert (job.data.source, job.data.metadata, job.data.label_from.csv) == ([path], path, path)
    assert job.data.unlabelled == [path, str(tmp_path / "b")]
    assert job.data.imbalance is not None
    assert job.data.imbalance.rare == [name]
    assert job.augment.images["ship"].source == [path]
    assert job.augment.images["ship"].classes == {name: name}
    assert job.models["first"].weights == path
    assert load_job(write(tmp_path, dump_job(job))) == job
    overridden = load_job(write(tmp_path, MINIMAL), [f"data.source={name}", f"data.columns.image={name}"])
    assert (overridden.data.source, overridden.data.columns.image) == ([path], name)


def test_keys_are_text_as_written(tmp_path: Path) -> None:
    """Models and sources of images may be called by words and numbers that YAML takes for other things."""
    text = "augment: {images: {2020: {source: a}, no: {source: b}}}\nmodels: {007: {steps: 3}, yes: {steps: 4}}\n"
    job = load_job(write(tmp_path, f"data: {{source: a}}\n{text}"))
    assert [*job.augment.images, *job.models] == ["2020", "no", "007", "yes"]


def test_null_still_means_none(tmp_path: Path) -> None:
    """A setting of text that is null, or empty, has its default."""
    job = load_job(write(tmp_path, "registry:\ndata: {source: sklearn:digits, extends: null, columns: {image: ~}}\n"))
    assert (job.registry, job.data.extends, job.data.columns.image) == (None, None, None)
    assert load_job(write(tmp_path, MINIMAL), ["data.extends=null"]).data.extends is None


def test_every_setting_of_text_is_kept() -> None:
    """No setting of text is missing among those whose values stay as written, and none of them takes numbers."""
    text_keys = set()
    for schema in (Job.model_json_schema(), SearchConfig.model_json_schema()):
        for model in (schema, *schema.get("$defs", {}).values()):
            for key, field in model.get("properties", {}).items():
                kinds = _list_types(field)
                if "string" in kinds:
                    text_keys.add(key)
                    assert not kinds & {"integer", "number", "boolean"}, key
    assert text_keys == TEXT_KEYS


def _list_types(field: dict[str, Any]) -> set[str]:
    """Return the types that a setting, its items or its values may have, without sections and single words."""
    options = field.get("anyOf", field.get("oneOf", ()))
    inner = [field[name] for name in ("items", "additionalProperties") if isinstance(field.get(name), dict)]
    types = set().union(*(_list_types(option) for option in (*options, *inner)))
    return types if "const" in field or "enum" in field else types | {field.get("type", "")}


def test_setting_epochs_clears_steps() -> None:
    """Setting epochs on the command line clears the steps of the job, and the reverse."""
    job = load_job(DIGITS, ["gan.epochs=200"])
    assert (job.gan.epochs, job.gan.steps) == (200, None)
    job = load_job(DIGITS, ["gan.epochs=200", "gan.steps=7"])
    assert (job.gan.epochs, job.gan.steps) == (None, 7)


def test_sections_but_data_are_optional(tmp_path: Path) -> None:
    """A job of its images alone has every other setting by default, the lengths of both trainings too."""
    job = load_job(write(tmp_path, "data: {source: sklearn:digits}\n"))
    assert (job.gan.steps, job.gan.epochs, job.classifier.steps, job.classifier.epochs) == (4000, None, 1500, None)
    job = load_job(write(tmp_path, "data: {source: sklearn:digits}\nclassifier: {epochs: 3}\ngan: {lr: 1e-4}\n"))
    assert (job.gan.steps, job.classifier.steps, job.classifier.epochs) == (4000, None, 3)
    assert load_job(write(tmp_path, dump_job(job))) == job


def test_epochs_convert_to_steps() -> None:
    """Epochs become steps by the number of training rows."""
    job = load_job(DIGITS, ["gan.epochs=200"])
    assert job.gan.count_steps(rows=200) == 625


def test_presets_fill_missing_settings() -> None:
    """Settings that a job leaves out come from its preset."""
    scarce, dcgan = PRESETS["scarce"], PRESETS["dcgan"]
    plain = ["gan.lr=null"]
    assert load_job(DIGITS, plain).gan.recipe == scarce
    assert load_job(DIGITS, [*plain, "gan.preset=dcgan"]).gan.recipe == dcgan
    own = load_job(DIGITS, ["gan.lr=1e-4", "gan.beta1=0.3", "gan.ema_half_life=0"]).gan.recipe
    assert (own.lr_g, own.beta1, own.ema_half_life) == (1e-4, 0.3, 0)
    assert own.lr_d / own.lr_g == pytest.approx(scarce.lr_d / scarce.lr_g)
    assert load_job(DIGITS, ["gan.lr=1e-4", "gan.lr_d=3e-4"]).gan.recipe.lr_d == 3e-4


def test_dumped_job_loads_unchanged(tmp_path: Path) -> None:
    """A job that is written to YAML loads as the same job."""
    job = load_job(DIGITS, ["gan.lr=1e-5", "data.channels=1"])
    assert load_job(write(tmp_path, dump_job(job))) == job


def test_environment_variables_are_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of the environment are expanded, and one that is not set is an error that names it."""
    monkeypatch.setenv("PICTURES", "/somewhere")
    text = MINIMAL.replace("sklearn:digits", "'${PICTURES}/cats'")
    assert load_job(write(tmp_path, text)).data.source == ["/somewhere/cats"]
    monkeypatch.delenv("PICTURES")
    with pytest.raises(UserError, match="PICTURES"):
        load_job(write(tmp_path, text))


def test_relative_source_follows_job_file(tmp_path: Path) -> None:
    """A relative data source is relative to the job file."""
    text = MINIMAL.replace("sklearn:digits", "[../pictures, more.zip, idx:mnist, sklearn:digits, s3://bucket/x]")
    assert load_job(write(tmp_path, text)).data.source == [
        f"{tmp_path}/../pictures", f"{tmp_path}/more.zip", f"idx:{tmp_path}/mnist", "sklearn:digits", "s3://bucket/x",
    ]  # fmt: skip


def test_label_source_is_validated(tmp_path: Path) -> None:
    """Labels come from the parent folder, a regular expression or a CSV file, and anything else is refused."""

    def with_labels(text: str) -> Job:
        return load_job(write(tmp_path, MINIMAL.replace("sklearn:digits", f"sklearn:digits, label_from: {text}")))

    assert with_labels("parent").data.label_from.regex is None
    assert with_labels(r"{regex: '^(?P<label>cat|dog)\.'}").data.label_from.regex == r"^(?P<label>cat|dog)\."
    assert with_labels("{csv: labels.csv}").data.label_from.csv == f"{tmp_path}/labels.csv"
    for wrong, word in [
        ("child", "child"),
        ("{regex: '('}", "not a regular expression"),
        ("{regex: cat}", "named label"),
    ]:
        with pytest.raises(UserError, match=word):
            with_labels(wrong)


def test_scarce_training_limits_validation() -> None:
    """Validation images are limited where training images are."""
    assert load_job(DIGITS, ["data.train_per_class=100", "data.val_per_class=null"]).data.max_val_per_class == 25
    assert load_job(DIGITS, ["data.train_per_class=null", "data.val_per_class=null"]).data.max_val_per_class is None


@pytest.mark.parametrize("path", sorted(DIGITS.parent.glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_job_loads(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every job file in the repository loads and says what it is for."""
    monkeypatch.setenv("GANAUG_DATA", "/data")
    load_job(path)
    assert len(yaml.safe_load(path.read_text())["about"].split()) > 5


@pytest.mark.parametrize(("name", "epochs", "rate"), [("artworks", 200, 2e-4), ("artworks_slow", 100, 1e-4)])
def test_published_experiment_is_unchanged(name: str, epochs: int, rate: float) -> None:
    """The job files of the published experiment have its settings and its figures."""
    job = load_job(DIGITS.with_name(f"{name}.yaml"), ["data.source=/anywhere/cats_dogs.zip"])
    assert (job.gan_image_size, job.gan.epochs, job.gan.recipe.lr_g, job.gan.recipe.lr_d) == (64, epochs, rate, rate)
    assert (job.gan.conditional, job.gan.recipe.norm, job.gan.recipe.loss) == (False, "batch", "non_saturating")
    assert job.published is not None
    figures = job.published.model_dump(exclude={"source"})
    assert figures == {"loss_g": 4.3852, "loss_d": 0.0655, "real_score": 0.9508, "fake_score": 0.0121}


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("gan.lr=fast", ["gan.lr", "'fast'", "number"]),
        ("gan.stepz=3", ["gan.stepz", "unknown key", "steps"]),
        ("data.image_size=32.5", ["data.image_size", "32.5", "whole number"]),
        ("seed=true", ["seed", "True", "whole number"]),
        ("gan=3", ["gan", "section"]),
        ("seed.deep=3", ["seed", "not a section"]),
        ("gan.workers=3", ["gan", "64", "3", "divisible"]),
        ("gan.min_workers=4", ["gan", "min_workers 4", "workers 2"]),
        ("classifier.min_workers=2", ["classifier", "min_workers 2", "workers 1"]),
        ("classifier.workers=7", ["classifier", "64", "7", "divisible"]),
        ("gan.image_size=64", ["gan.image_size 64", "data.image_size 32"]),
        ("gan.image_size=48", ["gan.image_size", "48", "16, 32, 64 or 128"]),
        ("arms={pseudo: {}}", ["arms.pseudo.kind", "data.unlabelled"]),
        ("arms={few: {ratio: 0.1}}", ["arms.few.kind", "missing"]),
        ("arms={few: {kind: fake}}", ["arms.few.kind", "'fake'", "'synthetic'"]),
        ("arms={real+classic: {kind: real}}", ["arms", "real+classic is in every comparison"]),
        ("arms={teacher: {kind: synthetic}}", ["arms", "give the arm another name"]),
        ("arms={few: {kind: synthetic, classes: gaining}}", ["few", "kind synthetic with classes all"]),
        ("compare={splits: 3, seeds: 1, metric: speed}", ["compare.metric", "'speed'"]),
        ("published={source: x, real_scor: 0.9}", ["published.real_scor", "unknown key", "real_score"]),
        ("published={source: x, real_score: 9}", ["published.real_score", "9"]),
        ("published.loss_g=4.4", ["published.source", "missing"]),
        ("compare.metric=auc", ["compare.metric", "'auc'", "accuracy"]),
        ("nonsense", ["nonsense", "key=value"]),
        ("data.source=", ["data.source", "nothing", "text"]),
        ("gan.lr=[", ["gan.lr", "YAML"]),
    ],
)
def test_wrong_setting_names_expected_value(override: str, words: list[str]) -> None:
    """A wrong setting is an error that names the key, the value and what is expected."""
    with pytest.raises(UserError) as caught:
        load_job(DIGITS, [override])
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert len(message.splitlines()) <= 6


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data: [", ["line 1", "YAML"]),
        ("just text", ["'just text'", "mapping"]),
        (MINIMAL + "gan: {steps: 3}\n", ["'gan'", "twice"]),
        (MINIMAL.replace("steps: 10", "steps: 10, epochs: 3"), ["exactly one of steps and epochs"]),
        ("gan: {steps: 10}\n", ["data", "missing"]),
    ],
)
def test_wrong_job_file_is_named(tmp_path: Path, text: str, words: list[str]) -> None:
    """A mistake in a job file is an error that names the file and the mistake."""
    with pytest.raises(UserError) as caught:
        load_job(write(tmp_path, text))
    assert all(word in str(caught.value) for word in ["job.yaml", *words]), str(caught.value)


def test_many_mistakes_fit_six_lines(tmp_path: Path) -> None:
    """The message about a job file with many mistakes fits on six lines."""
    text = MINIMAL + "".join(f"wrong{i}: 1\n" for i in range(20))
    with pytest.raises(UserError) as caught:
        load_job(write(tmp_path, text))
    assert len(str(caught.value).splitlines()) == 6


def test_given_splits_need_single_word(tmp_path: Path) -> None:
    """The single word given as data.split keeps the splits of the source, and other words are refused."""
    job = load_job(DIGITS, ["data.split=given"])
    assert job.data.split.given
    assert load_job(write(tmp_path, dump_job(job))) == job
    with pytest.raises(UserError, match="'taken'"):
        load_job(DIGITS, ["data.split=taken"])


def test_arms_inherit_augment_settings(tmp_path: Path) -> None:
    """Arms take from the augment section what they do not set themselves."""
    assert list(load_job(DIGITS, ["arms={}"]).compared_arms) == ["real+classic+synthetic"]
    assert not load_job(DIGITS, ["arms={}", "augment.ratio=0"]).compared_arms
    job = load_job(
        DIGITS, ["augment.weight=0.5", "arms={noise: {}, few: {kind: synthetic, ratio: 0.1}, real+classic+live: null}"]
    )
    assert [(name, arm.kind, arm.weight) for name, arm in job.compared_arms.items()] == [
        ("noise", "noise", 0.5), ("few", "synthetic", 0.5), ("real+classic+live", "live", 0.5)
    ]  # fmt: skip
    assert job.arms["few"].ratio == 0.1
    assert load_job(write(tmp_path, dump_job(job))) == job


def test_gaining_classes_need_arms() -> None:
    """Classes that gain are told by another arm: without arms they are refused before anything is trained."""
    with pytest.raises(UserError, match=r"augment\.classes gaining.*give arms, one of them with classes all"):
        load_job(DIGITS, ["arms={}", "augment.classes=gaining"])


def test_stored_arms_follow_augment_settings(tmp_path: Path) -> None:
    """In a stored job a setting of the augment section still reaches the arms that did not set it themselves."""
    arms = "arms={few: {kind: synthetic, ratio: 0.1}, all: {kind: synthetic, per_class: null}, oversample: {}}"
    job = load_job(DIGITS, ["augment.ratio=0.5", "augment.per_class=300", arms])
    stored = write(tmp_path, dump_job(job))
    assert load_job(stored) == job
    changed = load_job(stored, ["augment.ratio=2"])
    assert {name: arm.ratio for name, arm in changed.arms.items()} == {"few": 0.1, "all": 2, "oversample": 2}
    assert {name: arm.per_class for name, arm in changed.arms.items()} == {"few": 300, "all": None, "oversample": 300}


def test_given_splits_refuse_several_splits() -> None:
    """A comparison over several splits is refused where the splits are given."""
    with pytest.raises(UserError, match=r"compare.splits 3: data.split is given"):
        load_job(DIGITS, ["compare.splits=3", "data.split=given"])


def test_loaded_job_is_immutable() -> None:
    """A job cannot be changed after loading."""
    job: Job = load_job(DIGITS)
    with pytest.raises(ValueError, match="frozen"):
        job.gan.lr = 1.0
