"""Answers as a client may get them, for the description of the API; its page and generators of clients show them."""

from __future__ import annotations

from typing import Any

Example = dict[str, Any]

PREDICTION: Example = {
    "id": "5f0c1d2e3b4a59687786958473625140-0",
    "label": "cat",
    "probability": 0.97,
    "probabilities": {"cat": 0.97, "dog": 0.03},
}
PREDICTIONS: Example = {"model": "pets", "version": "3", "milliseconds": 4.2, "predictions": [PREDICTION]}
MODEL_CARD: Example = {
    "name": "pets",
    "version": "3",
    "hash": "39515f6418909094",
    "arch": "cnn",
    "parameters": 97_698,
    "classes": ["cat", "dog"],
    "input": {"size": 32, "channels": 3, "resize": "crop"},
    "metrics": {"accuracy": 0.988, "macro_f1": 0.987},
    "verdict": "helped",
    "sentence": "Use the synthetic images: they raised accuracy from 97.1 % to 98.8 %.",
    "generator": "The generator is usable: its images cover 98 % of the real ones (held-out real images: 98 %).",
    "lineage": {"arm": "real+classic+synthetic", "seed": 1, "inputs": {"dataset": "dc7a2e692698375d"}},
}
FEEDBACK: Example = {"id": PREDICTION["id"], "version": "3", "predicted": "cat", "correct": False, "stored": True}
# Without null, which FastAPI leaves out of examples.
ROLLOUT: Example = {
    "champion": "3",
    "candidate": "4",
    "mode": "canary",
    "share": 0.1,
    "stores_images": True,
    "feedback": {
        "comparison": {
            "champion": "3",
            "candidate": "4",
            "images": 4096,
            "agreement": 0.96,
            "milliseconds": {"champion": 1.2, "candidate": 1.4},
            "labels": 120,
            "accuracy": {"champion": 0.95, "candidate": 0.97},
            "candidate_alone_right": 5,
            "champion_alone_right": 3,
            "evidence": 0.9,
            "verdict": "undecided",
        },
        "dropped": 0,
        "labels": 120,
        "stored": 7,
    },
    "drift": {"images": 4096, "alarm": False, "statistics": []},
    "candidate_drift": {"images": 410, "alarm": False, "statistics": []},
}
SERVER = {"name": "ganaug", "version": "0.1.0", "extensions": ["binary_tensor_data"]}
MODEL_METADATA = {
    "name": "pets",
    "versions": ["3"],
    "platform": "pytorch_ganaug",
    "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 32, 32, 3]}],
    "outputs": [
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]},
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
    ],
    "properties": {"classes": '["cat", "dog"]'},
}
READY = {"name": "pets", "ready": True}
INFERENCE = {
    "model_name": "pets",
    "model_version": "3",
    "outputs": [
        {"name": "probabilities", "datatype": "FP32", "shape": [1, 2], "data": [0.97, 0.03]},
        {"name": "label", "datatype": "BYTES", "shape": [1], "data": ["cat"]},
    ],
}


def show_example(example: Any) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI response 200 with an example, for ``responses`` of a route."""
    return {200: {"content": {"application/json": {"example": example}}}}
