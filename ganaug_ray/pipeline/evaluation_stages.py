"""The stages that judge: the verdict, the compared models, evaluations, the report, the promotion."""

from __future__ import annotations

import functools
import shlex
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime

from ganaug_ray.augment import arms, usable_arms
from ganaug_ray.classify import compared_models
from ganaug_ray.core import experiment_dir, model_registry
from ganaug_ray.core.experiment_dir import Record, Run
from ganaug_ray.core.records import DatasetRecord, GanRecord, ModelRecord, VerdictRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import StageFailed, UserError
from ganaug_ray.evaluate import targets
from ganaug_ray.pipeline import generator_check, sequential_plan, size_experiments, training_stages
from ganaug_ray.pipeline.progress import read_fit_progress
from ganaug_ray.pipeline.stage import StageContext
from ganaug_ray.runtime import executors
from ganaug_ray.runtime.executors import Executor

# Ray and torch are imported by the stage that needs them: a finished run needs neither.


def compare_arms(context: StageContext) -> None:
    """Compare the arms' models and write verdict.json."""
    inputs = {}
    for split in context.splits:
        for arm, seed in arms.list_pairs(context.job):
            record = ModelRecord.find(split.run.locate_model(arm, seed))
            inputs[f"{split.number}/{arm}/seed-{seed}"] = context.require_record("train", record).hash
    for judged in usable_arms.judge_generators(context.job, context.run):
        for number, generator in judged.records.items():
            words = judged.verdicts[number].sentence
            inputs[f"{number}/{judged.name}"] = experiment_dir.compute_fingerprint(generator.hash, words)
    current = experiment_dir.compute_fingerprint(inputs, context.job.compare.model_dump())

    def work() -> VerdictRecord:
        from ganaug_ray.verdict import from_experiment

        started = time.monotonic()
        count = from_experiment.record_looks(context.job, context.run)
        if note := count.describe_price(len(arms.list_candidates(context.job)), context.job.compare.looks):
            context.terminal.print_stage_line("compare", "note", note)
        verdict = from_experiment.build_verdict(context.job, context.run, count)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        record = {"hash": current, "inputs": inputs, "answered_at": now, **verdict}
        return VerdictRecord.write(context.run.root, "compare", started, record)

    verdict = VerdictRecord.find(context.run.root)
    if verdict is not None and verdict.hash != current:
        verdict = None
    context.run_stage("compare", verdict, work, lambda record: f"{record.sentence} {record.action}".rstrip())


def compare_models(context: StageContext) -> None:
    """Train the models of the job's models section that are missing, compare them and write board.json."""
    pairs = compared_models.list_pairs(context.job)
    context.require_record("prepare", DatasetRecord.find(context.run.dataset))
    training_stages.require_augmentation(context)
    context = replace(context, job=context.settled_job)
    missing = [pair for pair in pairs if compared_models.read_marker(context.job, context.run, *pair) is None]

    def work() -> Record:
        from ganaug_ray.verdict.model_comparison import compare_models, time_models

        started = time.monotonic()
        if missing:
            _train_models(context, missing)
        speeds = context.call_on_device("measure", time_models, context.run, list(context.job.models))
        return compare_models(context.run, context.job, started, speeds)

    board = None if missing else experiment_dir.read_marker(context.run.root, compared_models.BOARD_MARKER)
    if board is not None and board["hash"] != compared_models.compute_fingerprint(context.job, context.run):
        board = None
    context.run_stage("compare-models", board, work, lambda record: record["sentence"])


def evaluate_models(context: StageContext, model: str | None = None, data: str | None = None) -> None:
    """Evaluate models on labelled images, and write each evaluation to evaluation/<model>/<images>/.

    Without ``model`` it is the champion, or every trained model where there is no verdict yet; without ``data``
    it is the experiment's own test images.
    """
    dataset = context.require_record("prepare", DatasetRecord.find(context.run.dataset))
    models = targets.list_models(context.run, context.job, model)
    context.require_record("train", dataset if models else None)
    for folder in models:
        target = targets.build_target(context.run, folder, data)
        if target.record.inputs.get("dataset") != DatasetRecord.read(target.home.dataset).hash:
            note = f"{folder} was trained on another data set, which may contain some of these images"
            context.terminal.print_stage_line("evaluate", "note", note)

        def work(target: targets.EvaluationTarget = target) -> Record:
            from ganaug_ray.evaluate.evaluate_model import evaluate_model
            from ganaug_ray.evaluate.test_images import read_other_images

            # No GPU is held while images are read.
            opened: AbstractContextManager[Executor] = nullcontext(executors.map_serially)
            if data:
                opened = context.open_executor()
            with (
                context.terminal.show_progress("evaluate", lambda: (0.0, target.name)),
                opened as executor,
                read_other_images(context.job.data, target, executor) as other_images,
            ):
                return context.call_on_device("evaluate", evaluate_model, target, context.job.seed, other_images)

        context.run_stage("evaluate", targets.read_finished(target), work, targets.describe_outcome)


def build_report(context: StageContext) -> None:
    """Write report.html and report.json from all that is finished; the champion is evaluated first."""
    verdict = context.require_record("compare", VerdictRecord.find(context.run.root))
    evaluate_models(context)

    def work() -> Record:
        from ganaug_ray.report.report import write_report

        return write_report(context.run, context.job, inputs, advise_next(context))

    (champion,) = targets.list_models(context.run, context.job)
    evaluated = targets.build_target(context.run, champion, None).out.read_json(targets.MARKER)
    # The verdict stands for the models and what they were made from: not for a GAN that no arm needs.
    inputs = {"verdict": verdict.hash, "evaluation": evaluated["hash"]}
    if gan := GanRecord.find(context.run.gan):
        inputs["gan"] = gan.hash
    if compared := experiment_dir.read_marker(context.run.root, compared_models.BOARD_MARKER):
        inputs["board"] = compared["hash"]
    if grown := size_experiments.read_curve(context.job, context.run) if context.job.compare.sizes else None:
        inputs["sizes"] = grown["hash"]
    for kind in ("gan", "mix", "classifier"):
        if (folder := context.run.root / f"search/{kind}").has_file("search.json"):
            inputs[f"search {kind}"] = folder.read_json("search.json")["hash"]
    if context.job.published:
        inputs["published"] = experiment_dir.compute_fingerprint(context.job.published.model_dump())
    marker = experiment_dir.read_marker(context.run.root, "report.json")
    is_current = marker is not None and marker["inputs"] == inputs and context.run.root.has_file("report.html")
    current_marker = marker if is_current else None
    context.run_stage("report", current_marker, work, lambda record: str(context.run.root / "report.html"))


def advise_next(context: StageContext) -> str | None:
    """Say which command comes after a verdict: one that would decide it, or the one that serves the champion.

    Where arms were left out since their generator is not usable, it is the one that would help that.
    """
    record = VerdictRecord.find(context.run.root)
    if record is None:
        return None
    if record.left_out and record.verdict is None:
        return generator_check.advise_next(context)
    advice = sequential_plan.advise_until_clear(context.job, context.run, record.verdict, context.arguments)
    if advice and (longer := generator_check.advise_longer(context)):
        return longer
    return advice or f"`ganaug serve {shlex.quote(str(context.run.root))}` serves the champion over HTTP"


def promote_champion(context: StageContext, force: bool = False) -> None:
    """Copy the champion's model to the registry as a new version, and make it the registry's champion.

    Args:
        context: the job, the experiment's folder and the terminal.
        force: promote the model even if the registry's champion does better, or the model was rolled back there.

    Raises:
        StageFailed: without force, the model does worse than the registry's champion, or was rolled back there.
        UserError: there is no verdict; or without force, the model cannot be compared with the registry's champion.
    """
    verdict = context.require_record("compare", VerdictRecord.find(context.run.root))
    champion = verdict.champion
    model = targets.find_champion(context.run, verdict)
    lineage = {
        "job": context.job.model_dump(exclude_none=True, exclude={"tracking"}),
        "arm": champion.arm,
        "split": champion.split,
        "seed": champion.seed,
        "reason": champion.reason,
        "verdict": verdict.verdict,
        "sentence": verdict.sentence,
        "figures": champion.figures,
        "inputs": ModelRecord.read(model).inputs,
    }
    if verdict.generators:
        lineage["generator"] = " ".join(judged.sentence for judged in verdict.generators)
    registry = model_registry.locate_job_registry(context.job, context.run)
    marker = experiment_dir.read_marker(registry, "champion.json")
    current_marker = marker if marker and marker["lineage"] == lineage else None
    home = context.run.locate_split(champion.split)

    def judge(current: Record | None) -> Record:
        return {} if current is None else _judge_by_champion(context, home, model, registry, current, force)

    def complete(version: Folder) -> None:
        from ganaug_ray.verdict import promotion_gate

        promotion_gate.write_seen_images(home, version)
        _add_onnx(context, version)

    def work() -> Record:
        return model_registry.promote_model(registry, model, lineage, complete, judge)

    def outcome(record: Record) -> str:
        return f"version {record['version']} is champion: {record['lineage']['reason']}"

    context.run_stage("promote", current_marker, work, outcome)


def _judge_by_champion(
    context: StageContext, home: Run, model: Folder, registry: Folder, current: Record, force: bool
) -> Record:
    """Judge a model by a registry's champion: what is told of it, or StageFailed where it is refused."""
    from ganaug_ray.verdict import promotion_gate

    hint = f"`ganaug promote {context.arguments} --force` promotes it anyway"
    withdrawn = model_registry.find_withdrawn_models(model_registry.list_changes(current))
    if not force and ModelRecord.read(model).hash in withdrawn:
        raise StageFailed(f"{registry}: this model was champion and has been rolled back; {hint}")
    champion = registry / "versions" / str(current["version"])
    metric = context.job.compare.metric
    try:
        match = context.call_on_device("promote", promotion_gate.compare_with_champion, home, model, champion, metric)
    except UserError as error:
        if not force:
            raise UserError(f"{error}; {hint}") from None
        return {"why": "forced"}
    if match.is_worse and not force:
        raise StageFailed(f"{registry}: version {current['version']} stays champion: {match.sentence}; {hint}")
    why = "forced" if match.is_worse else "promoted"
    return {"why": why, "against": match.record}


def _add_onnx(context: StageContext, version: Folder) -> None:
    """Write model.onnx beside a version's weights; a version without one is as good for all that is here."""
    from ganaug_ray.classify.onnx_export import export_onnx

    try:
        export_onnx(version, str(version / "model.onnx"))
    except (UserError, StageFailed) as error:
        context.terminal.print_stage_line("promote", "note", f"model.onnx is left out: {error}")


def _train_models(context: StageContext, pairs: list[tuple[str, int]]) -> None:
    """Train these compared models and seeds."""
    from ganaug_ray.classify import initial_weights
    from ganaug_ray.classify.launch import train_classifiers

    for name in dict.fromkeys(name for name, _ in pairs):
        if weights := compared_models.prepare_weights(context.job, context.run, name):
            context.terminal.print_stage_line(
                "compare-models", "note", f"{name} starts from {initial_weights.describe_match(weights)}"
            )
    hardware = context.connect_cluster()
    trainings = [compared_models.build_training(context.job, context.run, name, seed) for name, seed in pairs]
    rows = DatasetRecord.read(context.run.dataset).count_train_images()
    fit_steps = []
    for name, seed in pairs:
        steps = context.job.models[name].count_steps(rows)
        fit_steps.append((compared_models.locate_folder(context.run, name, seed), steps))
    notify = functools.partial(context.terminal.print_stage_line, "compare-models", "note")
    with context.terminal.show_progress("compare-models", lambda: read_fit_progress(fit_steps)):
        train_classifiers(trainings, context.job.data.resident_gb, hardware, notify)
