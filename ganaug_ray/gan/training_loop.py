"""The training loop of the GAN: torch only.

It knows when things happen; what happens is the preset's. The formulas are in losses and diffaug, and the hooks do what
is to be written.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import torch

from ganaug_ray.config import GanConfig
from ganaug_ray.core import checkpoint, eager_optimizers, rng
from ganaug_ray.core.compilation import compile_networks
from ganaug_ray.core.distributed import Place, freeze_weights
from ganaug_ray.core.finite_guard import FiniteGuard
from ganaug_ray.core.weight_average import WeightAverage
from ganaug_ray.data.loading.batch import Batch
from ganaug_ray.data.loading.tensors import scale_images
from ganaug_ray.gan import diffaug, ema, losses
from ganaug_ray.gan.diffaug import apply_augmentations
from ganaug_ray.gan.metrics.overfitting import compute_mean_sign
from ganaug_ray.gan.networks import Discriminator, Generator


@dataclass(frozen=True)
class ImageShape:
    """The number of classes, and the channels and size of the images to generate."""

    classes: int
    channels: int
    size: int


@dataclass(frozen=True)
class Hooks:
    """The callbacks of the training loop, called on every rank.

    Attributes:
        report: gets a row of the log: the step, losses and scores.
        save: gets a checkpoint to write.
        snapshot: gets the step, the averaged generator and the discriminator; returns metrics, on rank 0 if they are
            measured at once.
        should_stop: asked after each snapshot, and before the first step after a resume, whether more training makes no
            sense. If one rank says so, the training ends for all. Where metrics are measured beside the training it
            goes by those of the snapshot before, and the other hooks drop what was done since.
    """

    report: Callable[[dict[str, Any]], None]
    save: Callable[[checkpoint.Checkpoint], None]
    snapshot: Callable[[int, WeightAverage[Generator], Discriminator], dict[str, float]]
    should_stop: Callable[[], bool] = lambda: False


def build_networks(
    config: GanConfig, shape: ImageShape, seed: int, place: Place, initial: checkpoint.Tensors | None = None
) -> tuple[Generator, Discriminator]:
    """Build generator and discriminator on this rank's device, with the given weights, or by the seed."""
    torch.manual_seed(rng.hash_to_number(seed, "gan", "weights"))
    classes = shape.classes if config.conditional else 0
    generator = Generator(config.latent, classes, shape.channels, shape.size, config.filters)
    discriminator = Discriminator(classes, shape.channels, shape.size, config.filters, config.recipe.norm)
    if initial is not None:
        checkpoint.unpack_states(initial, {"generator": generator, "discriminator": discriminator})
    for network in (generator, discriminator):
        network.to(place.device).to(memory_format=torch.channels_last)
    return generator, discriminator


def train_gan(
    batches: Callable[[int], Batch],
    config: GanConfig,
    shape: ImageShape,
    steps: int,
    seed: int,
    place: Place,
    start: checkpoint.Checkpoint | None,
    hooks: Hooks,
    snapshot_steps: Collection[int] = (),
    factors: Mapping[int, float] = MappingProxyType({}),
    initial: checkpoint.Tensors | None = None,
) -> WeightAverage[Generator]:
    """Train a GAN to ``steps`` optimizer steps, from a checkpoint if there is one; return the averaged generator.

    Args:
        batches: step -> this rank's part of the global batch of real images.
        config: the preset, and intervals; compile ``auto`` counts as False here, see ``core.compilation``.
        shape: classes, channels and size of the images to draw.
        steps: of the discriminator and of the generator each.
        seed: of weights and latents.
        place: this rank.
        start: where to go on from.
        hooks: see Hooks; ``save`` and ``snapshot`` fall on fixed steps and on the last one. ``save`` also falls on
            the first logged step after a rank has learned that its machine will be taken away.
        snapshot_steps: more steps for ``snapshot``, and for ``save`` after it.
        factors: steps done -> what both learning rates are multiplied with from then on.
        initial: weights of both networks to begin with; absent: fresh ones.

    Raises:
        DivergenceError: a gradient was not finite on some rank; no rank has taken that step.
    """
    recipe = config.recipe
    loss = losses.LOSSES[recipe.loss]
    generator, discriminator = build_networks(config, shape, seed, place, initial)
    average = ema.build_average(generator, config.batch_size, recipe.ema_half_life)
    betas = (recipe.beta1, recipe.beta2)
    optimizer_g = eager_optimizers.Adam(generator.parameters(), lr=recipe.lr_g, betas=betas, fused=True)
    learning = discriminator.list_learning_weights(config.frozen_layers)
    optimizer_d = eager_optimizers.Adam(learning, lr=recipe.lr_d, betas=betas, fused=True)
    parts: dict[str, checkpoint.Stateful] = {
        "generator": generator,
        "discriminator": discriminator,
        "average": average,
        "optimizer_g": optimizer_g,
        "optimizer_d": optimizer_d,
    }
    if start is not None:
        checkpoint.unpack_states(start.tensors, parts)
    guard = FiniteGuard(place, optimizer_g, optimizer_d)
    begin_step = compile_networks(config, place, generator, discriminator)
    fast = place.autocast(config.precision)
    run_discriminator = losses.AutocastDiscriminator(discriminator, fast)
    run_generator = fast(generator)
    run_ddp_generator = fast(place.wrap_module(generator))
    ddp_discriminator_step = place.wrap_module(losses.DiscriminatorStep(discriminator, run_discriminator, loss))
    first = start.step if start is not None else 0
    saved_before_leaving = False
    for step in range(first, steps):
        was_snapshot = step % config.snapshot_every == 0 or step in snapshot_steps
        if was_snapshot and place.any_over_ranks(hooks.should_stop()):
            break
        factor = find_rate_factor(factors, step)
        set_learning_rate(optimizer_g, recipe.lr_g * factor)
        set_learning_rate(optimizer_d, recipe.lr_d * factor)
        batch = batches(step)
        begin_step()
        step_draws = draw_step(config.latent, len(recipe.augment), batch, (seed, "gan", step), place)

        real_BCHW = apply_augmentations(scale_images(batch.x_BCHW, shape.size), recipe.augment, step_draws.u_real)
        with torch.no_grad():
            fake_BCHW = apply_augmentations(run_generator(step_draws.z_d, batch.y_B), recipe.augment, step_draws.u_fake)
        judged: losses.DiscriminatorLoss = ddp_discriminator_step(real_BCHW, fake_BCHW, batch.y_B)
        # The ranks' gradients are averaged: so it is the mean over the global batch, also where their parts differ.
        share = len(batch.y_B) * place.world_size / batch.total
        loss_d = judged.loss * share
        discriminator.zero_grad()  # of frozen layers too, which no optimizer has
        loss_d.backward()
        guard.check_gradients(optimizer_d)
        optimizer_d.step()

        with freeze_weights(discriminator):
            fake_BCHW = apply_augmentations(
                run_ddp_generator(step_draws.z_g, batch.y_B), recipe.augment, step_draws.u_g
            )
            loss_g = loss.compute_generator_loss(run_discriminator, real_BCHW, fake_BCHW, batch.y_B) * share
            optimizer_g.zero_grad()
            loss_g.backward()
        guard.check_gradients(optimizer_g)
        optimizer_g.step()
        average.update()
        guard.end_step()

        now = step + 1
        is_last = now == steps
        logs = is_last or now % config.log_every == 0
        snapshots = is_last or now % config.snapshot_every == 0 or now in snapshot_steps
        saves = is_last or now % config.checkpoint_every == 0 or now in snapshot_steps
        if logs or snapshots or saves:
            guard.raise_if_tripped(step)
        if logs:
            # Some rank's machine will be taken away: all ranks learn it at the same step.
            is_leaving = place.any_over_ranks(place.is_leaving())
            figures = {
                "loss_g": loss_g,
                "loss_d": loss_d,
                "real_score": losses.compute_realness(judged.real_B) * share,
                "fake_score": losses.compute_realness(judged.fake_B) * share,
                "real_sign": compute_mean_sign(judged.real_B) * share,
                "fake_sign": compute_mean_sign(judged.fake_B) * share,
            }
            hooks.report({"step": now, "images_seen": now * batch.total, **mean_over_ranks(figures, place)})
            if is_leaving and not saved_before_leaving:
                saves = True
                saved_before_leaving = True
        if snapshots:
            hooks.snapshot(now, average, discriminator)
        if saves:
            tensors = checkpoint.pack_states(parts) if place.is_first else {}
            hooks.save(checkpoint.Checkpoint(now, tensors))
    return average


def find_rate_factor(factors: Mapping[int, float], step: int) -> float:
    """Return the factor on the learning rates at a step: the last one that has begun, or 1.

    >>> [find_rate_factor({20: 0.5, 40: 0.1}, step) for step in (0, 20, 39, 40)]
    [1.0, 0.5, 0.5, 0.1]
    """
    factor = 1.0
    for begin in sorted(factors):
        if begin <= step:
            factor = factors[begin]
    return factor


def mean_over_ranks(figures: Mapping[str, torch.Tensor], place: Place) -> dict[str, float]:
    """Average scalars over the ranks in one exchange; every rank must call it with the same names."""
    row = torch.stack(list(figures.values())).detach()
    means = (place.sum_over_ranks(row) / place.world_size).tolist()
    return dict(zip(figures, means, strict=True))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all weights of an optimizer."""
    for group in optimizer.param_groups:
        group["lr"] = rate


class StepDraws(NamedTuple):
    """One rank's random numbers for one step: latents float [B, Z] and uniforms for DiffAugment float [B, N, D]."""

    z_d: torch.Tensor
    z_g: torch.Tensor
    u_real: torch.Tensor
    u_fake: torch.Tensor
    u_g: torch.Tensor


def draw_step(latent: int, changes: int, batch: Batch, key: tuple[rng.Key, ...], place: Place) -> StepDraws:
    """Draw the random numbers of this rank's rows for a step, and return them on its device."""
    z_BSZ = rng.draw_normal_rows(batch.rows, (2, latent), *key)
    u_BSND = diffaug.draw_uniforms(batch.rows, (3, changes), (*key, "diffaug"))
    z_SBZ = place.move_to_device(z_BSZ.transpose(0, 1).contiguous())
    u_SBND = place.move_to_device(u_BSND.transpose(0, 1).contiguous())
    return StepDraws(*z_SBZ, *u_SBND)
