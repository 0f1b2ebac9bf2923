"""Quality of generated images: known answers, other implementations, and what cannot be measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance
from torchvision.models.inception import Inception3

from ganaug_ray.classify.networks import CNN
from ganaug_ray.config import ClassifierConfig
from ganaug_ray.errors import UserError
from ganaug_ray.gan.metrics import features, kid_fid_prdc, nearest_neighbors
from ganaug_ray.gan.metrics.classification_accuracy_score import compute_cas
from ganaug_ray.gan.metrics.conditional_kid import compute_conditional_kid

N, F = 300, 16


def blobs(n: int = N, seed: int = 0, spread: float = 1.0, at: float = 0.0) -> torch.Tensor:
    """Features of images: a cloud, float [n, F]."""
    return torch.randn(n, F, generator=torch.Generator().manual_seed(seed)) * spread + at


def labels(n: int = N, classes: int = 3) -> torch.Tensor:
    return torch.arange(n) % classes


def brute_force(real: np.ndarray, fake: np.ndarray, k: int) -> dict[str, float]:
    """The four shares by their definitions, one pair of images at a time."""

    def reach(x: np.ndarray) -> list[float]:
        return [
            sorted(np.linalg.norm(row - other) for j, other in enumerate(x) if j != i)[k - 1] for i, row in enumerate(x)
        ]

    def held(x: np.ndarray, by: np.ndarray, reaches: list[float]) -> np.ndarray:
        return np.array(
            [[np.linalg.norm(row - centre) <= r for centre, r in zip(by, reaches, strict=True)] for row in x]
        )

    fake_in_real, real_in_fake = held(fake, real, reach(real)), held(real, fake, reach(fake))
    return {
        "precision": fake_in_real.any(1).mean(),
        "recall": real_in_fake.any(1).mean(),
        "density": fake_in_real.sum() / k / len(fake),
        "coverage": fake_in_real.any(0).mean(),
    }


def test_identical_sets_score_perfectly() -> None:
    """A set of images compared with itself has perfect quality."""
    real = blobs()
    mean, _ = kid_fid_prdc.compute_kid(real, real, seed=0)
    assert abs(mean) < 0.05
    assert kid_fid_prdc.compute_fid(real, real) == pytest.approx(0, abs=1e-6)
    found = kid_fid_prdc.compute_prdc(real, real)
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)


def test_quality_follows_distance_of_distributions() -> None:
    """A second draw from the same distribution scores well, and a distant distribution scores zero."""
    same, far = (
        kid_fid_prdc.compute_prdc(blobs(), blobs(seed=1)),
        kid_fid_prdc.compute_prdc(blobs(), blobs(seed=1, at=50)),
    )
    assert min(same.precision, same.recall, same.coverage) > 0.7
    assert same.density == pytest.approx(1, abs=0.15)
    assert vars(far) == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}
    assert (
        abs(kid_fid_prdc.compute_kid(blobs(), blobs(seed=1), 0)[0])
        < 0.1
        < kid_fid_prdc.compute_kid(blobs(), blobs(seed=1, at=1), 0)[0]
    )


def test_mode_collapse_lowers_recall_and_coverage() -> None:
    """Mode collapse lowers recall and coverage but not precision."""
    modes = torch.cat([blobs(100, seed=mode, at=10 * mode) for mode in range(3)])
    collapsed = torch.cat([blobs(300, seed=9)])
    found = kid_fid_prdc.compute_prdc(modes, collapsed)
    assert found.precision > 0.8
    assert found.recall < 0.4
    assert found.coverage < 0.4


@pytest.mark.parametrize("seed", range(3))
def test_precision_and_recall_equal_definitions(seed: int) -> None:
    """Precision, recall, density and coverage equal a direct computation of their definitions."""
    real, fake = blobs(40, seed), blobs(50, seed + 10, spread=0.8, at=0.2)
    found = vars(kid_fid_prdc.compute_prdc(real, fake))
    for metric, k in kid_fid_prdc.NEIGHBOURS.items():
        assert found[metric] == pytest.approx(brute_force(real.numpy(), fake.numpy(), k)[metric], abs=1e-6)


def test_distances_are_independent_of_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Distances are the same however many of them are in memory at once."""
    whole = kid_fid_prdc.compute_prdc(blobs(), blobs(seed=1))
    monkeypatch.setattr(nearest_neighbors, "MAX_DISTANCES_AT_ONCE", 1000)
    assert kid_fid_prdc.compute_prdc(blobs(), blobs(seed=1)) == whole
    assert max(len(d) for _, d in nearest_neighbors.iterate_distances(blobs(), blobs())) == 3


def test_fid_equals_torchmetrics_and_formula() -> None:
    """FID has the value that torchmetrics and the formula give for the same features."""
    real, fake = blobs(), blobs(seed=1, at=0.3)
    ours = kid_fid_prdc.compute_fid(real, fake)
    identity = nn.Identity()
    identity.num_features = F
    theirs = FrechetInceptionDistance(feature=identity).set_dtype(torch.float64)
    theirs.update(real.double(), real=True)
    theirs.update(fake.double(), real=False)
    assert ours == pytest.approx(theirs.compute().item(), abs=1e-4)
    root = sqrtm(np.cov(real.numpy(), rowvar=False) @ np.cov(fake.numpy(), rowvar=False)).real
    moved = (real.mean(0) - fake.mean(0)).square().sum().item()
    spread = np.cov(real.numpy(), rowvar=False).trace() + np.cov(fake.numpy(), rowvar=False).trace()
    assert ours == pytest.approx(moved + spread - 2 * root.trace(), abs=1e-4)


def test_kid_equals_torchmetrics_and_definition() -> None:
    """KID has the value that torchmetrics and its definition give for the same features."""
    real, fake = blobs(200), blobs(200, seed=1, at=0.3)
    theirs = KernelInceptionDistance(feature=nn.Identity(), subsets=400, subset_size=100)
    theirs.update(real, real=True)
    theirs.update(fake, real=False)
    torch.manual_seed(0)
    mean, spread = kid_fid_prdc.compute_kid(real, fake, seed=0)
    assert mean == pytest.approx(theirs.compute()[0].item(), abs=3 * spread / kid_fid_prdc.KID_SUBSETS**0.5)

    def kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a.double() @ b.double().T / F + 1) ** 3

    off = ~torch.eye(200, dtype=torch.bool)
    unbiased = kernel(real, real)[off].mean() + kernel(fake, fake)[off].mean() - 2 * kernel(real, fake).mean()
    assert mean == pytest.approx(unbiased.item(), abs=3 * spread / kid_fid_prdc.KID_SUBSETS**0.5)


def test_kid_depends_on_its_seed_alone() -> None:
    """KID depends on its own seed alone and does not touch torch's global random state."""
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = kid_fid_prdc.compute_kid(blobs(), blobs(seed=1), seed=3)
    assert torch.rand(1) == expected
    assert kid_fid_prdc.compute_kid(blobs(), blobs(seed=1), seed=3) == first
    assert kid_fid_prdc.compute_kid(blobs(), blobs(seed=1), seed=4) != first


def test_too_few_images_raise_clear_error() -> None:
    """Too few images are an error that names how many are needed."""
    with pytest.raises(
        kid_fid_prdc.TooFewImages, match=r"KID needs at least 20 images on each side; there are 300 real and 19"
    ):
        kid_fid_prdc.compute_kid(blobs(), blobs(19), 0)
    with pytest.raises(kid_fid_prdc.TooFewImages, match=r"coverage needs at least 20"):
        kid_fid_prdc.compute_prdc(blobs(19), blobs())
    with pytest.raises(kid_fid_prdc.TooFewImages, match=r"FID in 16 features needs at least 17"):
        kid_fid_prdc.compute_fid(blobs(), blobs(16))
    assert issubclass(kid_fid_prdc.TooFewImages, ValueError)


def test_metric_names_describe_measurement() -> None:
    """The name of a quality figure says its metric, features, number of images and split."""
    found = kid_fid_prdc.measure_quality(
        blobs(), blobs(seed=1), labels(), labels(), "teacher", 0, classes=["a", "b", "c d"]
    )
    assert found.left_out == {}
    assert set(found.figures) == {
        "kid_teacher_n300",
        "kid_teacher_n300_std",
        "fid_teacher_n300",
        "precision_teacher_k3_n300",
        "recall_teacher_k3_n300",
        "density_teacher_k5_n300",
        "coverage_teacher_k5_n300",
        *(f"kid_teacher_class_{name}_n100{end}" for name in ("a", "b", "c d") for end in ("", "_std")),
    }
    val = kid_fid_prdc.measure_quality(
        blobs(60), blobs(seed=1), labels(60), labels(), "x", 0, "val", classes=["a", "b", "c"]
    )
    assert "val_coverage_x_k5_n60v300" in val.figures
    assert "val_kid_x_class_a_n20v100" in val.figures


def test_unmeasurable_metrics_are_listed() -> None:
    """Metrics that cannot be measured are left out and listed by their names."""
    real_y, fake_y = labels(40, 3), labels(40, 3)
    found = kid_fid_prdc.measure_quality(blobs(40), blobs(40, 1), real_y, fake_y, "teacher", 0, classes=["a", "b", "c"])
    assert "kid_teacher_n40" in found.figures
    assert sorted(found.left_out) == [f"kid_teacher_class_{c}_n{n}" for c, n in zip("abc", (14, 13, 13), strict=True)]
    nothing = kid_fid_prdc.measure_quality(blobs(12), blobs(12), labels(12), labels(12), "teacher", 0)
    assert nothing.figures == {}
    assert {"fid_teacher_n12", "recall_teacher_k3_n12"} < set(nothing.left_out)


def test_class_kid_shows_bad_class() -> None:
    """A class that is drawn badly shows in the KID of that class and of no other."""
    real, fake, y = blobs(), blobs(seed=1), labels()
    fake[y == 1] += 2
    figures = kid_fid_prdc.measure_quality(real, fake, y, y, "x", 0, classes=["0", "1", "2"]).figures
    assert figures["kid_x_class_1_n100"] > 10 * max(figures["kid_x_class_0_n100"], figures["kid_x_class_2_n100"])


def test_teacher_features_are_normalized() -> None:
    """The teacher's features have size one on real images and are computed in evaluation mode."""
    network = CNN(1, 3, dropout=0.5).train()
    x_BCHW = torch.rand(300, 1, 32, 32) * 2 - 1
    extract = features.build_teacher_extractor(network, x_BCHW)
    assert extract.name == "teacher"
    assert extract(x_BCHW).square().mean().sqrt() == pytest.approx(1, abs=1e-4)
    assert torch.equal(extract(x_BCHW), extract(x_BCHW))
    assert torch.equal(extract(x_BCHW[:7]), extract(x_BCHW)[:7])
    assert not extract(x_BCHW).requires_grad


@pytest.mark.parametrize(("outputs", "name"), [(1008, "inception2015"), (1000, "inceptiontv")])
def test_inception_loads_both_weight_formats(outputs: int, name: str, tmp_path: Path) -> None:
    """Inception is loaded from the weights of 2015 and from those of torchvision."""
    torch.manual_seed(0)
    weights = Inception3(outputs, aux_logits=outputs == 1000, init_weights=False).state_dict()
    torch.save(weights, tmp_path / "weights.pth")
    extract = features.load_inception_v3(tmp_path / "weights.pth")
    assert extract.name == name
    grey = torch.rand(2, 1, 32, 32) * 2 - 1
    found = extract(grey)
    assert found.shape == (2, 2048)
    assert torch.allclose(found, extract(grey.repeat(1, 3, 1, 1)), atol=1e-5)


def test_inception_2015_pools_without_padding() -> None:
    """The Inception network of 2015 leaves the padding out of its average pooling."""
    block = Inception3(1008, aux_logits=False, init_weights=False).Mixed_5b.eval()
    seen = []
    holder = nn.Module()
    holder.Mixed_5b = block
    features._use_tensorflow_pooling(holder)
    block.branch_pool.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    block(torch.ones(1, 192, 5, 5))
    assert torch.allclose(seen[0], torch.ones(()))


def test_invalid_inception_file_is_user_error(tmp_path: Path) -> None:
    """A missing file or one without Inception's weights is a clear error for the user."""
    missing, wrong, text = tmp_path / "missing.pth", tmp_path / "wrong.pth", tmp_path / "text.pth"
    torch.save({"fc.bias": torch.zeros(1000)}, wrong)
    text.write_text("no weights")
    for path, found in ((missing, "no such file"), (wrong, "not the weights"), (text, "not the weights")):
        with pytest.raises(UserError, match=found):
            features.load_inception_v3(path)


def stripes(n: int, seed: int, shuffled: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Two classes of images that are easy to tell: lying and standing stripes, uint8 [n, 32, 32, 1]."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    lines = np.where(np.arange(32) // 4 % 2, 200, 50)[None, :, None, None] * np.ones((n, 1, 32, 1))
    x = np.where(y[:, None, None, None] == 1, lines, lines.transpose(0, 2, 1, 3)) + rng.normal(0, 20, (n, 32, 32, 1))
    return x.clip(0, 255).astype(np.uint8), rng.permutation(y) if shuffled else y


def test_accuracy_score_detects_wrong_labels() -> None:
    """The classification accuracy score is high for useful images, lower for wrong labels, and reproducible."""
    config = ClassifierConfig(steps=999, batch_size=16, evaluate_every=1)
    val = stripes(60, seed=1)

    def score(fake: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
        return compute_cas(*fake, *val, classes=2, config=config, seed=0, steps=12)

    good = score(stripes(64, seed=0))
    assert good.keys() == {"cas_cnn_s12_n64"}
    assert good["cas_cnn_s12_n64"] > 0.9
    assert score(stripes(64, seed=0)) == good
    assert score(stripes(64, seed=0, shuffled=True))["cas_cnn_s12_n64"] < 0.9


def test_conditional_kid_sees_mixed_up_classes() -> None:
    """Classes that lie apart, right and mixed up: the KID of all together is the same, the conditional one is not."""
    y = labels()
    real, fake = blobs() + 2 * y[:, None], blobs(seed=1) + 2 * y[:, None]
    right = compute_conditional_kid(real, fake, y, y)
    mixed_up = compute_conditional_kid(real, fake, y, (y + 1) % 3)
    assert right is not None
    assert mixed_up is not None
    assert abs(right.value) < 3 * right.error
    assert mixed_up.value > 20 * mixed_up.error


def test_conditional_kid_equals_definition() -> None:
    """Its value is that of the definition, and its error that of leaving out one image after another."""
    real, fake = blobs(7).double(), blobs(6, seed=1, at=0.5).double()
    one, other = torch.zeros(7).long(), torch.zeros(6).long()

    def define(real: torch.Tensor, fake: torch.Tensor) -> float:
        def average(a: torch.Tensor, b: torch.Tensor) -> float:
            kernels_NM = (a @ b.T / F + 1) ** 3
            return (kernels_NM[~torch.eye(len(a), dtype=torch.bool)] if a is b else kernels_NM).mean().item()

        return average(real, real) + average(fake, fake) - 2 * average(real, fake)

    found = compute_conditional_kid(real, fake, one, other)
    assert found is not None
    assert found.value == pytest.approx(define(real, fake))
    without_real = [define(real[torch.arange(7) != row], fake) for row in range(7)]
    without_fake = [define(real, fake[torch.arange(6) != row]) for row in range(6)]
    assert found.error == pytest.approx((6 * np.var(without_real) + 5 * np.var(without_fake)) ** 0.5)


def test_conditional_kid_weighs_classes_by_share() -> None:
    """Classes count by their real images; those with fewer than three a side are left out, and none at all is None."""
    real, fake = torch.ones(12, F), torch.ones(12, F)
    y = torch.tensor([0] * 6 + [1] * 4 + [2] * 2)
    fake[y == 1] = -1
    fake[y == 2] = 5
    found = compute_conditional_kid(real, fake, y, y)
    assert found is not None
    assert found.value == pytest.approx(0.4 * 16)
    assert compute_conditional_kid(real[:2], fake, y[:2], y) is None
