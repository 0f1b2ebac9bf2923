"""The stages that judge what was made: the verdict, the compared models, evaluations, the report, the promotion."""

from __future__ import annotations

import time
from contextlib import nullcontext

from ganaug_ray.augment import arms
from ganaug_ray.classify import compared_models
from ganaug_ray.core import experiment_dir, model_registry
from ganaug_ray.core.experiment_dir import Record, Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import StageFailed, UserError
from ganaug_ray.evaluate import targets
from ganaug_ray.pipeline import size_experiments
from ganaug_ray.pipeline.progress import of_fits
from ganaug_ray.pipeline.stage import Context
from ganaug_ray.runtime import executors

# Ray and torch are imported by the stage that needs them: a finished run needs neither.


def compare(context: Context) -> None:
    """models/ -> verdict.json."""
    inputs = {
        f"{split.number}/{arm}/seed-{seed}": context.need(
            "train", experiment_dir.done(split.run.model(arm, seed), "model.json")
        )["hash"]
        for split in context.splits
        for arm, seed in arms.list_pairs(context.job)
    }
    current = experiment_dir.fingerprint(inputs, context.job.compare.model_dump())

    def work() -> Record:
        from ganaug_ray.verdict import from_experiment

        started = time.monotonic()
        record = {"hash": current, "inputs": inputs, **from_experiment.build_verdict(context.job, context.run)}
        return experiment_dir.commit(context.run.root, "verdict.json", "compare", started, record)

    done = experiment_dir.done(context.run.root, "verdict.json")
    kept = done if done and done["hash"] == current else None
    context.run_stage("compare", kept, work, lambda record: record["sentence"])


def compare_models(context: Context) -> None:
    """dataset/ -> board/<model>/seed-<k>/ for every compared model and seed, and board.json."""
    context.need("prepare", experiment_dir.done(context.run.dataset, "dataset.json"))
    pairs = compared_models.pairs(context.job)
    missing = [pair for pair in pairs if compared_models.done(context.job, context.run, *pair) is None]

    def work() -> Record:
        from ganaug_ray.verdict.model_comparison import compare_models

        started = time.monotonic()
        if missing:
            _fit_models(context, missing)
        return compare_models(context.run, context.job, started)

    done = None if missing else experiment_dir.done(context.run.root, compared_models.MARKER)
    kept = done if done and done["hash"] == compared_models.fingerprint(context.job, context.run) else None
    context.run_stage("compare-models", kept, work, lambda record: record["sentence"])


def evaluate(context: Context, model: str | None = None, data: str | None = None) -> None:
    """A model -> evaluation/<model>/<images>/: every figure, what it gets wrong, what it learned.

    Without ``model`` it is the champion, or every trained model where there is no verdict yet; without ``data``
    it is the experiment's own test images.
    """
    dataset = context.need("prepare", experiment_dir.done(context.run.dataset, "dataset.json"))
    models = targets.list_models(context.run, context.job, model)
    context.need("train", dataset if models else None)
    for folder in models:
        target = targets.describe_target(context.run, folder, data)
        if target.record["inputs"].get("dataset") != target.home.dataset.read_json("dataset.json")["hash"]:
            note = f"{folder} was trained on another data set: images it was trained on may be among these"
            context.terminal.line("evaluate", "note", note)

        def work(target: targets.EvaluationTarget = target) -> Record:
            from ganaug_ray.evaluate.evaluate_model import evaluate_model

            executor = context.open_executor() if data else nullcontext(executors.one_by_one)
            with context.terminal.watching("evaluate", lambda: (0.0, target.name)), executor as each:
                return evaluate_model(context.job.data, target, context.job.seed, each)

        context.run_stage("evaluate", targets.read_finished(target), work, targets.describe_outcome)


def report(context: Context) -> None:
    """Everything so far -> report.html and report.json; evaluates the champion first."""
    verdict = context.need("compare", experiment_dir.done(context.run.root, "verdict.json"))
    evaluate(context)

    def work() -> Record:
        from ganaug_ray.report.report import write_report

        return write_report(context.run, context.job, inputs)

    (champion,) = targets.list_models(context.run, context.job)
    evaluated = targets.describe_target(context.run, champion, None).out.read_json(targets.MARKER)
    # The verdict stands for the models and what they were made from: not for a GAN that no arm needs.
    inputs = {"verdict": verdict["hash"], "evaluation": evaluated["hash"]}
    if gan := experiment_dir.done(context.run.gan, "gan.json"):
        inputs["gan"] = gan["hash"]
    if compared := experiment_dir.done(context.run.root, compared_models.MARKER):
        inputs["board"] = compared["hash"]
    if grown := size_experiments.done(context.job, context.run) if context.job.compare.sizes else None:
        inputs["sizes"] = grown["hash"]
    for kind in ("gan", "mix", "classifier"):
        if (folder := context.run.root / f"search/{kind}").has("search.json"):
            inputs[f"search {kind}"] = folder.read_json("search.json")["hash"]
    if context.job.published:
        inputs["published"] = experiment_dir.fingerprint(context.job.published.model_dump())
    done = experiment_dir.done(context.run.root, "report.json")
    kept = done if done and done["inputs"] == inputs else None
    context.run_stage("report", kept, work, lambda record: str(context.run.root / "report.html"))


def promote(context: Context, force: bool = False) -> None:
    """The champion's model -> a version in the registry and its champion.json.

    Args:
        context: the job, the experiment's folder and the terminal.
        force: whatever is champion there.
    """
    verdict = context.need("compare", experiment_dir.done(context.run.root, "verdict.json"))
    champion = verdict["champion"]
    model = targets.find_champion(context.run, verdict)
    lineage = {
        "job": context.job.model_dump(exclude_none=True),
        "arm": champion["arm"],
        "split": champion["split"],
        "seed": champion["seed"],
        "reason": champion["reason"],
        "verdict": verdict["verdict"],
        "sentence": verdict["sentence"],
        "figures": champion["figures"],
        "inputs": model.read_json("model.json")["inputs"],
    }
    place = model_registry.of_job(context.job, context.run)
    done = experiment_dir.done(place, "champion.json")
    kept = done if done and done["lineage"] == lineage else None
    home = context.run.split(champion["split"])

    def judge(current: Record | None) -> Record:
        return {} if current is None else _against(context, home, model, place, current, force)

    def complete(version: Folder) -> None:
        from ganaug_ray.verdict import promotion_gate

        promotion_gate.write_seen_images(home, version)
        _add_onnx(context, version)

    def work() -> Record:
        return model_registry.promote(place, model, lineage, complete, judge)

    def outcome(record: Record) -> str:
        return f"version {record['version']} is champion: {record['lineage']['reason']}"

    context.run_stage("promote", kept, work, outcome)


def _against(context: Context, home: Run, model: Folder, place: Folder, current: Record, force: bool) -> Record:
    """Judge a model by a registry's champion: what is told of it, or StageFailed where it is refused."""
    from ganaug_ray.verdict import promotion_gate

    how = "`ganaug promote JOB.yaml --force` promotes it all the same"
    if not force and model.read_json("model.json")["hash"] in model_registry.withdrawn(model_registry.changes(current)):
        raise StageFailed(f"{place}: this model was champion and has been rolled back; {how}")
    try:
        match = promotion_gate.compare_with_champion(
            home, model, place / "versions" / str(current["version"]), context.job.compare.metric
        )
    except UserError as error:
        if not force:
            raise UserError(f"{error}; {how}") from None
        return {"why": "forced"}
    if match.is_worse and not force:
        raise StageFailed(f"{place}: version {current['version']} stays champion: {match.sentence}; {how}")
    return {"why": "forced" if match.is_worse else "promoted", "against": match.record}


def _add_onnx(context: Context, version: Folder) -> None:
    """Write model.onnx beside a version's weights; a version without one is as good for all that is here."""
    from ganaug_ray.classify.onnx_export import export

    try:
        export(version, str(version / "model.onnx"))
    except (UserError, StageFailed) as error:
        context.terminal.line("promote", "note", f"model.onnx is left out: {error}")


def _fit_models(context: Context, wanted: list[tuple[str, int]]) -> None:
    """Train these compared models and seeds."""
    from ganaug_ray.classify import initial_weights
    from ganaug_ray.classify.launch import train

    for name in dict.fromkeys(name for name, _ in wanted):
        if weights := compared_models.prepare(context.job, context.run, name):
            context.terminal.line("compare-models", "note", f"{name} starts from {initial_weights.sentence(weights)}")
    context.connect()
    fits = [compared_models.fit(context.job, context.run, name, seed) for name, seed in wanted]
    rows = sum(context.run.dataset.read_json("dataset.json")["counts"]["train"].values())
    asked = [
        (compared_models.folder(context.run, *pair), context.job.models[pair[0]].total_steps(rows)) for pair in wanted
    ]
    with context.terminal.watching("compare-models", lambda: of_fits(asked)):
        train(fits, context.job.data.resident_gb)
