"""A compiled classifier: it trains as the plain one does, and nothing that is stored shows that it was compiled."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ganaug_ray.classify import networks, train_worker, training_loop
from ganaug_ray.classify.train_worker import ClassifierTraining
from ganaug_ray.config import ClassifierConfig
from ganaug_ray.core import checkpoint, compilation
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.records import DatasetRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading.batch import draw_random_batch
from ganaug_ray.data.loading.resident_loader import ResidentImages, open_real_feed

SETTINGS: dict[str, Any] = {"steps": 4, "batch_size": 16, "log_every": 1, "evaluate_every": 2, "dropout": 0.3}
CPU = torch.device("cpu")


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is compiled: with the tracing half of torch.compile, without its minute of code generation."""
    compile_in_place, traced = torch.nn.Module.compile, list[object]()

    def keep_graph(graph: torch.fx.GraphModule, inputs: object) -> Any:
        traced.append(graph)
        return graph.forward

    def compile_without_code(module: torch.nn.Module, mode: str | None) -> None:
        compile_in_place(module, backend=keep_graph)

    monkeypatch.setattr(torch.nn.Module, "compile", compile_without_code)
    torch.compiler.reset()
    return traced


def build_cnn(dropout: float = 0.3) -> networks.CNN:
    torch.manual_seed(0)
    return networks.CNN(1, 10, dropout)


def train(
    digits: Folder, compiled: bool, start: checkpoint.Checkpoint | None = None, **settings: Any
) -> tuple[training_loop.KeptEvaluation, list[dict[str, Any]], list[checkpoint.Checkpoint]]:
    config = ClassifierConfig(**SETTINGS | settings, compile=compiled)
    val, rows, saved = ResidentImages.load(digits / "val", CPU), list[dict[str, Any]](), list[checkpoint.Checkpoint]()
    feed = open_real_feed(str(digits), config.batch_size, 1.0, 0, Place())

    def save(step: int, parts: dict[str, checkpoint.Stateful], history: checkpoint.Tensors) -> None:
        saved.append(checkpoint.Checkpoint(step, {**checkpoint.pack_states(parts), **history}))

    evaluation = training_loop.train_classifier(
        build_cnn(config.dropout), feed, val, config, 4, 0, Place(), rows.append, start=start, save=save
    )
    return evaluation, rows, saved


def assert_same_weights(one: checkpoint.Tensors, two: checkpoint.Tensors) -> None:
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    ("settings", "traces"),
    [
        ({"ema_half_life": 0}, 1),
        ({"ema_half_life": 64, "accumulate": 2}, 1),
        ({"weights": "file", "freeze_steps": 2}, 2),
    ],
    ids=["plain", "averaged", "frozen-first"],
)
def test_compiled_network_trains_alike(
    digits: Folder, graphs: list[object], settings: dict[str, Any], traces: int
) -> None:
    """Each step has the same figures, evaluations trace nothing anew, and a resume goes on as if nothing happened."""
    plain, plain_rows, _ = train(digits, False, **settings)
    assert not graphs
    compiled, rows, saved = train(digits, True, **settings)
    assert len(graphs) == traces
    assert rows == plain_rows
    assert_same_weights(compiled.weights, plain.weights)
    resumed, _, _ = train(digits, True, saved[0], **settings)
    assert_same_weights(resumed.weights, plain.weights)


def test_stored_model_has_plain_names(digits: Folder, tmp_path: Path, graphs: list[object]) -> None:
    """A model's files are the same bytes, so that all that reads them, such as an export, knows nothing of it."""
    batches = functools.partial(open_real_feed, str(digits), 16, 1.0, 0)
    for name, compiled in (("plain", False), ("compiled", True)):
        config = ClassifierConfig(**SETTINGS, compile=compiled)
        fit = ClassifierTraining("real", 0, config, str(digits), str(tmp_path / name), batches, {})
        train_worker.train_and_finish(fit, Place())
    assert graphs
    names = {f"network.{name}" for name in build_cnn().state_dict()}
    assert set(load_file(tmp_path / "compiled" / "model.safetensors")) == names
    for file in ("model.safetensors", "metrics.jsonl", "predictions.parquet"):
        assert (tmp_path / "plain" / file).read_bytes() == (tmp_path / "compiled" / file).read_bytes(), file


def test_trial_leaves_network_and_batches(
    digits: Folder, monkeypatch: pytest.MonkeyPatch, graphs: list[object]
) -> None:
    """auto on a GPU, with the CPU in its place: both ways are timed; weights and the feed's counts stay as they are."""
    measure, ways = compilation.measure_step_seconds, []

    def measure_on_cpu(train_briefly: Any, compiled: bool, batch: object, device: torch.device) -> float:
        ways.append(compiled)
        assert 0 < measure(train_briefly, compiled, batch, CPU) < 60
        return 0.5 if compiled else 1.0

    monkeypatch.setattr(compilation, "WARM_UP_STEPS", 1)
    monkeypatch.setattr(compilation, "TIMED_STEPS", 2)
    monkeypatch.setattr(compilation, "measure_step_seconds", measure_on_cpu)
    monkeypatch.setattr(train_worker, "draw_random_batch", lambda *facts: draw_random_batch(*facts[:-1], CPU))
    network, val = build_cnn(), ResidentImages.load(digits / "val", CPU)
    before = checkpoint.pack_states({"network": network})
    config = ClassifierConfig(**SETTINGS | {"steps": 900, "compile": "auto"})
    feed = open_real_feed(str(digits), 16, 1.0, 0, Place())
    monkeypatch.setattr(type(feed), "__call__", pytest.fail)
    facts = DatasetRecord.read(digits)
    gpu = Place(device=torch.device("cuda"))
    assert train_worker.choose_compile(network, feed, val, config, facts, range(900), gpu)
    assert ways == [False, True]
    assert graphs
    assert_same_weights(checkpoint.pack_states({"network": network}), before)
