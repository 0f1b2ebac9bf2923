"""The verdict is what scipy says of the predictions, by one rule, and test rows decide nothing but the last word."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import integrate, stats

from ganaug_ray.verdict import choices, per_class
from ganaug_ray.verdict import verdict as rule
from ganaug_ray.verdict.outcomes import Outcome, Predictions
from ganaug_ray.verdict.per_class import find_gaining_classes
from ganaug_ray.verdict.split_overlap import SplitOverlap

ROWS = 1000
CLASSES = ["cat", "dog"]
APART = SplitOverlap(train=0.0, chosen_on=0.0, tested=2 * ROWS)


def answers(accuracy: float, loss: float = 1.0) -> Predictions:
    labels = np.arange(ROWS) % 2
    wrong = np.arange(ROWS) >= round(accuracy * ROWS)
    return Predictions(labels, np.where(wrong, 1 - labels, labels), 2, _score(wrong, loss))


def _score(wrong: np.ndarray, loss: float) -> dict[str, np.ndarray]:
    scores = {key: wrong.astype(float) for key in ("calibrated_cross_entropy", "calibrated_brier")}
    return {"cross_entropy": np.full(ROWS, loss), **scores}


def arm(tests: Sequence[Any], vals: Sequence[Any] | None = None) -> list[Outcome]:
    """Models with these accuracies: a list of seeds, or one a split."""
    by_split = np.atleast_2d(tests)
    on_val = np.full(by_split.shape, 0.5) if vals is None else np.atleast_2d(vals)
    return [
        Outcome(split, seed, answers(on_val[split, seed]), answers(test))
        for split, row in enumerate(by_split)
        for seed, test in enumerate(row)
    ]


def verdict(
    real: list[Outcome], metric: str = "accuracy", controls: Sequence[str] = (), rare: Sequence[str] = (), **arms: Any
) -> dict[str, Any]:
    candidates = [name for name in arms if name not in controls]
    several = len({outcome.split for outcome in real}) > 1
    outcomes = {"real": real, **arms}
    return rule.build_verdict(outcomes, "real", candidates, metric, CLASSES, rare, APART if several else None)


REAL = [0.80, 0.82, 0.81]
GOOD, BAD, MIXED = [0.85, 0.86, 0.88], [0.75, 0.76, 0.78], [0.85, 0.78, 0.82]


@pytest.mark.parametrize(
    ("tests", "expected", "words"),
    [
        (GOOD, "helped", "Use the synthetic images: they raised accuracy from 81.0 % to 86.3 % (+5.3, 95 % interval"),
        (BAD, "hurt", "Do not use the synthetic images: they lowered accuracy from 81.0 % to 76.3 % (-4.7, 95 %"),
        (
            MIXED,
            "unclear",
            "Unclear whether the synthetic images help: accuracy went from 81.0 % to 81.7 % (+0.7, 95 %",
        ),
        ([0.83, 0.85, 0.84], "helped", "(+3.0, 95 % interval"),  # equal differences have the rows' interval
        (REAL, "no worthwhile gain", "Do not use the synthetic images: accuracy stayed at about 81.0 % (+0.0, 95 %"),
        (REAL[:2], "not enough repeats", "An answer needs 3 seeds of one split, or 3 splits (compare.seeds, compare."),
    ],
)
def test_verdict_follows_confidence_interval(tests: list[float], expected: str, words: str) -> None:
    """The verdict and its sentence follow from where the confidence interval lies."""
    found = verdict(arm(REAL[: len(tests)]), syn=arm(tests))
    assert found["verdict"] == found["comparisons"][0]["verdict"] == expected
    assert words in " ".join([found["sentence"], found["action"], found["details"]])
    assert ("trained with them" in found["action"]) == (expected == "helped")
    assert (found["splits"], found["seeds"]) == (1, len(tests))


@pytest.mark.parametrize(
    ("tests", "words"),
    [
        (GOOD, "Use images from made: they raised"),
        (BAD, "Do not use images from made: they lowered"),
        (REAL, "Do not use images from made: accuracy stayed"),
        (MIXED, "Unclear whether images from made help: "),
    ],
)
def test_sentence_names_the_source(tests: list[float], words: str) -> None:
    """The sentence says what was added, and from where if not from here."""
    additions = {"syn": "images from made"}
    outcomes = {"real": arm(REAL), "syn": arm(tests)}
    found = rule.build_verdict(
        outcomes, "real", ["syn"], "accuracy", CLASSES, additions=additions, fixed_additions=["images from made"]
    )
    assert found["sentence"].startswith(words)
    assert "The interval takes images from made as given" in found["covers"]


def test_seeds_within_split_are_averaged() -> None:
    """Over several splits, seeds of one split are averaged and count as no independent evidence."""
    real = np.array([[0.80, 0.82], [0.75, 0.77], [0.78, 0.80]])
    gains = np.array([[0.03, 0.05], [0.01, 0.02], [0.03, 0.02]])
    found = verdict(arm(real), syn=arm(real + gains))
    (own,) = found["comparisons"]
    assert own["differences"] == pytest.approx(gains.ravel())
    assert own["by_split"] == pytest.approx(gains.mean(1))
    assert own["ci95"][0] < 0.0267 < own["ci95"][1]
    assert own["df"] == 2, "of three splits"
    assert "3 splits with 2 seeds each" in found["details"]
    assert found["smallest_visible_gain"] == own["smallest_visible_gain"]


def test_verdict_describes_interval_coverage() -> None:
    """The verdict says which kinds of chance its interval covers."""

    def covers(real: list[Outcome], overlap: SplitOverlap | None, *arms: str) -> str:
        outcomes = {"real": real, **dict.fromkeys(arms, real)}
        return rule.build_verdict(outcomes, "real", list(arms), "accuracy", CLASSES, (), overlap)["covers"]

    assert "McNemar" in covers(arm([0.8]), None, "a")
    assert "another training of the GAN" in covers(arm(REAL), None, "a")
    assert "share one split" in covers(arm(REAL), None, "a")
    assert "Two splits say too little about chance" in covers(arm([REAL, REAL]), APART, "a")
    three = arm([REAL, REAL, REAL])
    assert "share" not in covers(three, APART, "a")
    assert "Two splits share 40 % of their training images" in covers(three, replace(APART, train=0.4), "a")
    seen = replace(APART, chosen_on=0.2)
    assert "In other splits, 20 % of the test images are validation images" in covers(three, seen, "a", "b")
    assert "20 %" not in covers(three, seen, "a"), "a single candidate is not chosen on anything"


def test_arm_is_chosen_on_validation_alone() -> None:
    """The one that is better on test is not chosen, and reported all the same."""
    vals = [0.7, 0.9, 0.8]
    found = verdict(
        arm(REAL, vals), modest=arm(MIXED, [0.8, 0.9, 0.9]), lucky=arm(GOOD, vals), noise=arm(GOOD, [1, 1, 1]),
        controls=["noise"],
    )  # fmt: skip
    assert found["chosen"]["arm"] == "modest"
    assert found["chosen"]["metric"] == "calibrated_cross_entropy", "a smoother score than accuracy"
    assert found["chosen"]["values"] == pytest.approx({"modest": 0.4 / 3, "lucky": 0.2})
    assert found["verdict"] == "unclear"
    assert "Of 2 candidates, the one that did best on validation is judged." in found["details"]
    assert {c["arm"]: (c["role"], c["verdict"]) for c in found["comparisons"]} == {
        "modest": ("chosen", "unclear"), "lucky": ("candidate", "helped"), "noise": ("control", "helped"),
    }  # fmt: skip
    assert (found["champion"]["arm"], found["champion"]["seed"]) == ("real", 1)


def test_cross_entropy_breaks_accuracy_ties() -> None:
    """Of equally accurate candidates the one with the lower cross-entropy is chosen."""
    sure = [replace(outcome, val=answers(0.5, loss=0.5)) for outcome in arm(BAD)]
    assert verdict(arm(REAL), doubtful=arm(GOOD), sure=sure)["chosen"]["arm"] == "sure"


def test_other_candidates_are_corrected_together() -> None:
    """Each alone would have helped; of five that look alike one is likelier to do so by luck."""
    nearly, vals = [0.83, 0.86, 0.86], [0.9, 0.9, 0.9]
    assert verdict(arm(REAL), one=arm(nearly))["verdict"] == "helped"
    found = verdict(arm(REAL), best=arm(MIXED, vals), **{f"other{i}": arm(nearly) for i in range(5)})
    for own in found["comparisons"][1:]:
        assert own["p"] < 0.05 < own["p_adjusted"]
        assert own["verdict"] == "unclear"
    alone = verdict(arm(REAL), controls=["noise"], best=arm(MIXED, vals), noise=arm(nearly))["comparisons"][1]
    assert (alone["p"], alone["verdict"]) == (alone["p_adjusted"], "helped"), "a control stands by itself"


def test_many_candidates_need_larger_gain() -> None:
    """They are chosen by the models that are tested, and controls are none of them."""
    nearly, vals = [0.83, 0.86, 0.86], [0.9, 0.9, 0.9]
    few = verdict(arm(REAL), controls=["noise"], best=arm(nearly, vals), other=arm(MIXED), noise=arm(MIXED))
    many = verdict(arm(REAL), best=arm(nearly, vals), **{f"other{i}": arm(MIXED) for i in range(5)})
    assert (few["verdict"], many["verdict"]) == ("helped", "unclear")
    (one, *_), (other, *_) = few["comparisons"], many["comparisons"]
    assert other["p_adjusted"] == pytest.approx(3 * one["p_adjusted"]), "six candidates, and two"
    assert other["ci95"][0] < 0 < one["ci95"][0]
    assert many["smallest_visible_gain"] > few["smallest_visible_gain"]
    assert many["champion"]["arm"] == "real"
    assert "best of 6" in many["covers"]
    assert "best of 2" in few["covers"]


def test_more_candidates_widen_the_interval() -> None:
    """Candidates that were compared on the same images before count as rivals, and the page says so."""
    outcomes = {"real": arm(REAL), "syn": arm(GOOD)}
    alone, after = (rule.build_verdict(outcomes, "real", ["syn"], "accuracy", CLASSES, ever_compared=n) for n in (1, 4))
    assert after["comparisons"][0]["p_adjusted"] == pytest.approx(4 * alone["comparisons"][0]["p_adjusted"])
    assert after["comparisons"][0]["ci95"][0] < alone["comparisons"][0]["ci95"][0]
    assert "best of 4" in after["covers"]


@pytest.mark.parametrize("tests", [GOOD, BAD, MIXED])
def test_worthwhile_gain_leaves_interval_as_it_is(tests: list[float]) -> None:
    """Neither the interval nor the limit of the gain depends on what is worthwhile, so it may change at no price.

    The word is what these two say of the new gain.
    """
    outcomes = {"real": arm(REAL), "syn": arm(tests)}
    words = set()
    estimates = set()
    for worthwhile in (0.001, 0.01, 0.05, 0.2):
        content = rule.build_verdict(outcomes, "real", ["syn"], "accuracy", CLASSES, worthwhile=worthwhile)
        (comparison,) = content["comparisons"]
        estimates.add((*comparison["ci95"], comparison["gain_limit"]))
        low, high = comparison["ci95"]
        expected = "hurt" if high < 0 else "helped" if low > 0 else "unclear"
        if comparison["gain_limit"] < worthwhile and expected != "hurt":
            expected = "no worthwhile gain"
        assert content["verdict"] == expected
        words.add(expected)
    assert len(estimates) == 1
    assert (len(words) > 1) == (tests is not BAD)


@pytest.mark.parametrize(("tests", "name"), [(GOOD, "syn"), (MIXED, "real"), (BAD, "real")])
def test_champion_uses_synthetic_images_if_helpful(tests: list[float], name: str) -> None:
    """The champion is trained with added images only where the verdict says that they helped."""
    vals = [0.7, 0.9, 0.8]
    found = verdict(arm(REAL, vals), syn=arm(tests, vals))["champion"]
    assert (found["arm"], found["split"], found["seed"]) == (name, 0, 1)
    assert found["figures"]["test"]["accuracy"] == pytest.approx((tests if name == "syn" else REAL)[1])
    assert found["figures"]["val"]["accuracy"] == 0.9


def test_champion_is_best_on_validation() -> None:
    """The champion is the best model on validation over all splits and seeds."""
    found = verdict(arm([REAL, REAL], [[0.7, 0.8, 0.7], [0.7, 0.7, 0.9]]))["champion"]
    assert (found["split"], found["seed"], found["repeat"]) == (1, 2, "split 1, seed 2")


def test_shuffled_test_labels_change_no_choice() -> None:
    """Only the verdict, and with it the champion's arm: neither the arm chosen nor any arm's best model."""
    rng = np.random.default_rng(0)

    def shuffled(outcomes: list[Outcome], order: np.ndarray) -> list[Outcome]:
        return [replace(o, test=replace(o.test, labels_N=o.test.labels_N[order])) for o in outcomes]

    arms = {
        name: arm(0.7 + 0.2 * rng.random((3, 2)), 0.7 + 0.2 * rng.random((3, 2))) for name in ("real", "a", "b", "c")
    }
    before = verdict(arms["real"], a=arms["a"], b=arms["b"], c=arms["c"])
    seen = set()
    for _ in range(20):
        order = rng.permutation(ROWS)
        own = {name: shuffled(outcomes, order) for name, outcomes in arms.items()}
        after = verdict(own["real"], a=own["a"], b=own["b"], c=own["c"])
        seen.add(after["comparisons"][0]["mean"])
        assert after["chosen"] == before["chosen"]
        best = {name: choices.choose_champion({name: own[name]}, name, None, "accuracy") for name in own}
        for name, champion in best.items():
            expected = choices.choose_champion({name: arms[name]}, name, None, "accuracy")
            assert (champion["split"], champion["seed"]) == (expected["split"], expected["seed"])
        assert after["champion"]["split"] == best[after["champion"]["arm"]]["split"]
        assert find_gaining_classes(own["a"], own["real"], CLASSES) == find_gaining_classes(
            arms["a"], arms["real"], CLASSES
        )
    assert len(seen) > 10, "they were shuffled"


def test_only_chosen_metric_decides() -> None:
    """Other metrics are reported, and one decides only where the job chooses it."""
    real, syn = arm(REAL), arm(GOOD)
    by_accuracy = verdict(real, syn=syn, rare=["dog"])
    others = ["macro_f1", "rare_f1", "calibrated_cross_entropy", "calibrated_brier"]
    assert [c["metric"] for c in by_accuracy["other_metrics"]] == others
    assert {c["verdict"] for c in by_accuracy["other_metrics"][2:]} == {"helped"}, "scores fall where answers improve"
    by_score = verdict(real, "calibrated_cross_entropy", syn=syn)
    assert by_score["verdict"] == "helped"
    assert "they lowered cross-entropy after calibration from 0." in by_score["sentence"]
    assert "(-0.053, 95 % interval -" in by_score["sentence"]
    assert by_score["comparisons"][0]["ci95"][0] < 0
    by_f1 = verdict(real, "macro_f1", syn=syn)
    assert by_accuracy["other_metrics"][0] == by_f1["comparisons"][0]
    assert "macro-F1" in by_f1["sentence"]
    assert by_accuracy["arms"]["syn"]["mean"]["rare_f1"] == pytest.approx(np.mean(GOOD), abs=0.01)


def test_every_model_pair_has_mcnemar_test() -> None:
    """Every pair of models with the same split and seed has its McNemar test."""
    pairs = verdict(arm([[0.8, 0.8], [0.8, 0.8]]), syn=arm([[0.9, 0.7], [0.8, 0.81]]))["pairs"]
    assert [(p["split"], p["seed"], p["ours_alone"], p["theirs_alone"]) for p in pairs] == [
        (0, 0, 100, 0), (0, 1, 0, 100), (1, 0, 0, 0), (1, 1, 10, 0),
    ]  # fmt: skip
    assert [p["p"] for p in pairs] == pytest.approx([2 * 0.5**100, 2 * 0.5**100, 1, 2 * 0.5**10])


def test_without_candidate_there_is_no_verdict() -> None:
    """Without a candidate there is a champion but no verdict."""
    alone = verdict(arm(REAL))
    assert (alone["verdict"], alone["chosen"], alone["champion"]["arm"]) == (None, None, "real")
    assert "only arm" in alone["champion"]["reason"]
    controlled = verdict(arm(REAL), oversample=arm(GOOD), controls=["oversample"])
    assert (controlled["verdict"], controlled["champion"]["arm"]) == (None, "real")
    assert controlled["comparisons"][0]["verdict"] == "helped"


def four_classes(seed: int, better: float) -> Outcome:
    """Of four classes in turn the last is recognised better than the others' 60 %, on validation and on test."""
    rng = np.random.default_rng(seed)
    labels = np.arange(400) % 4
    right = rng.random(400) < np.where(labels == 3, better, 0.6)
    predicted = np.where(right, labels, (labels + 1 + rng.integers(0, 3, 400)) % 4)
    keys = ("cross_entropy", "calibrated_cross_entropy", "calibrated_brier")
    own = Predictions(labels, predicted, 4, dict.fromkeys(keys, np.ones(400)))
    return Outcome(seed % 100, 0, own, own)


def test_small_class_has_wide_interval() -> None:
    """Where all answers of a class agree, four test images leave more possible than a thousand."""
    labels = np.array([0] * 1000 + [1] * 4)
    right = Predictions(labels, labels, 2, _score(np.zeros(len(labels)), 1.0))
    models = [Outcome(0, seed, right, right) for seed in range(3)]
    rows = per_class.compare_classes(models, models, CLASSES)
    many, few = (row["recall"]["ci95"] for row in rows)
    half_of_two = 1.96 * np.sqrt(2) / 4  # two of the four rows answered differently
    assert few == pytest.approx((-half_of_two, half_of_two), rel=0.02)
    assert many[1] < 0.01
    assert [row["verdict"] for row in rows] == ["no worthwhile gain", "unclear"]


def test_only_gaining_class_is_found() -> None:
    """The class that gains from added images is found, and no other."""
    names = ["a", "b", "c", "d"]
    ours, theirs = ([four_classes(k + base, f) for k in range(6)] for base, f in ((0, 0.9), (100, 0.6)))
    found = rule.build_verdict({"real": theirs, "syn": ours}, "real", ["syn"], "accuracy", names, ["d"], APART)
    rows = {row["class"]: row for row in found["classes"]["syn"]}
    assert [name for name in names if rows[name]["verdict"] == "helped"] == ["d"]
    assert [name for name in names if rows[name]["rare"]] == ["d"]
    recalls = [
        np.mean(o.test.predicted_N[o.test.labels_N == 3] == 3) - np.mean(t.test.predicted_N[t.test.labels_N == 3] == 3)
        for o, t in zip(ours, theirs, strict=True)
    ]
    recall = rows["d"]["recall"]
    assert recall["mean"] == pytest.approx(np.mean(recalls))
    assert recall["p_adjusted"] == pytest.approx(4 * recall["p"]), "the smallest of a family of four"
    assert "d" in find_gaining_classes(ours, theirs, names)
    assert find_gaining_classes(theirs, ours, names).count("d") == 0
    assert find_gaining_classes(ours[:1], theirs[:1], names) == [], "of a single model nothing can be said"


def draw_tables(skill: float, splits: int, rows: int, classes: int = 3) -> dict[str, list[pa.Table]]:
    """Predictions of validation and test rows, one table a split: of a baseline, and of an arm of another skill."""
    rng = np.random.default_rng(5)
    tables: dict[str, list[pa.Table]] = {"real": [], "syn": []}
    for _ in range(splits):
        labels = rng.integers(0, classes, 2 * rows)
        noise = rng.normal(size=(2 * rows, classes))
        for name, own_skill in (("real", 1.0), ("syn", skill)):
            logits = own_skill * np.eye(classes)[labels] + noise + 0.5 * rng.normal(size=noise.shape)
            said = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            flat = pa.FixedSizeListArray.from_arrays(pa.array(said.astype(np.float32).ravel()), classes)
            columns = {"split": ["val"] * rows + ["test"] * rows, "label": labels, "probabilities": flat}
            tables[name].append(pa.table(columns))
    return tables


def judge_by_hand(mean: float, p: float, p_worthwhile: float) -> str:
    if p < 0.05 and mean < 0:
        return "hurt"
    if p_worthwhile < 0.05:
        return "no worthwhile gain"
    return "helped" if p < 0.05 else "unclear"


@pytest.mark.parametrize(
    ("skill", "splits", "worthwhile", "word"),
    [
        (3.0, 4, 0.01, "helped"),
        (3.0, 4, 0.5, "no worthwhile gain"),  # a gain, and for sure too small
        (1.0, 4, 0.2, "no worthwhile gain"),
        (1.1, 4, 0.05, "unclear"),
        (0.2, 4, 0.01, "hurt"),
        (1.1, 6, 0.05, "no worthwhile gain"),
    ],
)
def test_verdict_is_reproducible_from_predictions(skill: float, splits: int, worthwhile: float, word: str) -> None:
    """From tables of predictions, by sums written out here and adaptive quadrature; without any of the rule's code."""
    rows = 60
    tables = draw_tables(skill, splits, rows)
    outcomes = {name: [Outcome.from_table(own, k, 0) for k, own in enumerate(each)] for name, each in tables.items()}
    stored = rule.build_verdict(outcomes, "real", ["syn"], "accuracy", ["a", "b", "c"], (), APART, worthwhile)

    def hits(table: pa.Table) -> np.ndarray:
        test = [row for row in table.to_pylist() if row["split"] == "test"]
        return np.array([np.argmax(row["probabilities"]) == row["label"] for row in test], float)

    c_JN = np.array([hits(ours) - hits(theirs) for ours, theirs in zip(tables["syn"], tables["real"], strict=True)])
    d_J = c_JN.mean(1)
    (comparison,) = stored["comparisons"]
    assert comparison["differences"] == pytest.approx(d_J)
    within = c_JN.var(1, ddof=1).mean() / rows + splits * 2 / (splits * rows) ** 2
    between = d_J.var(ddof=1)

    def density(root: float) -> float:
        times = 1 + root**2
        likely = stats.gamma.pdf(between, (splits - 1) / 2, scale=2 * within * times / (splits - 1))
        return float(likely / (1 + root))

    ends = [0, 1, 10, 100, 1000]

    def integrate_roots(function: Callable[[float], float]) -> float:
        return sum(integrate.quad(function, low, high, limit=200)[0] for low, high in itertools.pairwise(ends))

    def compute_tail(distance: float) -> float:
        """The chance of an error at least so large, to one side."""

        def weigh(root: float) -> float:
            scale = np.sqrt(within * (1 + root**2) / splits)
            return density(root) * float(stats.t.sf(distance / scale, splits * rows - splits))

        return integrate_roots(weigh) / integrate_roots(density)

    mean = d_J.mean()
    assert comparison["mean"] == pytest.approx(mean)
    share = 0.85 if splits >= 6 else 1.0  # of the level, of an interval over many splits
    assert 2 * compute_tail(comparison["ci95"][1] - mean) == pytest.approx(share * 0.05, abs=0.002)
    assert comparison["ci95"][0] == pytest.approx(2 * mean - comparison["ci95"][1])
    # A gain is ruled out at 0.85 of five percent, to one side.
    assert compute_tail(comparison["gain_limit"] - mean) == pytest.approx(0.85 * 0.05, abs=0.002)
    p = min(1.0, 2 * compute_tail(abs(mean)) / share)
    p_worthwhile = min(1.0, compute_tail(worthwhile - mean) / 0.85) if mean < worthwhile else 1.0
    assert comparison["p"] == pytest.approx(p, abs=0.002)
    assert comparison["p_worthwhile"] == pytest.approx(p_worthwhile, abs=0.003)
    assert stored["verdict"] == judge_by_hand(mean, p, p_worthwhile) == word
    ours, theirs = int((c_JN[1] > 0).sum()), int((c_JN[1] < 0).sum())
    assert stored["pairs"][1]["p"] == pytest.approx(stats.binomtest(ours, ours + theirs).pvalue)
