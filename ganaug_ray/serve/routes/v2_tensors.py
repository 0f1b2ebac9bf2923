"""Parses requests and builds replies of the Open Inference Protocol: tensors as JSON, or as bytes after it."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from starlette.responses import Response

from ganaug_ray.serve.image_input import RequestPixels
from ganaug_ray.serve.inference_queue import Answer
from ganaug_ray.serve.problem_details import ProblemError

LENGTH_HEADER = "Inference-Header-Content-Length"
OUTPUT_NAMES = ("probabilities", "label")


@dataclass(frozen=True)
class TensorRequest:
    """A parsed request: its pixels, and for each output that is asked for whether it is sent as bytes."""

    id: str | None
    pixels: RequestPixels
    outputs: dict[str, bool]


def parse_request(
    content: bytes, header_length: str | None, shape: tuple[int, int, int], max_images: int
) -> TensorRequest:
    """Parse a request's body.

    Args:
        content: its body.
        header_length: the header of that name: how many bytes of the body are JSON; absent: all.
        shape: H, W, C that an image must have.
        max_images: images.

    Raises:
        ProblemError: it is not as the protocol and the model want it.
    """
    text, binary = _split_body(content, header_length)
    try:
        request = json.loads(text)
    except (ValueError, RecursionError):
        raise ProblemError(400, "the body is not JSON; image files go to /v1/predict") from None
    if not isinstance(request, dict):
        raise ProblemError(400, "expected a JSON object")
    inputs = request.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise ProblemError(400, "inputs: expected one, named image")
    number = request.get("id")
    if number is not None and not isinstance(number, str):
        raise ProblemError(400, "id: expected a string")
    images_NHWC = _parse_image(inputs[0], binary, shape, max_images)
    return TensorRequest(number, RequestPixels(images_NHWC), _parse_outputs(request))


def _split_body(content: bytes, header_length: str | None) -> tuple[bytes, bytes]:
    if header_length is None:
        return content, b""
    if not (header_length.isascii() and header_length.isdigit()) or len(header_length) > 12:
        raise ProblemError(400, f"{LENGTH_HEADER}: expected a number")
    length = int(header_length)
    if length > len(content):
        raise ProblemError(400, f"{LENGTH_HEADER}: {length} is more than the body's {len(content)} bytes")
    return content[:length], content[length:]


def _parse_image(tensor: dict[str, Any], binary: bytes, shape: tuple[int, int, int], max_images: int) -> np.ndarray:
    if tensor.get("name") != "image":
        raise ProblemError(400, "inputs: expected one, named image")
    if tensor.get("datatype") != "UINT8":
        raise ProblemError(400, "image: expected datatype UINT8; image files go to /v1/predict")
    size = tensor.get("shape")
    if not isinstance(size, list) or not all(type(side) is int for side in size) or tuple(size[1:]) != shape:
        raise ProblemError(400, f"image: expected shape [-1, {', '.join(map(str, shape))}]")
    if not 1 <= size[0] <= max_images:
        status = 413 if size[0] > max_images else 400
        raise ProblemError(status, f"image: expected 1 to {max_images} images, found {size[0]}"[:200])
    count = size[0] * shape[0] * shape[1] * shape[2]
    parameters = tensor.get("parameters") or {}
    length = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if length is not None or "data" not in tensor:
        if length != len(binary) or len(binary) != count:
            raise ProblemError(400, f"image: expected binary_data_size {count} and as many bytes after the JSON")
        return np.frombuffer(binary, np.uint8).reshape(size)
    try:
        values = np.asarray(tensor["data"])
    except (ValueError, OverflowError, RecursionError):
        values = np.zeros(0)
    if values.ndim > 1 and list(values.shape) != size:
        raise ProblemError(
            400,
            f"image: the data are nested as {list(values.shape)}, and shape is {size}; nest them so, or send them flat",
        )
    if values.dtype.kind != "i" or values.size != count or values.min() < 0 or values.max() > 255:
        raise ProblemError(400, f"image: expected data of {count} whole numbers from 0 to 255, flat or nested")
    return values.astype(np.uint8).reshape(size)


def _parse_outputs(request: dict[str, Any]) -> dict[str, bool]:
    default_flag = _read_flag(request, "binary_data_output")
    outputs = request.get("outputs")
    if not outputs:
        return dict.fromkeys(OUTPUT_NAMES, default_flag)
    if not isinstance(outputs, list) or not all(isinstance(output, dict) for output in outputs):
        raise ProblemError(400, "outputs: expected a list of objects")
    flags = {}
    for output in outputs:
        if output.get("name") not in OUTPUT_NAMES:
            raise ProblemError(400, f"outputs: there are {' and '.join(OUTPUT_NAMES)}")
        if isinstance(output.get("parameters"), dict) and "classification" in output["parameters"]:
            raise ProblemError(400, "outputs: the classification extension is not supported; ask for label")
        flags[output["name"]] = _read_flag(output, "binary_data", default_flag)
    return flags


def _read_flag(holder: dict[str, Any], name: str, default: bool = False) -> bool:
    parameters = holder.get("parameters")
    value = parameters.get(name, default) if isinstance(parameters, dict) else default
    if not isinstance(value, bool):
        raise ProblemError(400, f"{name}: expected true or false")
    return value


def build_reply(request: TensorRequest, answer: Answer) -> Response:
    """Build the reply to a request, each output in the form that was asked for."""
    tensors: list[dict[str, Any]] = []
    binary_parts: list[bytes] = []
    for name, as_bytes in request.outputs.items():
        tensor = _describe_tensor(name, answer)
        if as_bytes:
            binary_parts.append(_encode_output(name, answer))
            tensor["parameters"] = {"binary_data_size": len(binary_parts[-1])}
        else:
            tensor["data"] = answer.labels if name == "label" else answer.probabilities_NK.ravel().tolist()
        tensors.append(tensor)
    head: dict[str, Any] = {"model_name": answer.model.name, "model_version": answer.model.version, "outputs": tensors}
    if request.id is not None:
        head["id"] = request.id
    text = json.dumps(head).encode()
    if not binary_parts:
        return Response(text, media_type="application/json")
    headers = {LENGTH_HEADER: str(len(text))}
    return Response(text + b"".join(binary_parts), headers=headers, media_type="application/octet-stream")


def _describe_tensor(name: str, answer: Answer) -> dict[str, Any]:
    if name == "label":
        return {"name": name, "datatype": "BYTES", "shape": [len(answer.labels)]}
    return {"name": name, "datatype": "FP32", "shape": list(answer.probabilities_NK.shape)}


def _encode_output(name: str, answer: Answer) -> bytes:
    """The values as bytes: little-endian floats, or labels in UTF-8, each behind its length."""
    if name != "label":
        return answer.probabilities_NK.astype("<f4").tobytes()
    encoded = b""
    for label in answer.labels:
        label_bytes = label.encode()
        encoded += struct.pack("<I", len(label_bytes)) + label_bytes
    return encoded
