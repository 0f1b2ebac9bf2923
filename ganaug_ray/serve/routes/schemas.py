"""What the answers look like, for the OpenAPI page."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ganaug_ray.serve.problem_details import MEDIA_TYPE
from ganaug_ray.serve.routes import examples


class Prediction(BaseModel):
    """What was found in one image."""

    id: str = Field(description="Names this answer in feedback.")
    label: str = Field(description="The likeliest class.")
    probability: float = Field(description="Probability of that class.")
    probabilities: dict[str, float] = Field(description="Probabilities of all classes; they sum to one.")
    notes: list[str] = Field(
        default=[],
        description="What was left out of the file or changed, such as frames and scales; absent where nothing was.",
    )


class Predictions(BaseModel):
    """What was found in a request's images, in their order, by one version of the model."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.PREDICTIONS]})

    model: str
    version: str
    milliseconds: float = Field(description="Time from the request's arrival to its answer.")
    predictions: list[Prediction]


class ModelInput(BaseModel):
    """What images are brought to before the network sees them."""

    size: int = Field(description="Width and height in pixels.")
    channels: int
    resize: str = Field(description="crop, pad or stretch.")


class ModelCard(BaseModel):
    """What answers, and where it comes from."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.MODEL_CARD]})

    name: str
    version: str
    hash: str
    arch: str
    parameters: int | None
    classes: list[str]
    input: ModelInput
    metrics: dict[str, Any] = Field(description="As measured when it was promoted; otherwise on validation images.")
    verdict: str | None = Field(
        description="Whether synthetic images helped: helped, no worthwhile gain, unclear, hurt or not enough repeats."
    )
    sentence: str | None = Field(description="The verdict in words.")
    generator: str | None = Field(description="The verdict on the generator of the synthetic images, in words.")
    lineage: dict[str, Any] = Field(description="Arm, seed, and the hashes of the data set and of the generator.")


class Feedback(BaseModel):
    """What became of feedback."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.FEEDBACK]})

    id: str
    version: str = Field(description="Version of the model that answered.")
    predicted: str
    correct: bool
    stored: bool = Field(description="Whether the image was stored.")


class RolloutStatus(BaseModel):
    """How a candidate does against the champion, what feedback there was, and whether inputs are still the same."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.ROLLOUT]})

    champion: str
    candidate: str | None
    mode: str | None = Field(description="shadow or canary.")
    share: float | None = Field(description="Share of the requests that both models answer.")
    stores_images: bool
    feedback: dict[str, Any] | None = Field(
        description="Over all replicas: the comparison with its sequential test, labels, images dropped and stored."
    )
    drift: dict[str, Any] | None = Field(
        description="Drift of the champion's images in the replica that answers; null for a model without a reference."
    )
    candidate_drift: dict[str, Any] | None = Field(description="The same for a canary.")


class Refusal(BaseModel):
    """Why not (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str


class Refusal2(Refusal):
    """Why not, as the Open Inference Protocol says it too."""

    error: str


_REASONS = {
    400: "The request is malformed.",
    401: "No API key, or a wrong one.",
    404: "Not found.",
    405: "The route does not take this method.",
    408: "The request was sent too slowly.",
    409: "That answer already has a label.",
    413: "Too many bytes, pixels or images.",
    415: "Not an image, or not in a form that is understood.",
    421: "A server without an API key answers only under the name localhost.",
    422: "A damaged image.",
    429: "Too busy; Retry-After says when to try again.",
    507: "There is no room to store the image.",
    503: "Not available now; Retry-After says when to try again.",
}


def describe_refusals(*statuses: int, shape: type[BaseModel] = Refusal) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses for the refusals of a route, including those that any route may give."""
    schema = {"$ref": f"#/components/schemas/{shape.__name__}"}
    refusals: dict[int | str, dict[str, Any]] = {}
    for status in sorted({401, 405, 421, *statuses}):
        refusals[status] = {"description": _REASONS[status], "content": {MEDIA_TYPE: {"schema": schema}}}
    return refusals


BINARY_SCHEMA = {"type": "string", "format": "binary"}
IMAGE_BODY = {
    "requestBody": {
        "required": True,
        "description": "One image, whatever its Content-Type says; or a form with files. Its other fields are ignored.",
        "content": {
            "application/octet-stream": {"schema": BINARY_SCHEMA},
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"images": {"type": "array", "items": BINARY_SCHEMA}}}
            },
        },
    }
}
_FEEDBACK_PROPERTIES = {
    "id": {"type": "string", "description": "The id of an answer.", "examples": [examples.PREDICTION["id"]]},
    "label": {"type": "string", "examples": ["dog"]},
}
FEEDBACK_BODY = {
    "requestBody": {
        "required": True,
        "description": "The true class of an image. A form may hold the image too.",
        "content": {
            "application/json": {
                "schema": {"type": "object", "required": ["id", "label"], "properties": _FEEDBACK_PROPERTIES}
            },
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["id", "label"],
                    "properties": {**_FEEDBACK_PROPERTIES, "image": BINARY_SCHEMA},
                }
            },
        },
    }
}
