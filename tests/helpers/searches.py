"""Records of searches, search.json, made by hand."""

from __future__ import annotations

import math
from typing import Any

SPACES: dict[str, dict[str, Any]] = {
    "gan": {
        "gan.lr": {"log_uniform": [1e-4, 1e-3]},
        "gan.epochs": {"choice": [80, 100, 200]},
        "gan.batch_size": {"integers": [16, 64]},
    },
    "mix": {
        "augment.ratio": {"uniform": [0.25, 4]},
        "augment.strategy": {"choice": ["mix", "pretrain"]},
        "augment.weight": {"uniform": [0.2, 1], "when": {"augment.strategy": ["mix"]}},
    },
    "classifier": {"classifier.arch": {"choice": ["cnn", "resnet18"]}, "classifier.lr": {"log_uniform": [1e-4, 1e-2]}},
}
BUDGETS = [100, 200, 400]


def record(kind: str, trials: int, failed: tuple[int, ...] = (), stopped: tuple[int, ...] = ()) -> dict[str, Any]:
    """A search of so many trials; ``failed`` and ``stopped`` are their numbers. Trial 1 is the best unless it is one.

    A trial fails after its first look. The first of a search for the mix is the baseline.
    """
    rows = [_trial(kind, n, n in failed, n in stopped) for n in range(trials)]
    down = kind == "gan"
    able = [row for row in rows if row["status"] == "finished"]
    top = min(able, key=lambda row: row["value"] * (1 if down else -1)) if able else None
    length = {"gan.epochs": 200} if kind == "gan" else {}
    return {
        "hash": "abc",
        "kind": kind,
        "objective": "kid" if down else "accuracy",
        "direction": "min" if down else "max",
        "algorithm": "tpe",
        "proposed_by": "TPE",
        "curve_note": "",
        "stop_early": True,
        "budgets": BUDGETS if down else None,
        "seeds": None if down else 3,
        "space": SPACES[kind],
        "trials": rows,
        "best": top and {key: top[key] for key in ("trial", "value", "at")} | {"settings": top["settings"] | length},
        "baseline": "0000" if kind == "mix" else None,
        "concurrency": 2,
        "steps": sum(row["steps"] for row in rows),
        "full_steps": 400 * trials,
        "seconds": 30.0 * trials,
        "sentence": f"Of {trials} trials the best has {top['value']:.3f}." if top else "No trial finished.",
    }


def _trial(kind: str, n: int, failed: bool, stopped: bool) -> dict[str, Any]:
    share = (n * 0.618034) % 1
    settings: dict[str, Any] = {}
    for key, rule in SPACES[kind].items():
        if key == "gan.epochs":  # read off each trial's curve
            continue
        if "when" in rule and any(settings[other] not in values for other, values in rule["when"].items()):
            continue
        ((_, own),) = [(name, value) for name, value in rule.items() if name != "when"]
        if "choice" in rule:
            settings[key] = own[n % len(own)]
        elif "log_uniform" in rule:
            settings[key] = own[0] * (own[1] / own[0]) ** share
        else:
            settings[key] = type(own[0])(own[0] + (own[1] - own[0]) * share)
    if kind == "mix" and n == 0:
        settings = {"augment.ratio": 0}
    looks = [_look(kind, n, i, share) for i in range(1 if failed or stopped else 3)]
    return {
        "trial": f"{n:04d}",
        "settings": settings,
        "status": "failed" if failed else "stopped" if stopped else "finished",
        "reason": "out of memory <on> the GPU" if failed else "worse than half of the trials" if stopped else None,
        "value": None if failed else looks[-1]["value"],
        "at": None if failed else looks[-1]["at"],
        "looks": looks,
        "seconds": 10.0 + 3 * len(looks),
        "ended": 30.0 * (n + 1),
        "steps": 100 * 2 ** (len(looks) - 1),
    }


def _look(kind: str, n: int, i: int, share: float) -> dict[str, Any]:
    if kind == "gan":
        bad = 0.0 if n == 1 else 0.01 + 0.05 * share
        return {"at": BUDGETS[i], "value": 0.02 + bad + 0.1 * math.exp(-i), "score": None}
    good = 0.9 if n == 1 else 0.6 + 0.25 * share
    return {"at": i + 1, "value": good - 0.02, "score": good + 0.01 * (i - 1)}
