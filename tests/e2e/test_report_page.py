"""The report as a reader sees it: opened from disk in a browser, without a network."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganaug_ray.core.experiment_dir import Run
from tests.conftest import PATIENCE
from tests.helpers import browser
from tests.unit.report.test_report import REAL, SYNTHETIC, Experiment

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)"
)

QUIET = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"

MAX_HEIGHT_PX = 6000  # of the page at 1,200 pixels, before anything is unfolded

HIDDEN_TABLES = (  # those outside of folds of which a part lies beside the window
    "[...document.querySelectorAll('.tight, .arms')].map(table => table.closest('.scroll'))"
    ".filter(scroll => scroll.scrollWidth > scroll.clientWidth && !scroll.closest('details'))"
    ".map(scroll => scroll.ariaLabel)"
)


def chromium(profile: Path, *arguments: str) -> str:
    command = [str(CHROMIUM), *QUIET.split(), f"--user-data-dir={profile}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout


@pytest.mark.parametrize(("width", "scheme"), [(1100, "light"), (390, "dark")])
def test_report_fits_window_with_all_pictures(experiment: Run, tmp_path: Path, width: int, scheme: str) -> None:
    """The report fits a wide and a narrow window, and every picture is drawn."""
    report = experiment.root.read_bytes("report.html").decode()
    # A frame of the wanted width holds the page; a script beside it, not in it, measures.
    (tmp_path / "report.html").write_text(report)
    (tmp_path / "frame.html").write_text(f"""
        <iframe id=f src=report.html style="width:{width}px;height:6000px;border:0"></iframe>
        <pre id=out></pre>
        <script>f.onload = () => {{
            const page = f.contentDocument, pictures = [...page.images];
            out.textContent = JSON.stringify({{
                sideways: page.documentElement.scrollWidth - {width},
                pictures: pictures.length, broken: pictures.filter(p => !p.naturalWidth).length,
                heading: page.querySelector("h1").textContent.trim() }}) }}</script>""")
    page = (tmp_path / "frame.html").as_uri()
    dom = chromium(
        tmp_path / "profile", "--allow-file-access-from-files", "--virtual-time-budget=5000", "--dump-dom", page
    )
    found = re.search(r'"sideways":(-?\d+),"pictures":(\d+),"broken":(\d+),"heading":"([^"]*)"', dom)
    assert found, dom[-500:]
    sideways, pictures, broken = map(int, found.groups()[:3])
    assert sideways <= 0
    assert pictures >= 11, "ten classes and the samples of the GAN"
    assert broken == 0
    assert found[4].replace("−", "-").replace("&nbsp;", " ") == experiment.root.read_json("verdict.json")["sentence"]

    shot, dark = tmp_path / "shot.png", int(scheme == "light")
    chromium(
        tmp_path / "profile", f"--blink-settings=preferredColorScheme={dark}", f"--screenshot={shot}",
        f"--window-size={max(width, 500)},3000", (tmp_path / "report.html").as_uri(),
    )  # fmt: skip
    pixels = np.asarray(Image.open(shot).convert("L"))
    assert pixels.std() > 5, "not a blank page"
    assert (np.median(pixels) > 128) == (scheme == "light")


def test_report_is_read_in_a_few_screens(experiment: Run, tmp_path: Path) -> None:
    """With all folds closed, the page of ten classes has at most 6,000 pixels at a width of 1,200."""
    (tmp_path / "report.html").write_bytes(experiment.root.read_bytes("report.html"))
    with browser.tab(tmp_path / "profile") as tab:
        tab.show((tmp_path / "report.html").as_uri(), 1200, 900)
        tab.until("[...document.images].every(image => image.complete)")
        assert tab.run("document.querySelectorAll('h2').length") >= 7, "a page with all its sections"
        assert tab.run("document.documentElement.scrollHeight") <= MAX_HEIGHT_PX


@pytest.mark.parametrize(("classes", "arms"), [(2, 11), (50, 2), (50, 11)])
def test_many_classes_and_arms_stay_readable(tmp_path: Path, classes: int, arms: int) -> None:
    """Fifty classes and eleven arms keep within 6,000 pixels, and nothing of them lies beside a phone's window."""
    names = [f"bird species number {number}" for number in range(classes)]
    arm_names = [REAL, SYNTHETIC, *(f"half-{number}" for number in range(arms - 2))]
    Experiment(tmp_path / "birds", names, arm_names).report()
    with browser.tab(tmp_path / "profile") as tab:
        for width in (1200, 390):
            tab.show((tmp_path / "birds/report.html").as_uri(), width, 900)
            tab.until("[...document.images].every(image => image.complete)")
            assert tab.run("document.documentElement.scrollWidth") <= width
            assert tab.run(HIDDEN_TABLES) == [], width
            if width == 1200:
                assert tab.run("document.documentElement.scrollHeight") <= MAX_HEIGHT_PX


def test_long_class_names_fit_their_places(tmp_path: Path) -> None:
    """Names beside the images end where the images do, and no name hides a column of the table of classes."""
    names = [f"Tomato___Spider_mites Two-spotted_spider_mite, leaf {number}" for number in range(8)]
    Experiment(tmp_path / "leaves", names, [REAL, SYNTHETIC]).report()
    with browser.tab(tmp_path / "profile") as tab:
        for width in (1200, 390):
            tab.show((tmp_path / "leaves/report.html").as_uri(), width, 900)
            tab.until("[...document.images].every(image => image.complete)")
            names_end, images_end = tab.run(
                "['.rows', 'img'].map(s => document.querySelector(`.beside ${s}`).getBoundingClientRect().bottom)"
            )
            assert names_end <= images_end + 2
            assert tab.run(HIDDEN_TABLES) == [], width


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a page with two snapshots of a generator, and folds below its sections."""
    experiment = Experiment(tmp_path_factory.mktemp("page") / "demo", ["cat", "dog", "owl"], [REAL, SYNTHETIC])
    experiment.report()
    return (experiment.path / "report.html").as_uri()


def test_contents_stay_in_view_and_mark_the_section(page: str, tmp_path: Path) -> None:
    """However far the page is scrolled, the contents are in the window, and mark the section that is read."""
    with browser.tab(tmp_path / "profile") as tab:
        for width in (1200, 390):
            tab.show(page, width, 700)
            for section in ("generator", "classes", "answer"):
                tab.run(f"document.getElementById({section!r}).scrollIntoView()")
                tab.until(f"document.querySelector('.contents [aria-current]')?.hash === '#{section}'")
                top, bottom = tab.run(
                    "(box => [box.top, box.bottom])(document.querySelector('.contents').getBoundingClientRect())"
                )
                assert top >= 0, (width, section)
                assert bottom <= 700, (width, section)
                marked = tab.run("document.querySelectorAll('.contents [aria-current]').length")
                assert marked == 1


def test_address_unfolds_what_it_leads_into(page: str, tmp_path: Path) -> None:
    """An address that leads into a fold opens that fold, at once and when it is followed on the page."""
    folded = Path(tmp_path / "folded.html")
    html = Path(page.removeprefix("file://")).read_text(encoding="utf-8")
    folded.write_text(html.replace('<table class="quality">', '<table class="quality" id="quality">', 1))
    is_open = "document.getElementById('quality').closest('details').open"
    with browser.tab(tmp_path / "profile") as tab:
        tab.show(folded.as_uri(), 1200, 700)
        assert tab.run(is_open) is False
        tab.run("location.hash = 'quality'")
        tab.until(is_open)
        tab.show("about:blank#", 1200, 700)
        tab.call("Page.navigate", url=f"{folded.as_uri()}#quality")
        tab.until(f"document.readyState === 'complete' && location.hash === '#quality' && {is_open}")


def test_slider_shows_one_step_at_a_time(page: str, tmp_path: Path) -> None:
    """The slider shows the generated images of its step alone, and says which step that is."""
    shown = "[...document.querySelectorAll('.snapshots img[data-label]')].filter(i => i.checkVisibility())"
    with browser.tab(tmp_path / "profile") as tab:
        tab.show(page, 1200, 700)
        tab.until("document.querySelector('.snapshots input')?.checkVisibility()")
        assert tab.run(f"{shown}.map(image => image.dataset.label)") == ["40 (chosen)"]
        tab.run(
            "(slider => { slider.value = 0; slider.dispatchEvent(new Event('input')) })"
            "(document.querySelector('.snapshots input'))"
        )
        assert tab.run(f"{shown}.map(image => image.dataset.label)") == ["20"]
        assert tab.run("document.querySelector('.snapshots output').textContent") == "20"
