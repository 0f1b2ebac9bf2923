"""Writes the model card of a published classifier: what it is for, how good it is, what it was made from."""

from __future__ import annotations

from dataclasses import dataclass

from ganaug_ray.core.records import DatasetRecord, ModelRecord, VerdictRecord
from ganaug_ray.evaluate.metric_register import get_metric
from ganaug_ray.version import __version__

LIBRARY = "ganaug-ray"
MAX_NAMED_CLASSES = 30
_PUBLIC_SCHEMES = ("hf:", "sklearn:", "torchvision:", "https://")


@dataclass(frozen=True)
class CardFacts:
    """What a model card tells.

    Attributes:
        name: of the model.
        about: what the experiment was about.
        model: the classifier.
        dataset: what it was trained on.
        verdict: of its experiment.
        version: of the registry.
        has_onnx: whether there is an ONNX file beside the weights.
    """

    name: str
    about: str
    model: ModelRecord
    dataset: DatasetRecord
    verdict: VerdictRecord
    version: int
    has_onnx: bool


def write_card(facts: CardFacts) -> str:
    """Return the card as Markdown, with the Hub's metadata in front."""
    return f"---\n{_write_metadata(facts)}\n---\n\n{_write_text(facts)}"


def name_public_sources(dataset: DatasetRecord) -> list[str]:
    """Return the sources of a data set that others can reach too; paths of this site are nobody's concern."""
    return [source.partition("#")[0] for source in dataset.source if source.startswith(_PUBLIC_SCHEMES)]


def _write_metadata(facts: CardFacts) -> str:
    """Return the Hub's metadata: library, task, data sets, and the figures on test images."""
    from huggingface_hub import EvalResult, ModelCardData

    hub_sources = [source for source in name_public_sources(facts.dataset) if source.startswith("hf:")]
    results = []
    for key, value in facts.verdict.champion.figures["test"].items():
        results.append(
            EvalResult(
                task_type="image-classification",
                dataset_type="image-folder",
                dataset_name=facts.about or facts.name,
                dataset_split="test",
                metric_type=key,
                metric_name=get_metric(key).name,
                metric_value=round(value, 4),
            )
        )
    data = ModelCardData(
        library_name=LIBRARY,
        pipeline_tag="image-classification",
        tags=["image-classification", "safetensors", *(["onnx"] if facts.has_onnx else [])],
        datasets=["/".join(source.removeprefix("hf:").strip("/").split("/")[:2]) for source in hub_sources] or None,
        metrics=[facts.verdict.metric],
        model_name=facts.name,
        eval_results=results,
    )
    return data.to_yaml()


def _write_text(facts: CardFacts) -> str:
    model, dataset, verdict = facts.model, facts.dataset, facts.verdict
    champion = verdict.champion
    counts = {part: sum(classes.values()) for part, classes in dataset.counts.items()}
    sources = ", ".join(name_public_sources(dataset)) or "images of its publisher, which are not published here"
    named = ", ".join(model.classes[:MAX_NAMED_CLASSES])
    more = f" and {len(model.classes) - MAX_NAMED_CLASSES} more" if len(model.classes) > MAX_NAMED_CLASSES else ""
    rows = []
    for key, value in champion.figures["test"].items():
        rows.append(f"| {get_metric(key).name} | {get_metric(key).format_with_unit(value)} |")
    colours = {1: "grey", 3: "colour"}[model.channels]
    lines = [
        f"# {facts.name}",
        "",
        f"{facts.about or 'An image classifier.'} It tells {len(model.classes)} classes apart: {named}{more}.",
        "",
        "## Intended use",
        "",
        f"Pictures like those it was trained on, each showing one of the {len(model.classes)} classes. It always "
        "answers with one of these classes, even for a picture of something else. Measure it on your own images before "
        "you rely on it. It was not tested for decisions about people.",
        "",
        "## Figures",
        "",
        f"On {counts['test']} test images, which were used neither for training nor for choosing:",
        "",
        "| metric | value |",
        "|---|---|",
        *rows,
        "",
        "## Did synthetic images help?",
        "",
        f"{verdict.sentence} {verdict.action}".strip(),
        "",
        f"{verdict.details} {verdict.covers}".strip(),
        "",
        *(line for judged in verdict.generators for line in (judged.sentence, "")),
        f"This model was trained on {verdict.name_arm(champion.arm)}: {champion.reason}.",
        "",
        "## Use",
        "",
        "```python",
        "import ganaug_ray",
        "",
        'model = ganaug_ray.load("FOLDER")  # the downloaded files',
        'model.predict(["picture.jpg"])[0].label',
        "```",
        "",
        f"`config.json` names the classes, and `preprocessor_config.json` says how a picture becomes the network's "
        f"input: {colours}, {model.image_size} × {model.image_size} pixels, resized by {model.resize}."
        + (" `model.onnx` needs neither torch nor this package." if facts.has_onnx else ""),
        "",
        "## Lineage",
        "",
        f"- network: {model.arch}, {model.parameters:,} parameters, {model.steps} steps",
        f"- weights: {model.hash}; version {facts.version} of its registry",
        f"- training: seed {champion.seed} in split {champion.split}",
        f"- trained on: {sources} ({counts['train']} images; {counts['val']} for choices); data set {dataset.hash}",
        f"- made with: {LIBRARY} {__version__}, "
        + ", ".join(f"{name} {number}" for name, number in model.versions.items() if name != LIBRARY),
        "",
    ]
    return "\n".join(lines)
