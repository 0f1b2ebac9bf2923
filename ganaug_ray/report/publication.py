"""Publishes an experiment's champion: a folder that a model hub takes, and its way there.

    README.md                   the model card
    model.safetensors           the weights
    model.json                  what ganaug_ray needs to load them
    model.onnx                  the same network for other software, where it was exported
    config.json                 architecture and classes
    preprocessor_config.json    how a picture becomes the network's input

Nothing in it is pickled, and no path of this site and no image is in it.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from ganaug_ray.classify.onnx_export import PREPROCESSING
from ganaug_ray.core.experiment_dir import Record, Run
from ganaug_ray.core.model_registry import find_registry
from ganaug_ray.core.records import DatasetRecord, ModelRecord, VerdictRecord
from ganaug_ray.core.storage import Folder, encode_json
from ganaug_ray.errors import StageFailed, UserError
from ganaug_ray.report.model_card import CardFacts, write_card

CARD_FILE = "README.md"
ONNX_FILE = "model.onnx"
HUB_PREFIX = "hf:"


def write_publication(run: Run, out: Folder, name: str) -> list[str]:
    """Write an experiment's champion, and its model card, into a folder; return the names of the files.

    Args:
        run: the experiment.
        out: a new folder, or one with an earlier publication.
        name: of the model.

    Raises:
        UserError: the experiment has no verdict, or its champion is not promoted; or the folder holds something else.
    """
    verdict = VerdictRecord.find(run.root)
    if verdict is None:
        raise UserError(f"{run.root}: has no verdict yet; `{run.format_command('run')}` reaches one")
    champion = verdict.champion
    split = run.locate_split(champion.split)
    model = ModelRecord.read(split.models / champion.arm / f"seed-{champion.seed}")
    registry = find_registry(run.root)
    current = registry.read_json("champion.json") if registry else None
    if registry is None or current is None or current["model"] != model.hash:
        raise UserError(
            f"{run.root}: its best model is not its registry's champion; `{run.format_command('promote')}` makes it so"
        )
    if out.list_entries() and not (out.has_file(CARD_FILE) and out.has_file(ModelRecord.FILE)):
        raise UserError(f"{out}: holds files that `ganaug publish` did not write; give another folder")
    version = registry / "versions" / str(current["version"])
    has_onnx = version.has_file(ONNX_FILE)
    facts = CardFacts(
        name, run.read_about(), model, DatasetRecord.read(split.dataset), verdict, current["version"], has_onnx
    )
    files = {
        "model.safetensors": version.read_bytes("model.safetensors"),
        ModelRecord.FILE: encode_json(_strip_paths(model)),
        "config.json": encode_json(_build_config(model)),
        "preprocessor_config.json": encode_json(_build_preprocessing(model)),
        CARD_FILE: write_card(facts).encode(),
    }
    if has_onnx:
        files[ONNX_FILE] = version.read_bytes(ONNX_FILE)
    out.create()
    for file, content in files.items():
        out.write_bytes(file, content)
    return sorted(files)


def push_publication(folder: Path, repo: str) -> str:
    """Push a published folder to a model repository of the Hugging Face Hub, which is made private if it is new.

    Returns:
        The address of its page.

    Raises:
        StageFailed: there is no token, no network, or the Hub refuses it; the folder stays, and the message says how
            to push it later.
    """
    from huggingface_hub import HfApi, get_token

    later = f"the folder {folder} stays; `{format_upload(repo, str(folder))}` pushes it"
    if get_token() is None:
        raise StageFailed(f"{HUB_PREFIX}{repo}: not pushed, since nobody is logged in; {later} after `hf auth login`")
    api = HfApi()
    try:
        url = api.create_repo(repo, private=True, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=folder, commit_message="Publish a classifier and its model card")
    except Exception as error:  # of the Hub's library and of its HTTP client's, which have no base in common
        reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
        raise StageFailed(f"{HUB_PREFIX}{repo}: not pushed ({reason:.150}); {later}") from None
    return str(url)


def format_upload(repo: str, folder: str) -> str:
    """Return the command that pushes a published folder as ``push_publication`` does."""
    return shlex.join(["hf", "upload", repo, folder, "--private"])


def _strip_paths(model: ModelRecord) -> Record:
    """Return model.json without what may name folders of this site."""
    record = model.to_json()
    record["start"] = None
    record["config"] = {**record["config"], "weights": None, "init_from": None}
    return record


def _build_config(model: ModelRecord) -> Record:
    return {
        "architectures": [model.arch],
        "num_labels": len(model.classes),
        "id2label": {str(number): name for number, name in enumerate(model.classes)},
        "label2id": {name: number for number, name in enumerate(model.classes)},
        "num_channels": model.channels,
        "image_size": model.image_size,
    }


def _build_preprocessing(model: ModelRecord) -> Record:
    return {
        "size": {"height": model.image_size, "width": model.image_size},
        "resize": model.resize,
        "do_convert_grey": model.channels == 1,
        "rescale_factor": 1 / 127.5,
        "rescale_offset": -1.0,
        "description": PREPROCESSING,
    }
