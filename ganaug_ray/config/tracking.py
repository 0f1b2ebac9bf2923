"""The section tracking: where runs are recorded besides their own folder."""

from typing import Annotated

from pydantic import Field

from ganaug_ray.config.base import Config


class TrackingConfig(Config):
    """The section tracking: servers that the whole run is logged to. It may change between two commands of a run."""

    mlflow: Annotated[str, Field(min_length=1)] | None = None
    """URI of an MLflow server or store, such as http://host:5000 or sqlite:///mlflow.db."""
    wandb: Annotated[str, Field(min_length=1)] | None = None
    """Project of Weights & Biases: NAME or ENTITY/NAME; run `wandb login` first, or set WANDB_API_KEY."""
