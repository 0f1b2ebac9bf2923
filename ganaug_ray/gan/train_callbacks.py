"""Writes what a GAN's training gives, on rank 0: log, checkpoints and pictures, and at the end the best generator."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes

from ganaug_ray.core import checkpoint, experiment_dir, metrics_log, rng
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.records import DatasetRecord, GanRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.core.weight_average import WeightAverage
from ganaug_ray.data.loading import tensors
from ganaug_ray.data.loading.resident_loader import ResidentImages
from ganaug_ray.data.loading.sampler import Sampling
from ganaug_ray.gan import early_stopping, ema, image_grid, interpolation, training_loop
from ganaug_ray.gan.generator_choice import Candidate
from ganaug_ray.gan.metrics import memorization
from ganaug_ray.gan.metrics.evaluator import GanEvaluator
from ganaug_ray.gan.networks import Discriminator, Generator

if TYPE_CHECKING:
    from ganaug_ray.gan.training_spec import GanTraining

logger = logging.getLogger(__name__)

GRID_ROWS = 10  # classes
GRID_COLUMNS = 8
MAX_SAMPLE_IMAGES = 4096  # real images that pictures and quality are taken from, at most
MAX_FILM_FRAMES = 60  # of the film, at most
MIN_STALL_S = 20.0  # seconds: a shorter pause between logged steps is nobody's concern
STALL_FACTOR = 10  # times what is usual


class TrainingRecorder:
    """Writes a GAN training's log, checkpoints, pictures and best generator, on rank 0."""

    def __init__(self, training: GanTraining, shape: training_loop.ImageShape, steps_done: int, place: Place) -> None:
        self._training = training
        self._shape = shape
        dataset = Folder.from_uri(training.dataset)
        self._train = ResidentImages.load(dataset / "train", place.device, max_rows=MAX_SAMPLE_IMAGES)
        val = ResidentImages.load(dataset / "val", place.device, max_rows=MAX_SAMPLE_IMAGES)
        teacher = Folder.from_uri(training.teacher)
        self._evaluator = GanEvaluator(self._train, val, teacher, training.config, training.seed)
        counts = DatasetRecord.read(dataset).counts["train"]
        sampling = Sampling(training.config.sampling == "balanced")
        self._class_shares_K = sampling.compute_class_shares(list(counts.values()))
        self._out = Folder.from_uri(training.out).create()
        self._log = metrics_log.MetricsLog(self._out, steps_done)
        self._rows = metrics_log.read_metrics(self._out)
        self._stall_watch = StallWatch()
        if not steps_done and self._out.has_file("best.json"):  # of checkpoints that are not used
            self._out.delete_file("best.json")
        attempts = experiment_dir.read_marker(self._out, "attempts.json") or {"from_step": []}
        self._out.write_json("attempts.json", {"from_step": [*attempts["from_step"], steps_done]})

    def build_hooks(self) -> training_loop.Hooks:
        """Return the callbacks for ``train_gan``."""
        return training_loop.Hooks(
            self._record_step, self._save_checkpoint, self._take_snapshot, lambda: self.find_stop_reason() is not None
        )

    def _record_step(self, row: experiment_dir.Record) -> None:
        self._stall_watch.mark_step(row["step"])
        self._append_row(row)

    def _append_row(self, row: experiment_dir.Record) -> None:
        self._log.append_line(row)
        self._rows.append(row)

    def find_stop_reason(self) -> str | None:
        """Return why the training should end early, or None if it should go on."""
        if not self._training.config.early_end:
            return None
        return early_stopping.find_stop_reason(early_stopping.collect_measurements(self._rows))

    def _save_checkpoint(self, state: checkpoint.Checkpoint) -> None:
        self._log.flush()  # before the checkpoint: a resume drops later lines, it cannot bring back lost ones
        checkpoint.save(self._out / "checkpoints", state, self._training.fingerprint())
        self._stall_watch.restart_clock()

    def _take_snapshot(
        self, step: int, average: WeightAverage[Generator], discriminator: Discriminator
    ) -> dict[str, float]:
        config = self._training.config
        generator = ema.refresh_batch_norm(average, self._class_shares_K, config.latent, self._training.seed)
        with torch.no_grad():
            grid = self._draw_sample_grid(generator)
            self._out.write_bytes(f"samples/step-{step:08d}.png", image_grid.encode_png(grid))
            figures = self._evaluator.measure_quality(generator)
            figures |= self._evaluator.measure_overfitting(generator, discriminator)
        if step % config.cas_every == 0:
            figures |= self._evaluator.measure_cas(generator)
        if figures:
            self._append_row({"step": step, **figures})
        self._keep_if_best(step, {"generator": generator, "discriminator": discriminator}, figures)
        self._stall_watch.restart_clock()
        return figures

    def _keep_if_best(self, step: int, networks: dict[str, checkpoint.Stateful], figures: dict[str, float]) -> None:
        """Keep the generator whose images of a class lie nearest to real ones, and its discriminator.

        See ``generator_choice``: of generators that cannot be told apart by distance, the one with the higher recall.
        """
        candidate = Candidate.from_figures(figures)
        has_figure = candidate.chosen_by is not None  # without one the last generator is as good as any
        record = {"step": step, "chosen_by": candidate.chosen_by, "error": candidate.error, "recall": candidate.recall}
        record |= dict.fromkeys(("value", "lowest"), candidate.distance if has_figure else None)
        best = experiment_dir.read_marker(self._out, "best.json")
        if best is not None and has_figure and best["chosen_by"] == candidate.chosen_by and "lowest" in best:
            # A step met again after a resume gives what it gave before.
            kept = Candidate(best["chosen_by"], best["value"], best["error"], best["recall"])
            lowest = min(candidate.distance, best["lowest"])
            if not candidate.is_better_than(kept, best["lowest"]):
                self._out.write_json("best.json", best | {"lowest": lowest})
                return
            record["lowest"] = lowest
        self._out.write_bytes("best.safetensors", tensors_to_bytes(checkpoint.pack_states(networks)))
        self._out.write_json("best.json", record)

    def _draw_sample_grid(self, generator: Generator) -> np.ndarray:
        """A grid of generated images, one row a class, the same latents at every step; real ones beside it."""
        labels = self._train.labels_N
        draw = rng.make_generator(self._training.seed, "grid")
        fake_rows = []
        real_rows = []
        for label in range(min(self._shape.classes, GRID_ROWS)):
            z_BZ = torch.randn(GRID_COLUMNS, self._training.config.latent, generator=draw).to(labels.device)
            y_B = torch.full((GRID_COLUMNS,), label, device=labels.device)
            label_rows = (labels == label).nonzero().flatten().cpu().numpy()
            if not len(label_rows):  # of a large data set's rarest classes the sample may have none
                continue
            fake_rows.append(tensors.from_network(generator(z_BZ, y_B)).cpu().numpy())
            x_BCHW, _ = self._train.take_rows(np.resize(label_rows, GRID_COLUMNS))  # repeats where there are fewer
            x_BCHW = tensors.scale_images(x_BCHW, self._shape.size)
            real_rows.append(tensors.from_network(x_BCHW).cpu().numpy())
        return image_grid.join_side_by_side(image_grid.arrange_grid(fake_rows), image_grid.arrange_grid(real_rows))

    def measure_and_write_generator(self, facts: DatasetRecord, started: float) -> None:
        """Measure the best generator, and write it with its quality, discriminator, pictures and at last gan.json."""
        self._log.flush()
        best = self._out.read_json("best.json")  # there was a look at the last step
        best_tensors = tensors_from_bytes(self._out.read_bytes("best.safetensors"))
        weights = tensors_to_bytes(_select_network(best_tensors, "generator"))
        discriminator_weights = tensors_to_bytes(_select_network(best_tensors, "discriminator"))
        generator = self._restore_generator(best_tensors)
        self._out.write_bytes("gan.safetensors", weights)
        self._out.write_bytes("discriminator.safetensors", discriminator_weights)
        self._write_film()
        training = self._training
        steps = self._rows[-1]["step"]
        self._out.write_bytes(
            "interpolation.png",
            interpolation.draw_interpolation(generator, training.config, self._shape, training.seed),
        )
        with torch.no_grad():
            figures = self._evaluator.measure_quality(generator, by_class=True)
            memorization_record = self._check_memorization(generator)
            beside_held_out = self._evaluator.compare_with_held_out(generator)
        record = {
            "hash": experiment_dir.hash_content(weights),
            "inputs": training.inputs,
            "classes": facts.classes,
            "channels": self._shape.channels,
            "size": self._shape.size,
            "latent": training.config.latent,
            "filters": training.config.filters,
            "conditional": training.config.conditional,
            "recipe": asdict(training.config.recipe),
            "steps": steps,
            "ended_early": self.find_stop_reason(),
            "images_seen": steps * training.config.batch_size,
            "chosen": best,
            "quality": figures | self._evaluator.measure_cas(generator),
            "memorization": memorization_record,
            "beside_held_out": beside_held_out,
            "seed": training.seed,
            "config": training.config.model_dump(),
        }
        GanRecord.write(self._out, "train-gan", started, record)

    def _restore_generator(self, best_tensors: checkpoint.Tensors) -> Generator:
        generator, _ = training_loop.build_networks(self._training.config, self._shape, self._training.seed, Place())
        checkpoint.unpack_states(best_tensors, {"generator": generator})
        return generator.to(self._train.labels_N.device).eval()

    def _check_memorization(self, generator: Generator) -> dict[str, Any]:
        """Test whether the generator copies; write its images that are nearest to training images, above those."""
        real_NCHW, y_N = self._evaluator.train_rows
        fake_NCHW = self._evaluator.generate_samples(generator, "memorization")
        extractors = [self._evaluator.extractor, memorization.PIXEL_EXTRACTOR]
        result = memorization.detect_memorization(real_NCHW, y_N, self._evaluator.val_images, fake_NCHW, extractors)
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
