"""The rollout of a candidate: for a share of the requests, both the champion and the candidate answer.

As a *shadow* the candidate answers after the champion, and nobody hears it. As a *canary* it is heard, and the champion
answers after it. So both ways every image of the share is a pair, and the models are compared on the same images.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ganaug_ray.core.rng import hash_to_number
from ganaug_ray.errors import UserError

if TYPE_CHECKING:
    from ganaug_ray.serve.live_model import ModelVersion

RolloutMode = Literal["shadow", "canary"]
MAX_NAMED_CLASSES = 5  # in a message


@dataclass(frozen=True)
class Rollout:
    """The candidate of a rollout: its address, its share of the requests, and whether its answers are given.

    Attributes:
        mode: shadow or canary.
        address: of the candidate: an experiment, a registry, one of its versions or a model folder.
        share: of the requests, in (0, 1].
    """

    mode: RolloutMode
    address: str
    share: float

    @classmethod
    def from_options(cls, shadow: str | None, canary: str | None) -> Rollout | None:
        """Parse MODEL:SHARE of --shadow or --canary; a shadow's share may be left out, and is then 1.

        >>> Rollout.from_options("s3://bucket/registry/versions/3:0.2", None)
        Rollout(mode='shadow', address='s3://bucket/registry/versions/3', share=0.2)

        Raises:
            UserError: both are given, or a share is missing or none.
        """
        if shadow and canary:
            raise UserError("--shadow and --canary: give one of them; a canary is compared as a shadow is")
        option = shadow or canary
        if not option:
            return None
        mode: RolloutMode = "shadow" if shadow else "canary"
        address, _, text = option.rpartition(":")
        with suppress(ValueError):
            share = float(text)
            if address and 0 < share <= 1:
                return cls(mode, address, share)
            raise UserError(f"--{mode} {option}: found the share {text}, expected a number above 0 and up to 1")
        if mode == "canary":
            model = option if "/" in text or not address else address  # what follows the colon may be of an address
            raise UserError(f"--canary {option}: expected MODEL:SHARE, such as {model}:0.1")
        return cls(mode, option, 1.0)

    def refuse_other_classes(self, champion: Sequence[str], candidate: Sequence[str]) -> None:
        """Raise UserError if the candidate's classes are not the champion's, in the same order."""
        if list(champion) == list(candidate):
            return
        unshared = sorted(set(champion) ^ set(candidate))
        found = f"only one of the two has {', '.join(unshared[:MAX_NAMED_CLASSES])}" if unshared else "in another order"
        raise UserError(
            f"--{self.mode} {self.address}: has other classes than the champion ({found}); give a model with the same "
            "classes"
        )

    def is_sampled(self, request: str) -> bool:
        """Return whether both models answer a request: drawn by its id, so every replica decides alike."""
        return hash_to_number("rollout", request) < self.share * 2**63


def is_comparable(champion: ModelVersion, candidate: ModelVersion) -> bool:
    """Return whether two models have the same classes and are not the same model."""
    ours = champion.record
    theirs = candidate.record
    return ours.hash != theirs.hash and ours.classes == theirs.classes
