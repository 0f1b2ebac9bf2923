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
from ganaug_ray.pipeline import progress, size_experiments
from ganaug_ray.pipeline.stage import Stages
from ganaug_ray.runtime import executors

# Ray and torch are imported by the stage that needs them: a finished run needs neither.


class Judging(Stages):
    """models/ -> verdict.json, board.json, evaluation/, report.html and registry/."""

    def compare(self) -> None:
        """models/ -> verdict.json."""
        inputs = {
            f"{split.number}/{arm}/seed-{seed}": self.need(
                "train", experiment_dir.done(split.run.model(arm, seed), "model.json")
            )["hash"]
            for split in self.splits
            for arm, seed in arms.pairs(self.job)
        }
        current = experiment_dir.fingerprint(inputs, self.job.compare.model_dump())

        def work() -> Record:
            from ganaug_ray.verdict import from_experiment

            started = time.monotonic()
            record = {"hash": current, "inputs": inputs, **from_experiment.verdict(self.job, self.run)}
            return experiment_dir.commit(self.run.root, "verdict.json", "compare", started, record)

        done = experiment_dir.done(self.run.root, "verdict.json")
        kept = done if done and done["hash"] == current else None
        self.stage("compare", kept, work, lambda record: record["sentence"])

    def compare_models(self) -> None:
        """dataset/ -> board/<model>/seed-<k>/ for every compared model and seed, and board.json."""
        self.need("prepare", experiment_dir.done(self.run.dataset, "dataset.json"))
        pairs = compared_models.pairs(self.job)
        missing = [pair for pair in pairs if compared_models.done(self.job, self.run, *pair) is None]

        def work() -> Record:
            from ganaug_ray.verdict.model_comparison import compare_models

            started = time.monotonic()
            if missing:
                self._fit_models(missing)
            return compare_models(self.run, self.job, started)

        done = None if missing else experiment_dir.done(self.run.root, compared_models.MARKER)
        kept = done if done and done["hash"] == compared_models.fingerprint(self.job, self.run) else None
        self.stage("compare-models", kept, work, lambda record: record["sentence"])

    def evaluate(self, model: str | None = None, data: str | None = None) -> None:
        """A model -> evaluation/<model>/<images>/: every figure, what it gets wrong, what it learned.

        Without ``model`` it is the champion, or every trained model where there is no verdict yet; without ``data``
        it is the experiment's own test images.
        """
        dataset = self.need("prepare", experiment_dir.done(self.run.dataset, "dataset.json"))
        models = targets.models(self.run, self.job, model)
        self.need("train", dataset if models else None)
        for folder in models:
            target = targets.target(self.run, folder, data)
            if target.record["inputs"].get("dataset") != target.home.dataset.read_json("dataset.json")["hash"]:
                note = f"{folder} was trained on another data set: images it was trained on may be among these"
                self.terminal.line("evaluate", "note", note)

            def work(target: targets.Target = target) -> Record:
                from ganaug_ray.evaluate.evaluate_model import evaluate

                hands = self.hands() if data else nullcontext(executors.one_by_one)
                with self.terminal.watching("evaluate", lambda: (0.0, target.name)), hands as each:
                    return evaluate(self.job.data, target, self.job.seed, each)

            self.stage("evaluate", targets.done(target), work, targets.outcome)

    def report(self) -> None:
        """Everything so far -> report.html and report.json; evaluates the champion first."""
        verdict = self.need("compare", experiment_dir.done(self.run.root, "verdict.json"))
        self.evaluate()

        def work() -> Record:
            from ganaug_ray.report.report import report

            return report(self.run, self.job, inputs)

        (champion,) = targets.models(self.run, self.job)
        evaluated = targets.target(self.run, champion, None).out.read_json(targets.MARKER)
        # The verdict stands for the models and what they were made from: not for a GAN that no arm needs.
        inputs = {"verdict": verdict["hash"], "evaluation": evaluated["hash"]}
        if gan := experiment_dir.done(self.run.gan, "gan.json"):
            inputs["gan"] = gan["hash"]
        if compared := experiment_dir.done(self.run.root, compared_models.MARKER):
            inputs["board"] = compared["hash"]
        if grown := size_experiments.done(self.job, self.run) if self.job.compare.sizes else None:
            inputs["sizes"] = grown["hash"]
        for kind in ("gan", "mix", "classifier"):
            if (folder := self.run.root / f"search/{kind}").has("search.json"):
                inputs[f"search {kind}"] = folder.read_json("search.json")["hash"]
        if self.job.published:
            inputs["published"] = experiment_dir.fingerprint(self.job.published.model_dump())
        done = experiment_dir.done(self.run.root, "report.json")
        kept = done if done and done["inputs"] == inputs else None
        self.stage("report", kept, work, lambda record: str(self.run.root / "report.html"))

    def promote(self, force: bool = False) -> None:
        """The champion's model -> a version in the registry and its champion.json.

        Args:
            force: whatever is champion there.
        """
        verdict = self.need("compare", experiment_dir.done(self.run.root, "verdict.json"))
        champion = verdict["champion"]
        model = targets.champion(self.run, verdict)
        lineage = {
            "job": self.job.model_dump(exclude_none=True),
            "arm": champion["arm"],
            "split": champion["split"],
            "seed": champion["seed"],
            "reason": champion["reason"],
            "verdict": verdict["verdict"],
            "sentence": verdict["sentence"],
            "figures": champion["figures"],
            "inputs": model.read_json("model.json")["inputs"],
        }
        place = model_registry.of_job(self.job, self.run)
        done = experiment_dir.done(place, "champion.json")
        kept = done if done and done["lineage"] == lineage else None
        home = self.run.split(champion["split"])

        def judge(current: Record | None) -> Record:
            return {} if current is None else self._against(home, model, place, current, force)

        def complete(version: Folder) -> None:
            from ganaug_ray.verdict import promotion_gate

            promotion_gate.describe(home, version)
            self._add_onnx(version)

        def work() -> Record:
            return model_registry.promote(place, model, lineage, complete, judge)

        def outcome(record: Record) -> str:
            return f"version {record['version']} is champion: {record['lineage']['reason']}"

        self.stage("promote", kept, work, outcome)

    def _against(self, home: Run, model: Folder, place: Folder, current: Record, force: bool) -> Record:
        """Judge a model by a registry's champion: what is told of it, or StageFailed where it is refused."""
        from ganaug_ray.verdict import promotion_gate

        how = "`ganaug promote JOB.yaml --force` promotes it all the same"
        if not force and model.read_json("model.json")["hash"] in model_registry.withdrawn(
            model_registry.changes(current)
        ):
            raise StageFailed(f"{place}: this model was champion and has been rolled back; {how}")
        try:
            match = promotion_gate.match(
                home, model, place / "versions" / str(current["version"]), self.job.compare.metric
            )
        except UserError as error:
            if not force:
                raise UserError(f"{error}; {how}") from None
            return {"why": "forced"}
        if match.is_worse and not force:
            raise StageFailed(f"{place}: version {current['version']} stays champion: {match.sentence}; {how}")
        return {"why": "forced" if match.is_worse else "promoted", "against": match.record}

    def _add_onnx(self, version: Folder) -> None:
        """Write model.onnx beside a version's weights; a version without one is as good for all that is here."""
        from ganaug_ray.classify.onnx_export import export

        try:
            export(version, str(version / "model.onnx"))
        except (UserError, StageFailed) as error:
            self.terminal.line("promote", "note", f"model.onnx is left out: {error}")

    def _fit_models(self, wanted: list[tuple[str, int]]) -> None:
        """Train these compared models and seeds."""
        from ganaug_ray.classify import initial_weights
        from ganaug_ray.classify.launch import train

        for name in dict.fromkeys(name for name, _ in wanted):
            if weights := compared_models.prepare(self.job, self.run, name):
                self.terminal.line("compare-models", "note", f"{name} starts from {initial_weights.sentence(weights)}")
        self.connect()
        fits = [compared_models.fit(self.job, self.run, name, seed) for name, seed in wanted]
        rows = sum(self.run.dataset.read_json("dataset.json")["counts"]["train"].values())
        asked = [
            (compared_models.folder(self.run, *pair), self.job.models[pair[0]].total_steps(rows)) for pair in wanted
        ]
        with self.terminal.watching("compare-models", lambda: progress.of_fits(asked)):
            train(fits, self.job.data.resident_gb)
