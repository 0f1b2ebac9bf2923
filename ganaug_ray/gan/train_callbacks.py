"""Writes what a GAN's training gives, on rank 0: log, checkpoints and pictures, and at the end the best generator."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes

from ganaug_ray.core import checkpoint, experiment_dir, metrics_log
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.records import DatasetRecord, GanRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.core.weight_average import WeightAverage
from ganaug_ray.data.loading import tensors
from ganaug_ray.gan import early_stopping, image_grid, interpolation, training_loop
from ganaug_ray.gan.generator_choice import Candidate
from ganaug_ray.gan.metrics import memorization
from ganaug_ray.gan.networks import Discriminator, Generator
from ganaug_ray.gan.snapshot_meter import MeasuredSnapshot, Snapshot, SnapshotMeter
from ganaug_ray.gan.snapshot_queue import SnapshotExecutor, SnapshotQueue

if TYPE_CHECKING:
    from ganaug_ray.gan.training_spec import GanTraining

logger = logging.getLogger(__name__)

MAX_FILM_FRAMES = 60  # of the film, at most
MIN_STALL_S = 20.0  # seconds: a shorter pause between logged steps is nobody's concern
STALL_FACTOR = 10  # times what is usual


class TrainingRecorder:
    """Writes a GAN training's log, checkpoints, pictures and best generator, on rank 0.

    Args:
        training: what is trained.
        steps_done: steps of the checkpoint that it goes on from.
        place: of rank 0.
        executor: measures snapshots in another process; None: this one measures them while all ranks wait.
    """

    def __init__(
        self, training: GanTraining, steps_done: int, place: Place, executor: SnapshotExecutor | None = None
    ) -> None:
        self._training = training
        self._occupied = place.occupied
        self._meter = SnapshotMeter(training, place.device)
        self._snapshots = SnapshotQueue(self._meter, executor, self._record_snapshot)
        self._out = Folder.from_uri(training.out).create()
        self._log = metrics_log.MetricsLog(self._out, steps_done)
        self._rows = metrics_log.read_metrics(self._out)
        self._stall_watch = StallWatch()
        if not steps_done and self._out.has_file("best.json"):  # of checkpoints that are not used
            self._out.delete_file("best.json")
        attempts = experiment_dir.read_marker(self._out, "attempts.json") or {"from_step": []}
        self._out.write_json("attempts.json", {"from_step": [*attempts["from_step"], steps_done]})
        self._stop_reason = self._find_stop_reason()

    def build_hooks(self) -> training_loop.Hooks:
        """Return the callbacks for ``train_gan``."""
        return training_loop.Hooks(
            self._record_step, self._save_checkpoint, self._take_snapshot, lambda: self._stop_reason is not None
        )

    def wait_for_figures(self) -> bool:
        """Wait until all snapshots are measured and all is written; return whether the training has ended early."""
        return self._snapshots.wait()

    def _record_step(self, row: experiment_dir.Record) -> None:
        self._stall_watch.mark_step(row["step"])
        self._snapshots.write(row["step"], lambda: self._append_row(row))
        self._stall_watch.restart_clock()

    def _append_row(self, row: experiment_dir.Record) -> None:
        self._log.append_line(row)
        self._rows.append(row)

    def _find_stop_reason(self) -> str | None:
        """Return why the training should end early, or None if it should go on."""
        if not self._training.config.early_end:
            return None
        return early_stopping.find_stop_reason(early_stopping.collect_measurements(self._rows))

    def _save_checkpoint(self, state: checkpoint.Checkpoint) -> None:
        def write() -> None:
            self._log.flush()  # before the checkpoint: a resume drops later lines, it cannot bring back lost ones
            checkpoint.save(self._out / "checkpoints", state, self._training.fingerprint())

        self._snapshots.write(state.step, write, is_checkpoint=True)
        self._stall_watch.restart_clock()

    def _take_snapshot(
        self, step: int, average: WeightAverage[Generator], discriminator: Discriminator
    ) -> dict[str, float]:
        networks = checkpoint.pack_states({"generator": average.module, "discriminator": discriminator})
        measured = self._snapshots.add(Snapshot(step, networks))
        self._stall_watch.restart_clock()
        return measured.figures if measured is not None else {}

    def _record_snapshot(self, measured: MeasuredSnapshot) -> bool:
        """Write what the measurement of a snapshot gave; return whether the training ends with it."""
        step = measured.snapshot.step
        self._out.write_bytes(f"samples/step-{step:08d}.png", measured.grid_png)
        if measured.figures:
            self._append_row({"step": step, **measured.figures})
        self._keep_if_best(measured.snapshot, measured.figures)
        self._stop_reason = self._find_stop_reason()
        return self._stop_reason is not None

    def _keep_if_best(self, snapshot: Snapshot, figures: dict[str, float]) -> None:
        """Keep the generator whose images of a class lie nearest to real ones, and its discriminator.

        See ``generator_choice``: of generators that cannot be told apart by distance, the one with the higher recall.
        """
        candidate = Candidate.from_figures(figures)
        has_figure = candidate.chosen_by is not None  # without one the last generator is as good as any
        record = {
            "step": snapshot.step,
            "chosen_by": candidate.chosen_by,
            "error": candidate.error,
            "recall": candidate.recall,
        }
        record |= dict.fromkeys(("value", "lowest"), candidate.distance if has_figure else None)
        best = experiment_dir.read_marker(self._out, "best.json")
        if best is not None and has_figure and best["chosen_by"] == candidate.chosen_by and "lowest" in best:
            # A step met again after a resume gives what it gave before.
            best_so_far = Candidate(best["chosen_by"], best["value"], best["error"], best["recall"])
            lowest = min(candidate.distance, best["lowest"])
            if not candidate.is_better_than(best_so_far, best["lowest"]):
                self._out.write_json("best.json", best | {"lowest": lowest})
                return
            record["lowest"] = lowest
        self._out.write_bytes("best.safetensors", tensors_to_bytes(snapshot.networks))
        self._out.write_json("best.json", record)

    def measure_and_write_generator(self, facts: DatasetRecord, started: float) -> None:
        """Measure the best generator, and write it with its quality, discriminator, pictures and at last gan.json."""
        self._log.flush()
        best = self._out.read_json("best.json")  # there was a look at the last step
        best_tensors = tensors_from_bytes(self._out.read_bytes("best.safetensors"))
        weights = tensors_to_bytes(_select_network(best_tensors, "generator"))
        discriminator_weights = tensors_to_bytes(_select_network(best_tensors, "discriminator"))
        generator = self._meter.restore_generator(best_tensors)
        self._out.write_bytes("gan.safetensors", weights)
        self._out.write_bytes("discriminator.safetensors", discriminator_weights)
        self._write_film()
        training = self._training
        evaluator = self._meter.evaluator
        shape = self._meter.shape
        steps = self._rows[-1]["step"]
        self._out.write_bytes(
            "interpolation.png",
            interpolation.draw_interpolation(generator, training.config, shape, training.seed),
        )
        with torch.no_grad():
            figures = evaluator.measure_quality(generator, by_class=True)
            memorization_record = self._check_memorization(generator)
            beside_held_out = evaluator.compare_with_held_out(generator)
        record = {
            "hash": experiment_dir.hash_content(weights),
            "inputs": training.inputs,
            "classes": facts.classes,
            "channels": shape.channels,
            "size": shape.size,
            "latent": training.config.latent,
            "filters": training.config.filters,
            "conditional": training.config.conditional,
            "recipe": asdict(training.config.recipe),
            "steps": steps,
            "ended_early": self._stop_reason,
            "occupied": self._occupied,
            "images_seen": steps * training.config.batch_size,
            "chosen": best,
            "quality": figures | evaluator.measure_cas(generator),
            "memorization": memorization_record,
            "beside_held_out": beside_held_out,
            "seed": training.seed,
            "config": training.config.model_dump(),
        }
        GanRecord.write(self._out, "train-gan", started, record)

    def _check_memorization(self, generator: Generator) -> dict[str, Any]:
        """Test whether the generator copies; write its images that are nearest to training images, above those."""
        evaluator = self._meter.evaluator
        real_NCHW, y_N = evaluator.train_rows
        fake_NCHW = evaluator.generate_samples(generator, "memorization")
        extractors = [evaluator.extractor, memorization.PIXEL_EXTRACTOR]
        result = memorization.detect_memorization(real_NCHW, y_N, evaluator.val_images, fake_NCHW, extractors)
        if result.copy_tests:
            pairs = max(result.copy_tests, key=lambda test: test.excess).closest
            copies_NCHW = fake_NCHW[[pair.generated for pair in pairs]]
            originals_NCHW = real_NCHW[[pair.train for pair in pairs]]
            rows = [tensors.from_network(side).cpu().numpy() for side in (copies_NCHW, originals_NCHW)]
            self._out.write_bytes("closest_pairs.png", image_grid.encode_png(image_grid.arrange_grid(rows)))
        record = asdict(result)
        record["looks"] = record.pop("copy_tests")  # its name in gan.json on disk
        return record

    def _write_film(self) -> None:
        """Join the sample grids to a film of the training: the same latents, step after step."""
        samples = self._out / "samples"
        names = samples.list_files(".png")
        every = max(1, -(-len(names) // MAX_FILM_FRAMES))
        chosen = sorted({*names[::every], *names[-1:]})
        if chosen:
            self._out.write_bytes("film.gif", image_grid.encode_film_gif([samples.read_bytes(name) for name in chosen]))


def _select_network(best_tensors: checkpoint.Tensors, name: str) -> checkpoint.Tensors:
    return {key: values for key, values in best_tensors.items() if key.startswith(f"{name}.")}


class StallWatch:
    """Prints a line when a logged step took ten times as long as usual, as when the network was down."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._usual: float | None = None

    def mark_step(self, number: int) -> None:
        """Compare the time since the last logged step with what is usual; call it at each logged step."""
        now = time.monotonic()
        if self._last is not None:
            seconds = now - self._last
            if self._usual is not None and seconds > max(MIN_STALL_S, STALL_FACTOR * self._usual):
                logger.warning(
                    "step %d took %.0f s, usually %.2g s: a worker or the network stalled; the training goes on",
                    number,
                    seconds,
                    self._usual,
                )
            else:
                self._usual = seconds
        self._last = now

    def restart_clock(self) -> None:
        """Leave out the time of other work, such as a checkpoint; call it when that is done."""
        self._last = time.monotonic()
