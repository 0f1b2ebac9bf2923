"""The pages of searches: right for one trial and for many, for failures, and for settings that some trials lack."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ganaug_ray.report import search_plots, search_scales, search_section, search_space_plots
from tests.helpers.searches import record
from tests.unit.report.test_report import REAL, Experiment, Page


def pictures(html: str) -> list[str]:
    return [own["aria-label"] or "" for tag, own in Page(html).tags if tag == "svg" and "aria-label" in own]


@pytest.mark.parametrize("kind", ["gan", "mix", "classifier"])
def test_search_page_is_self_contained(kind: str) -> None:
    """The page of a search needs no other file, opens with the result and lists every outcome."""
    found = record(kind, 8, failed=(3,), stopped=(4, 5))
    html = search_section.render_search_page(found)
    page = Page(html)
    for tag, own in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "base", "img")
        assert all((own.get(key) or "#").startswith("#") for key in ("src", "href", "xlink:href", "srcset"))
    assert not re.search(r"https?://|@import|url\((?!#)", html)
    assert page.text.index(found["sentence"]) < page.text.index("trials 8")
    assert "finished 5" in page.text
    assert "stopped 2" in page.text
    assert f"trial {found['best']['trial']}:" in page.text
    assert "0003 out of memory <on> the GPU" in page.text


def test_every_search_kind_has_pictures() -> None:
    """Searches of GAN, mix and classifier each have the pictures that fit them."""
    drawn = {
        kind: pictures(search_section.render_search_page(record(kind, 6))) for kind in ("gan", "mix", "classifier")
    }
    assert [any("over optimizer steps" in label for label in own) for own in drawn.values()] == [True, False, False]
    assert [any("over the ratio" in label for label in own) for own in drawn.values()] == [False, True, False]
    for kind, own in drawn.items():
        assert any("so far over time" in label for label in own)
        for key in record(kind, 1)["space"]:
            assert any(f"over {key}, 6 trials" in label for label in own) == (key != "gan.epochs"), "a slice a setting"
    assert "seconds of 6 trials: 114 in all" in drawn["gan"]
    assert "steps of 6 trials: 2,400 in all" in drawn["gan"]


@pytest.mark.parametrize("kind", ["gan", "mix", "classifier"])
def test_search_page_with_single_trial(kind: str) -> None:
    """A search with a single trial has a page."""
    assert "trials 1" in Page(search_section.render_search_page(record(kind, 1))).text


def test_search_page_lists_failure_reasons() -> None:
    """Where every trial failed, the page says so and gives the reasons."""
    found = record("gan", 3, failed=(0, 1, 2))
    found["trials"][1]["reason"] = "the loss was not finite"
    page = search_section.render_search_page(found)
    text = Page(page).text
    assert "No trial finished." in text
    assert "0000, 0002 out of memory" in text
    assert "0001 the loss was not finite" in text
    assert "The best is" not in text
    assert not any("so far" in label for label in pictures(page)), "there is no value to draw"


def test_search_page_lists_best_fifty() -> None:
    """Of very many trials the page lists the best fifty, and failed ones with their reason."""
    found = record("mix", 200, failed=tuple(range(7, 200, 10)), stopped=tuple(range(3, 200, 3)))
    rows = search_section.build_section(found)["rows"]
    assert [row["trial"] for row in rows][:1] == [found["best"]["trial"]]
    values = [row["value"] for row in rows[1:]]
    assert values == sorted(values, reverse=True)
    text = Page(search_section.render_search_page(found)).text
    assert "The best 50 of 200 trials" in text
    assert text.count("0007") == 1, "a failed trial is not among the best, but named with its reason"


def test_missing_setting_appears_as_dash() -> None:
    """A setting that a trial lacks is a dash in the table and marked as not set in the plot."""
    found = record("mix", 4)
    rows = {row["trial"]: row for row in search_section.build_section(found)["rows"]}
    assert rows["0001"]["settings"][1:] == ["pretrain", "–"]
    assert rows["0002"]["settings"][2] != "–"
    words = {text.get_text() for text in search_space_plots.plot_parallel(found).axes[0].texts}
    assert "not set" in words
    everywhere = record("classifier", 4)
    assert "not set" not in {text.get_text() for text in search_space_plots.plot_parallel(everywhere).axes[0].texts}
    drawn = search_space_plots.plot_slice(found, "augment.weight").axes[0].lines
    assert len(drawn) == sum("augment.weight" in one["settings"] for one in found["trials"]) == 1


def test_best_so_far_never_gets_worse() -> None:
    """The line of the best value so far never gets worse and ends at the best trial."""
    found = record("gan", 12, stopped=(2, 5))
    found["trials"][2]["value"] = 0.001  # a lucky early look: stopped trials cannot be chosen
    axes = search_plots.plot_best_so_far(found).axes[0]
    (line,) = [own for own in axes.lines if own.get_drawstyle() == "steps-post"]
    values = list(line.get_ydata())
    assert values == sorted(values, reverse=True)
    assert values[-1] == found["best"]["value"]


def test_ratio_plot_shows_seed_intervals() -> None:
    """The plot over the ratio has intervals over seeds, and the baseline as a level line."""
    found = record("mix", 3)
    axes = search_plots.plot_ratio(found).axes[0]
    (level,) = [own for own in axes.lines if own.get_linestyle() == "--" or len(set(own.get_xdata())) == 2]
    assert level.get_ydata()[0] == pytest.approx(60)
    spans = [list(own.get_ydata()) for own in axes.lines if len(own.get_ydata()) == 2 and own is not level]
    # Scores 89, 90 and 91 %: a standard error of 1 / sqrt(3) points, and t of 4.303 with two degrees of freedom.
    assert any(span == pytest.approx([90 - 2.484, 90 + 2.484], abs=0.001) for span in spans)


def test_early_stopping_savings_exclude_failures() -> None:
    """The page says how many steps early stopping saved, and failed trials do not count as saving."""
    text = Page(search_section.render_search_page(record("gan", 5, failed=(4,), stopped=(2, 3)))).text
    assert (
        "All trials took 1,100 optimizer steps, 55.0 % of the 2,000 that all of them at full length would have taken."
        in text
    )
    assert "Stopping early saved 600." in text
    assert "saved" not in Page(search_section.render_search_page(record("gan", 4, failed=(0,)))).text


@pytest.mark.parametrize(
    ("rule", "values", "places"),
    [
        ({"log_uniform": [1e-4, 1e-2]}, [1e-3], [0.5]),
        ({"uniform": [0, 4]}, [1], [0.25]),
        ({"integers": [1, 5]}, [5], [1.0]),
        ({"choice": [80, None, [1, 2], True]}, [80.0, None, [1, 2], True], [0.125, 0.375, 0.625, 0.875]),
        ({"uniform": [1, 2]}, [0], [0.0]),  # beyond the rule, as a search's first settings may be
        ({"log_uniform": [1, 10]}, [0], [None]),
    ],
)
def test_setting_scales_follow_their_rule(rule: dict[str, Any], values: list[Any], places: list[Any]) -> None:
    """Settings are placed on an axis by their rule: uniform, logarithmic, integers or a choice."""
    scale = search_scales.build_setting_scale(rule, values)
    assert [scale.locate_value(value) for value in values] == [
        place if place is None else pytest.approx(place) for place in places
    ]
    assert all(-1e-9 <= place <= 1 + 1e-9 for place, _ in scale.list_ticks())


def test_report_has_section_per_search(tmp_path: Any) -> None:
    """The report of an experiment has a section for each of its searches."""
    experiment = Experiment(tmp_path, ["cat", "dog"], [REAL])
    before = experiment.report()
    assert "Search: " not in before
    assert experiment.figures()["searches"] == {}
    for kind in ("mix", "gan"):
        (experiment.run.root / f"search/{kind}").write_json("search.json", record(kind, 3))
    html = experiment.report()
    headings = [text for text in ("Search: the GAN", "Search: the mix", "Search: the classifier") if text in html]
    assert headings == ["Search: the GAN", "Search: the mix"]
    assert experiment.figures()["searches"]["gan"]["best"]["trial"] == "0001"


def test_page_names_the_algorithm() -> None:
    """The record has the words; a record of an earlier version has only the setting."""
    search = record("gan", 3)
    assert "proposed by TPE" in Page(search_section.render_search_page(search)).text
    del search["proposed_by"], search["curve_note"]
    assert "proposed by tpe" in Page(search_section.render_search_page(search)).text
    population = search | {"proposed_by": "chance, then a population", "curve_note": "There the worst went on."}
    text = Page(search_section.render_search_page(population)).text
    assert "proposed by chance, then a population" in text
    assert "Dotted: where trials are compared. There the worst went on." in text
