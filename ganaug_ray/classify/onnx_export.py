"""Exports a trained classifier as an ONNX file for software without torch, checked to give the same logits.

The input is what the network takes: float32 [N, C, H, W] in [-1, 1] at the size of the stored images; what a backbone
wants beyond that is inside the file. How an image becomes that is in the file's metadata.
"""

from __future__ import annotations

import copy
import io
import json
import warnings
from typing import Any

import numpy as np
import torch
from torch import nn

from ganaug_ray.classify import networks
from ganaug_ray.classify.predict import Classifier
from ganaug_ray.core.storage import Folder, split_address
from ganaug_ray.core.wording import describe_unwritable, get_last_line
from ganaug_ray.data.loading import tensors
from ganaug_ray.errors import StageFailed, UserError

ONNX_OPSET = 18
MAX_LOGIT_DIFFERENCE = 1e-4  # of a logit
CHECKED_IMAGES = 8  # images
PREPROCESSING = "crop, pad or stretch (resize) to image_size, channels first, pixel / 127.5 - 1"


def export_onnx(model: Folder, out: str) -> float:
    """Write a model's ONNX file; return the largest difference between its logits and torch's, on random images.

    Args:
        model: a model folder.
        out: the file, local or a URI.

    Raises:
        UserError: onnx and onnxruntime are not installed, there is no such model, or the file cannot be written.
        StageFailed: the network cannot be exported, or the file does not give the same logits; nothing is written.
    """
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise UserError(f"export needs {error.name}: pip install onnx onnxruntime") from None
    classifier = Classifier.load(model)
    spec = classifier.spec
    shape = (CHECKED_IMAGES, spec.image_size, spec.image_size, spec.channels)
    images_NHWC = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    x_NCHW = tensors.to_network(torch.from_numpy(images_NHWC)).contiguous()
    onnx_model = onnx.load_from_string(_trace_network(classifier.network, x_NCHW[:2], spec.arch))
    copied_spec = {key: getattr(spec, key) for key in ("arch", "classes", "channels", "image_size", "resize", "hash")}
    properties = {**copied_spec, "input_range": [-1, 1], "preprocessing": PREPROCESSING}
    onnx.helper.set_model_props(onnx_model, {key: _format_property(value) for key, value in properties.items()})
    content = onnx_model.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (onnx_logits_NK,) = session.run(["logits"], {"images": x_NCHW.numpy()})
    with torch.inference_mode():
        difference = float(np.abs(onnx_logits_NK - classifier.network(x_NCHW).numpy()).max())
    if not difference <= MAX_LOGIT_DIFFERENCE:
        raise StageFailed(f"{out}: not written, since its logits differ from the model's by {difference:.2g}")
    target, name = split_address(out)
    try:
        target.create().write_bytes(name, content)
    except OSError as error:
        raise UserError(describe_unwritable("--out", out, error)) from None
    return difference


def _trace_network(network: networks.Network, x_NCHW: torch.Tensor, arch: str) -> bytes:
    sink = io.BytesIO()
    batch = {0: "batch"}
    try:
        with warnings.catch_warnings(action="ignore"):  # of sizes that tracing makes fixed: here they are
            torch.onnx.export(
                _make_exportable(network, x_NCHW),
                (x_NCHW,),
                sink,  # type: ignore[arg-type]  # a stream, which its annotation leaves out
                input_names=["images"],
                output_names=["logits"],
                dynamic_axes={"images": batch, "logits": batch},
                opset_version=ONNX_OPSET,
                dynamo=False,
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        raise StageFailed(f"{arch} cannot be exported: {get_last_line(error)[:200]}") from None
    return sink.getvalue()


class _SeparableMap(nn.Module):
    """A linear map of images that treats rows and columns alike, as two matrix products, which ONNX has.

    Antialiased scaling and pooling to a size that does not divide the map's are such; ONNX has no operators for them.

    Args:
        module: the map, float [B, C, H, H] -> [B, C, h, h].
        size: H.
    """

    matrix: torch.Tensor  # [h, H]

    def __init__(self, module: Any, size: int) -> None:
        super().__init__()
        # What becomes of one line that is set, constant along the other axis, is a column of the matrix.
        lines_H1HH = torch.eye(size)[:, None, :, None].expand(size, 1, size, size).contiguous()
        self.register_buffer("matrix", module(lines_H1HH)[:, 0, :, 0].T.contiguous())

    def forward(self, x_BCHH: torch.Tensor) -> torch.Tensor:
        return self.matrix @ x_BCHH @ self.matrix.T


class _ExportableAdaptor(nn.Module):
    """The network's own adaptor, with its scaling in an exportable form."""

    def __init__(self, adaptor: networks.Adaptor, size: int) -> None:
        super().__init__()
        self.scale = _SeparableMap(
            lambda x: tensors.scale_images(x, adaptor.input.size, adaptor.input.interpolation), size
        )
        self.adaptor = adaptor

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        return self.adaptor(self.scale(x_BCHW))


@torch.no_grad()
def _make_exportable(network: networks.Network, x_NCHW: torch.Tensor) -> nn.Module:
    """Return a copy in which what ONNX has no operator for is written in other words; the given one stays as it is."""
    exportable = copy.deepcopy(network).eval()
    pools = {name: module for name, module in exportable.named_modules() if isinstance(module, nn.AdaptiveAvgPool2d)}
    sizes: dict[str, int] = {}
    hooks = []
    for name, module in pools.items():

        def note_size(_: nn.Module, inputs: tuple[torch.Tensor, ...], name: str = name) -> None:
            sizes[name] = inputs[0].shape[-1]

        hooks.append(module.register_forward_pre_hook(note_size))
    exportable(x_NCHW)
    for hook in hooks:
        hook.remove()
    for name, size in sizes.items():
        output_size = pools[name].output_size
        if isinstance(output_size, int) and size % output_size:
            exportable.set_submodule(name, _SeparableMap(pools[name], size))
    if x_NCHW.shape[-1] != exportable.adaptor.input.size:
        exportable.set_submodule("adaptor", _ExportableAdaptor(exportable.adaptor, x_NCHW.shape[-1]))
    return exportable


def _format_property(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
