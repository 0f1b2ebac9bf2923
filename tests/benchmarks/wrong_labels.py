"""How many wrong labels stand among the first suspects, where some of the digits' labels were made wrong.

    python -m tests.benchmarks.wrong_labels [--share 0.02] [--trials 2] [--steps 300]

A base CNN is trained on two thirds of scikit-learn's digits with these labels. The same images are then ranked.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from sklearn.datasets import load_digits

from ganaug_ray.classify import explain, networks
from ganaug_ray.evaluate import mistakes

SIZE, CLASSES, IMAGES, BATCH = 16, 10, 1198, 64


def train(x_NCHW: torch.Tensor, y_N: torch.Tensor, steps: int) -> networks.Network:
    """Train a base CNN for some steps of Adam."""
    network = networks.build_network("cnn", 1, CLASSES, 0.3, networks.choose_input("cnn", SIZE, None, False))
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(steps):
        rows = torch.randint(0, len(y_N), (BATCH,))
        loss = torch.nn.functional.cross_entropy(network(x_NCHW[rows]), y_N[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def find_wrong_labels(images_NHWC: np.ndarray, labels_N: np.ndarray, share: float, steps: int, seed: int) -> list[int]:
    """Make a share of the labels wrong, train on all, and return the places of the wrong ones in the ranking."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    wrong = rng.choice(len(labels_N), round(share * len(labels_N)), replace=False)
    given_N = labels_N.copy()
    given_N[wrong] = (given_N[wrong] + rng.integers(1, CLASSES, len(wrong))) % CLASSES
    x_NCHW = torch.from_numpy(images_NHWC).permute(0, 3, 1, 2) / 127.5 - 1
    network = train(x_NCHW, torch.from_numpy(given_N), steps)
    features = explain.extract_features(network, images_NHWC, len(images_NHWC))
    probabilities = mistakes.predict_out_of_sample(features, given_N, CLASSES, seed)
    assert probabilities is not None, "there are enough rows"
    ranking = mistakes.rank_suspects(given_N, probabilities).tolist()
    return sorted(1 + ranking.index(row) for row in wrong)


def main() -> None:
    """Try it some times and print the places."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.02)
    parser.add_argument("--trials", type=int, default=2)
    parser.add_argument("--steps", type=int, default=300)
    given = parser.parse_args()
    digits = load_digits()
    pixels = (digits.images[:IMAGES] / 16 * 255).round().astype(np.uint8)
    images_NHWC = pixels.repeat(SIZE // 8, 1).repeat(SIZE // 8, 2)[..., None]
    labels_N = digits.target[:IMAGES].astype(np.int64)
    for trial in range(given.trials):
        places = find_wrong_labels(images_NHWC, labels_N, given.share, given.steps, trial)
        first = sum(place <= 2 * len(places) for place in places)
        print(f"{first} of {len(places)} wrong labels are among the first {2 * len(places)}; the last is {places[-1]}")


if __name__ == "__main__":
    main()
