"""The report stage: writes report.html, one page that needs no other file, from what the finished stages wrote.

First the figures are collected, as plain values: they are report.json. Then the pictures are drawn, and the template
lays both out.
"""

import time
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from ganaug_ray.augment.arms import TEACHER
from ganaug_ray.classify import augmentation_choice
from ganaug_ray.config import Job
from ganaug_ray.config.loader import dump_job
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.metrics_log import read_metrics
from ganaug_ray.core.records import DatasetRecord, GanRecord, ModelRecord, StageRecord, VerdictRecord, find_stage_record
from ganaug_ray.data.loading import image_store
from ganaug_ray.evaluate import model_plots, plots
from ganaug_ray.evaluate.metric_register import ACCURACY, METRICS, TABULATED, get_metric
from ganaug_ray.evaluate.targets import find_model
from ganaug_ray.gan.generator_verdict import MIN_COVERAGE, MIN_RECALL
from ganaug_ray.report import (
    arm_plots,
    arm_section,
    champion_section,
    class_section,
    gan_figures,
    gan_plots,
    gan_section,
    search_section,
    sources_section,
    template,
)
from ganaug_ray.report.downloads import MAX_ROWS
from ganaug_ray.report.picture_tiles import encode_tiles
from ganaug_ray.verdict import learning_curve

MAX_SAMPLE_CLASSES = 10  # shown of the training images, at most
SAMPLE_COLUMNS = 10
_MARKER_KEYS = ("hash", "inputs", "stage", "status", "seconds", "version", "versions")  # the rest are figures
_DATA_KEYS = ("source", "classes", "image_size", "channels", "counts", "rejected")
_CHOICE_KEYS = ("chosen", "metric", "scores", "sentence")


def write_report(
    run: experiment_dir.Run, job: Job, inputs: Mapping[str, str], advice: str | None = None
) -> experiment_dir.Record:
    """Write report.html and, as the stage's marker, report.json with the same figures.

    Args:
        run: with the verdict and what it is of.
        job: as run.
        inputs: hashes of what is reported, for the marker.
        advice: what to do next, in a sentence with commands in backticks.

    Returns:
        The marker.
    """
    started = time.monotonic()
    figures = {**collect_figures(run, job), "advice": advice}
    pictures = draw_pictures(run, figures)
    pictures["sources"] = sources_section.draw_sources(run, job, figures["sources"], figures["data"]["classes"])
    html = render_page(figures, pictures, dump_job(job)).encode()
    run.root.write_bytes("report.html", html)
    record = {"hash": experiment_dir.hash_content(html), "inputs": dict(inputs), **figures}
    return experiment_dir.write_marker(run.root, "report.json", "report", started, record)


def collect_figures(run: experiment_dir.Run, job: Job) -> experiment_dir.Record:
    """Collect every figure of the report as plain values; ``gan`` is None where no GAN was trained."""
    verdict = VerdictRecord.read(run.root)
    facts = DatasetRecord.read(run.dataset)
    markers = _read_markers(run, verdict)
    choice = augmentation_choice.find_choice(run) if augmentation_choice.needs_choice(job) else None
    return {
        "experiment": run.root.name,
        "about": job.about,
        "answered": f"{verdict.find_time(run.root):%-d %B %Y}",
        "images": sum(sum(counts.values()) for counts in facts.counts.values()),
        "verdict": _collect_verdict(verdict),
        "data": {key: getattr(facts, key) for key in _DATA_KEYS},
        "gan": gan_section.collect_gan(run, job, facts, markers),
        "sources": sources_section.collect_sources(run, job),
        **class_section.collect_classes(run, verdict, facts.classes),
        **arm_section.collect_arms(verdict, markers, job),
        **champion_section.collect_champion(run, verdict),
        "board": markers["board"].to_json() if "board" in markers else None,
        "augmentation": choice and {key: getattr(choice, key) for key in _CHOICE_KEYS},
        "sizes": markers["sizes"].to_json() if "sizes" in markers else None,
        "searches": search_section.read_searches(run.root),
        "time": _sum_stage_seconds(markers),
        "lineage": [{"stage": name, "hash": record.hash, "inputs": record.inputs} for name, record in markers.items()],
        "made_with": _list_versions(markers),
    }


def _collect_verdict(verdict: VerdictRecord) -> experiment_dir.Record:
    """The content of verdict.json without what every marker has; an older one lacks what came later."""
    content = {key: value for key, value in verdict.to_json().items() if key not in _MARKER_KEYS}
    titles = {arm: verdict.name_arm(arm) for arm in verdict.arms}
    return {"generators": [], "left_out": [], **content, "titles": titles}


def _list_versions(markers: Mapping[str, StageRecord]) -> list[str]:
    """Name and version of everything that any of the stages was made with."""
    versions: set[str] = set()
    for record in markers.values():
        versions.update(f"{name} {version}" for name, version in record.versions.items())
    return sorted(versions)


def _read_markers(run: experiment_dir.Run, verdict: VerdictRecord) -> dict[str, StageRecord]:
    """Markers of the finished stages this report tells of, in order, without itself and models that no arm counts.

    A teacher is among them: it screened the images that arms have.
    """
    compared = set()
    for arm, figures in verdict.arms.items():
        for repeat in figures.repeats:
            prefix = experiment_dir.format_split_prefix(repeat.split)
            compared.add(f"{prefix}models/{arm}/seed-{repeat.seed}")
    finished_markers = {}
    for name, folder, marker in run.list_markers():
        is_teacher = f"models/{TEACHER}/" in name
        if name == "report" or ("models/" in name and name not in compared and not is_teacher):
            continue
        if record := find_stage_record(folder, marker):
            finished_markers[name] = record
    return finished_markers


def _name_stage(record: StageRecord) -> str:
    if not isinstance(record, ModelRecord):
        return record.stage
    return "teach" if record.arm == TEACHER else f"train, {record.arm}"


def _sum_stage_seconds(markers: Mapping[str, StageRecord]) -> list[experiment_dir.Record]:
    """Seconds of each stage, those of an arm's models added up, and what its trainings cost by what they occupied."""
    rows: dict[str, experiment_dir.Record] = {}
    for record in markers.values():
        is_model = isinstance(record, ModelRecord) and record.arm != TEACHER
        stage_name = _name_stage(record)
        row = rows.setdefault(stage_name, {"stage": stage_name, "seconds": 0.0, "models": 0, "cost": {}})
        row["seconds"] = round(row["seconds"] + record.seconds, 2)
        row["models"] += is_model
        if isinstance(record, ModelRecord | GanRecord) and record.occupied:
            for unit, number in record.occupied.to_json().items():
                row["cost"][unit] = round(row["cost"].get(unit, 0.0) + number * record.seconds / 3600, 6)
    return list(rows.values())


def draw_pictures(run: experiment_dir.Run, figures: experiment_dir.Record) -> dict[str, Any]:
    """Draw the report's pictures: SVG elements and data URIs, by name."""
    verdict = VerdictRecord.read(run.root)
    classes = figures["data"]["classes"]
    pictures: dict[str, Any] = {
        **arm_section.draw_arms(figures["verdict"], figures["ratios"]),
        **champion_section.draw_champion(run, verdict, figures["evaluation"]),
        "samples": _draw_samples(run, classes),
        "learning": _draw_learning_curves(run, verdict),
        "arm_looks": dict(
            zip(map(verdict.name_arm, verdict.arms), _choose_line_styles(len(verdict.arms)), strict=True)
        ),
        **class_section.lay_out_classes(figures),
    }
    if figures["board"] is not None:
        rows = figures["board"]["models"]
        alt = "; ".join(f"{row['model']}: {100 * row[ACCURACY.key]['mean']:.1f} %" for row in rows)
        pictures["models"] = plots.encode_svg(
            model_plots.plot_models(rows), f"Test accuracy over seconds of training. {alt}"
        )
    if figures["sizes"] is not None:
        pictures["sizes"] = plots.encode_svg(
            arm_plots.plot_sizes(figures["sizes"]), learning_curve.describe_plot(figures["sizes"])
        )
    if figures["gan"] is not None:
        gan = run.root / figures["gan"]["folder"]
        rows = read_metrics(gan)
        beside = GanRecord.read(gan).beside_held_out
        pictures["gan_quality"] = gan_plots.draw_quality(rows, beside, figures["gan"]["chosen"]["step"])
        pictures["gan_training"] = gan_plots.draw_training(rows)
        pictures |= gan_section.collect_images(gan, figures["gan"], classes, figures["data"]["image_size"])
    return pictures


def _draw_samples(run: experiment_dir.Run, classes: list[str]) -> list[tuple[str, str]]:
    """(class, data URI of a strip of its first training images) of the first classes."""
    train = image_store.read_images(run.dataset / "train")
    samples = []
    for label, name in enumerate(classes[:MAX_SAMPLE_CLASSES]):
        samples.append((name, encode_tiles([train.images[train.labels == label]], SAMPLE_COLUMNS)))
    return samples


def _draw_learning_curves(run: experiment_dir.Run, verdict: VerdictRecord) -> list[Markup]:
    logs = {}
    for arm, figures in verdict.arms.items():
        logs[verdict.name_arm(arm)] = [read_metrics(find_model(run, arm, repeat)) for repeat in figures.repeats]
    svg_plots = []
    for key, title in (
        ("loss", "training loss"),
        ("val_loss", "validation loss"),
        ("accuracy", "training accuracy"),
        ("val_accuracy", "validation accuracy"),
    ):
        groups = _collect_curves(logs, key)
        if groups:
            svg_plots.append(plots.encode_svg(plots.plot_curves(groups, title), plots.describe_ends(groups, title)))
    return svg_plots


def _collect_curves(logs: Mapping[str, list[list[experiment_dir.Record]]], key: str) -> list[plots.CurveGroup]:
    """One figure's curves in the logs, a group an arm that has any."""
    groups = []
    for (arm, arm_logs), (colour, dashed) in zip(logs.items(), _choose_line_styles(len(logs)), strict=True):
        curves = [plots.extract_curve(rows, key) for rows in arm_logs]
        curves = [curve for curve in curves if curve]
        if curves:
            groups.append(plots.CurveGroup(arm, curves, colour, dashed))
    return groups


def _choose_line_styles(n: int) -> list[tuple[str, bool]]:
    """Colour, and whether it is dashed, of each of so many arms: twice as many are told apart as there are colours."""
    colour_count = len(plots.COLOURS)
    return [(plots.COLOURS[i % colour_count], i // colour_count % 2 == 1) for i in range(n)]


def render_top(run: experiment_dir.Run) -> str:
    """Return the HTML of a page with the answer alone, from the figures of a written report."""
    figures = run.root.read_json("report.json")
    return render_page(figures, arm_section.draw_arms(figures["verdict"], figures["ratios"]), "", "top.html")


def render_page(
    figures: experiment_dir.Record, pictures: Mapping[str, Any], job: str, name: str = "report.html"
) -> str:
    """Return the HTML of the report, or of another template that shows some of it."""
    return template.render_template(
        name,
        **figures,
        pictures=pictures,
        job=job,
        search_sections=[search_section.build_section(record) for record in figures["searches"].values()],
        get_metric=get_metric,
        metrics=METRICS,
        tabulated_metrics=TABULATED,
        sample_classes=MAX_SAMPLE_CLASSES,
        gan_figures=gan_figures,
        least_shares={"coverage": MIN_COVERAGE["amber"], "recall": MIN_RECALL["amber"]},
        max_rows=MAX_ROWS,
    )
