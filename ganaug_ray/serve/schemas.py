"""What the answers look like, for the OpenAPI page."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from ganaug_ray.serve.problems import MEDIA_TYPE


class Prediction(BaseModel):
    """What was found in one image."""

    label: str = Field(description="The likeliest class.")
    probability: float = Field(description="Of that class.")
    probabilities: dict[str, float] = Field(description="Of every class; they sum to one.")


class Predictions(BaseModel):
    """What was found in a request's images, in their order, by one version of the model."""

    model: str
    version: str
    milliseconds: float = Field(description="From the request's arrival to its answer.")
    predictions: list[Prediction]


class ModelInput(BaseModel):
    """What images are brought to before the network sees them."""

    size: int = Field(description="Pixels a side.")
    channels: int
    resize: str = Field(description="crop, pad or stretch.")


class ModelCard(BaseModel):
    """What answers, and where it comes from."""

    name: str
    version: str
    hash: str
    arch: str
    parameters: int | None
    classes: list[str]
    input: ModelInput
    metrics: dict[str, Any] = Field(description="As measured when it was promoted; else on validation images.")
    verdict: str | None = Field(description="Whether synthetic images helped: helped, hurt or unclear.")
    sentence: str | None = Field(description="The verdict in words.")
    lineage: dict[str, Any] = Field(description="Arm, seed, and the hashes of the data set and of the generator.")


class Refusal(BaseModel):
    """Why not (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str


class Refusal2(Refusal):
    """Why not, as the Open Inference Protocol says it too."""

    error: str


_WHY = {
    400: "The request is malformed.",
    401: "No API key, or a wrong one.",
    404: "There is no such thing.",
    405: "Not with this method.",
    408: "The request came too slowly.",
    413: "Too many bytes, pixels or images.",
    415: "Not an image, or not in a form that is understood.",
    421: "Without an API key the server answers under the name localhost only.",
    422: "A damaged image.",
    429: "Too busy; Retry-After says when to come back.",
    503: "Not now; Retry-After says when to come back.",
}


def refusals(*statuses: int, shape: type[BaseModel] = Refusal) -> dict[int | str, dict[str, Any]]:
    """Describe the refusals of a route, those that any route may give among them."""
    schema = {"$ref": f"#/components/schemas/{shape.__name__}"}
    every = sorted({401, 405, 421, *statuses})
    return {status: {"description": _WHY[status], "content": {MEDIA_TYPE: {"schema": schema}}} for status in every}


BINARY = {"type": "string", "format": "binary"}
IMAGE_BODY = {
    "requestBody": {
        "required": True,
        "description": "One image, whatever its Content-Type says; or a form with an image in each part.",
        "content": {
            "application/octet-stream": {"schema": BINARY},
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"images": {"type": "array", "items": BINARY}}}
            },
        },
    }
}
