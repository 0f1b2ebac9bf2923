"""Answers as a client may get them, for the description of the API; its page and generators of clients show them."""

from __future__ import annotations

from typing import Any

PREDICTION = {
    "id": "5f0c1d2e3b4a59687786958473625140-0",
    "label": "cat",
    "probability": 0.97,
    "probabilities": {"cat": 0.97, "dog": 0.03},
}
PREDICTIONS = {"model": "pets", "version": "3", "milliseconds": 4.2, "predictions": [PREDICTION]}
MODEL_CARD = {
    "name": "pets",
    "version": "3",
    "hash": "39515f6418909094",
    "arch": "cnn",
    "parameters": 97_698,
    "classes": ["cat", "dog"],
    "input": {"size": 32, "channels": 3, "resize": "crop"},
    "metrics": {"accuracy": 0.988, "macro_f1": 0.987},
    "verdict": "helped",
    "sentence": "Add the synthetic images: they changed accuracy from 97.1 % to 98.8 %.",
    "lineage": {"arm": "real+classic+synthetic", "seed": 1, "inputs": {"dataset": "dc7a2e692698375d"}},
}
FEEDBACK = {"id": PREDICTION["id"], "version": "3", "predicted": "cat", "correct": False, "stored": True}
ROLLOUT = {
    "champion": "3",
    "candidate": None,
    "mode": None,
    "share": None,
    "stores_images": True,
    "feedback": {"comparison": None, "dropped": 0, "labels": 12, "stored": 7},
    "drift": {"images": 4096, "alarm": False, "statistics": []},
    "candidate_drift": None,
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
