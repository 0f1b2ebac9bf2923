"""A job is one YAML; mistakes in it are named by file and key."""

from pathlib import Path

import pytest
import yaml

from ganaug_ray.config import Job
from ganaug_ray.config.gan_presets import PRESETS
from ganaug_ray.config.loader import dump_job, load_job
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


def test_scientific_notation_is_a_number_in_yaml_and_on_the_command_line(tmp_path: Path) -> None:
    assert load_job(write(tmp_path, MINIMAL)).gan.lr == 1e-4
    assert load_job(DIGITS, ["gan.lr=3e-4"]).gan.lr == 3e-4


def test_setting_epochs_clears_steps_and_the_reverse() -> None:
    job = load_job(DIGITS, ["gan.epochs=200"])
    assert (job.gan.epochs, job.gan.steps) == (200, None)
    job = load_job(DIGITS, ["gan.epochs=200", "gan.steps=7"])
    assert (job.gan.epochs, job.gan.steps) == (None, 7)


def test_epochs_become_steps_by_the_number_of_rows() -> None:
    job = load_job(DIGITS, ["gan.epochs=200"])
    assert job.gan.count_steps(rows=200) == 625


def test_what_a_job_does_not_say_is_the_presets() -> None:
    scarce, dcgan = PRESETS["scarce"], PRESETS["dcgan"]
    plain = ["gan.lr=null"]
    assert load_job(DIGITS, plain).gan.recipe == scarce
    assert load_job(DIGITS, [*plain, "gan.preset=dcgan"]).gan.recipe == dcgan
    own = load_job(DIGITS, ["gan.lr=1e-4", "gan.beta1=0.3", "gan.ema_half_life=0"]).gan.recipe
    assert (own.lr_g, own.beta1, own.ema_half_life) == (1e-4, 0.3, 0)
    assert own.lr_d / own.lr_g == pytest.approx(scarce.lr_d / scarce.lr_g)
    assert load_job(DIGITS, ["gan.lr=1e-4", "gan.lr_d=3e-4"]).gan.recipe.lr_d == 3e-4


def test_a_dumped_job_loads_to_the_same_job(tmp_path: Path) -> None:
    job = load_job(DIGITS, ["gan.lr=1e-5", "data.channels=1"])
    assert load_job(write(tmp_path, dump_job(job))) == job


def test_environment_variables_are_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICTURES", "/somewhere")
    text = MINIMAL.replace("sklearn:digits", "'${PICTURES}/cats'")
    assert load_job(write(tmp_path, text)).data.source == ["/somewhere/cats"]
    monkeypatch.delenv("PICTURES")
    with pytest.raises(UserError, match="PICTURES"):
        load_job(write(tmp_path, text))


def test_a_relative_source_is_relative_to_the_job_file(tmp_path: Path) -> None:
    text = MINIMAL.replace("sklearn:digits", "[../pictures, more.zip, idx:mnist, sklearn:digits, s3://bucket/x]")
    assert load_job(write(tmp_path, text)).data.source == [
        f"{tmp_path}/../pictures", f"{tmp_path}/more.zip", f"idx:{tmp_path}/mnist", "sklearn:digits", "s3://bucket/x",
    ]  # fmt: skip


def test_labels_come_from_the_parent_a_regex_or_a_csv(tmp_path: Path) -> None:
    def with_labels(text: str) -> Job:
        return load_job(write(tmp_path, MINIMAL.replace("sklearn:digits", f"sklearn:digits, label_from: {text}")))

    assert with_labels("parent").data.label_from.regex is None
    assert with_labels(r"{regex: '^(?P<label>cat|dog)\.'}").data.label_from.regex == r"^(?P<label>cat|dog)\."
    assert with_labels("{csv: labels.csv}").data.label_from.csv == f"{tmp_path}/labels.csv"
    for wrong, word in [("child", "child"), ("{regex: '('}", "no regular expression"), ("{regex: cat}", "named label")]:
        with pytest.raises(UserError, match=word):
            with_labels(wrong)


def test_validation_is_scarce_where_training_is() -> None:
    assert load_job(DIGITS, ["data.train_per_class=100", "data.val_per_class=null"]).data.max_val_per_class == 25
    assert load_job(DIGITS, ["data.train_per_class=null", "data.val_per_class=null"]).data.max_val_per_class is None


@pytest.mark.parametrize("path", sorted(DIGITS.parent.glob("*.yaml")), ids=lambda path: path.name)
def test_every_job_that_is_shipped_loads_and_says_what_it_is_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANAUG_DATA", "/data")
    load_job(path)
    assert len(yaml.safe_load(path.read_text())["about"].split()) > 5


@pytest.mark.parametrize(("name", "epochs", "rate"), [("artworks", 200, 2e-4), ("artworks_slow", 100, 1e-4)])
def test_the_published_experiment_is_the_published_one(name: str, epochs: int, rate: float) -> None:
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
        ("gan.image_size=48", ["gan.image_size", "48", "32, 64 or 128"]),
        ("arms={pseudo: {}}", ["arms.pseudo.kind", "data.unlabelled"]),
        ("arms={few: {ratio: 0.1}}", ["arms.few.kind", "missing"]),
        ("arms={few: {kind: fake}}", ["arms.few.kind", "'fake'", "'synthetic'"]),
        ("arms={real+classic: {kind: real}}", ["arms", "real+classic is in every comparison"]),
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
def test_a_wrong_setting_names_the_key_what_was_found_and_what_is_expected(override: str, words: list[str]) -> None:
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
        (MINIMAL.replace("steps: 10, ", ""), ["exactly one of steps and epochs"]),
        ("data: {source: sklearn:digits}\n", ["gan", "classifier", "missing"]),
    ],
)
def test_a_wrong_file_names_the_file(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        load_job(write(tmp_path, text))
    assert all(word in str(caught.value) for word in ["job.yaml", *words]), str(caught.value)


def test_many_mistakes_still_fit_on_six_lines(tmp_path: Path) -> None:
    text = MINIMAL + "".join(f"wrong{i}: 1\n" for i in range(20))
    with pytest.raises(UserError) as caught:
        load_job(write(tmp_path, text))
    assert len(str(caught.value).splitlines()) == 6


def test_given_splits_are_one_word(tmp_path: Path) -> None:
    job = load_job(DIGITS, ["data.split=given"])
    assert job.data.split.given
    assert load_job(write(tmp_path, dump_job(job))) == job
    with pytest.raises(UserError, match="'taken'"):
        load_job(DIGITS, ["data.split=taken"])


def test_arms_take_from_the_augment_section_what_they_do_not_set(tmp_path: Path) -> None:
    assert list(load_job(DIGITS).compared_arms) == ["real+classic+synthetic"]
    assert not load_job(DIGITS, ["augment.ratio=0"]).compared_arms
    job = load_job(
        DIGITS, ["augment.weight=0.5", "arms={noise: {}, few: {kind: synthetic, ratio: 0.1}, real+classic+live: null}"]
    )
    assert [(name, arm.kind, arm.weight) for name, arm in job.compared_arms.items()] == [
        ("noise", "noise", 0.5), ("few", "synthetic", 0.5), ("real+classic+live", "live", 0.5)
    ]  # fmt: skip
    assert job.arms["few"].ratio == 0.1
    assert load_job(write(tmp_path, dump_job(job))) == job


def test_images_that_stay_where_they_are_have_one_split() -> None:
    with pytest.raises(UserError, match=r"compare.splits 3: data.split is given"):
        load_job(DIGITS, ["compare.splits=3", "data.split=given"])


def test_a_job_cannot_change_after_loading() -> None:
    job: Job = load_job(DIGITS)
    with pytest.raises(ValueError, match="frozen"):
        job.gan.lr = 1.0
