"""What every algorithm of a search keeps to, and what some of them refuse."""

from pathlib import Path
from typing import get_args

import pytest

from ganaug_ray.config import Job
from ganaug_ray.config.search import DEFAULT_TRIALS, AlgorithmName
from ganaug_ray.errors import UserError
from ganaug_ray.search.algorithms import ALGORITHMS, Algorithm
from ganaug_ray.search.search_space import Dimension, SearchSpace, Settings
from ganaug_ray.search.trial_log import IntermediateResult, Trial

RATES = Dimension("gan.lr", "choice", (1e-4, 2e-4, 4e-4), {})
PRESETS = Dimension("gan.preset", "choice", ("dcgan", "scarce"), {})
CHOICES = SearchSpace("gan", (RATES, PRESETS), "gan.steps", (2, 4))
RANGE = SearchSpace("gan", (Dimension("gan.lr", "uniform", (1e-4, 1e-3), {}),), "gan.steps", (2, 4))
FILE = Path("space.yaml")

every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=ALGORITHMS.keys())


def propose_in_turn(algorithm: Algorithm, space: SearchSpace, most: int) -> list[Settings]:
    """Settings of trials one after another, each with a value before the next."""
    proposer = algorithm.create_proposer(space, "min", 0, 0)
    tried: list[Settings] = []
    for turn in range(most):
        settings = proposer.propose(f"{turn:04d}", list(tried))
        if settings is None:
            break
        tried.append(settings)
        proposer.record_outcome(
            Trial(f"{turn:04d}", settings, "finished", looks=(IntermediateResult(2, settings["gan.lr"]),))
        )
    return tried


def test_job_accepts_exactly_the_listed_algorithms() -> None:
    """A name in the schema has an object, and an object a name."""
    assert set(get_args(AlgorithmName)) == ALGORITHMS.keys()


@every_algorithm
def test_proposals_stay_within_the_space(algorithm: Algorithm) -> None:
    """A choice is among its values, and a key that was not searched is not set."""
    for settings in propose_in_turn(algorithm, CHOICES, 6):
        assert settings.keys() == {"gan.lr", "gan.preset"}
        assert settings["gan.lr"] in RATES.values
        assert settings["gan.preset"] in PRESETS.values


@every_algorithm
def test_each_combination_is_proposed_once(algorithm: Algorithm) -> None:
    """Only members of a population may begin alike."""
    tried = propose_in_turn(algorithm, CHOICES, 20)
    if algorithm.is_population:
        assert len(tried) == 20
    else:
        assert len(tried) == 6
        assert all(tried.count(settings) == 1 for settings in tried)


@every_algorithm
def test_same_seed_proposes_the_same(algorithm: Algorithm) -> None:
    """Nothing but seed and past trials decides."""
    assert propose_in_turn(algorithm, CHOICES, 5) == propose_in_turn(algorithm, CHOICES, 5)


@every_algorithm
def test_outcome_of_earlier_process_is_accepted(algorithm: Algorithm) -> None:
    """Trials of the ledger were proposed by an object that is gone."""
    proposer = algorithm.create_proposer(CHOICES, "max", 0, 3)
    settings = {"gan.lr": 2e-4, "gan.preset": "dcgan"}
    for status in ("finished", "stopped", "failed"):
        proposer.record_outcome(Trial("0001", settings, status, looks=(IntermediateResult(2, 0.5),)))  # type: ignore[arg-type]
    assert proposer.propose("0004", [settings]) is not None


@every_algorithm
def test_every_algorithm_has_page_text(algorithm: Algorithm) -> None:
    """A name for the page, and a whole sentence or none below the curves."""
    assert algorithm.proposed_by
    assert not algorithm.curve_note or algorithm.curve_note.endswith(".")


def test_grid_combinations_limit_trials() -> None:
    """Others make as many as they are asked for."""
    grid, random = ALGORITHMS["grid"], ALGORITHMS["random"]
    assert [grid.count_trials(trials, CHOICES) for trials in (None, 4, 9)] == [6, 4, 6]
    assert [random.count_trials(trials, CHOICES) for trials in (None, 4, 9)] == [DEFAULT_TRIALS, 4, 9]


def test_population_trials_never_stop_early() -> None:
    """A member that falls behind follows another instead."""
    assert [name for name, algorithm in ALGORITHMS.items() if algorithm.is_population] == ["pbt"]
    assert [name for name, algorithm in ALGORITHMS.items() if not algorithm.may_stop_early] == ["pbt"]


@pytest.mark.parametrize(
    ("space", "problem"),
    [
        (SearchSpace("mix", (Dimension("augment.ratio", "choice", (0.5,), {}),)), "found search mix"),
        (CHOICES, "found gan.preset"),
        (SearchSpace("gan", (), "gan.steps", (2, 4)), "found no gan.lr"),
    ],
    ids=["another kind", "another key", "no rate"],
)
def test_population_searches_only_learning_rate(tiny_job: Job, space: SearchSpace, problem: str) -> None:
    """The message names what is too much, or missing."""
    with pytest.raises(UserError, match=f"pbt changes gan.lr while GANs train, and nothing else; {problem}"):
        ALGORITHMS["pbt"].check_space(FILE, space, tiny_job)


def test_population_refuses_job_with_schedule(tiny_job: Job) -> None:
    """The schedule is what it finds."""
    then = [{"after": 2, "lr": 1e-4}]
    gan = type(tiny_job.gan).model_validate(tiny_job.gan.model_dump() | {"then": then})
    with pytest.raises(UserError, match=r"gan\.then: search\.algorithm pbt finds it; leave it out"):
        ALGORITHMS["pbt"].check_space(FILE, RANGE, tiny_job.model_copy(update={"gan": gan}))


def test_grid_refuses_a_range(tiny_job: Job) -> None:
    """A range has no combinations; samplers take it."""
    with pytest.raises(UserError, match=r"space\.yaml: gan\.lr: search\.algorithm grid needs a choice, found uniform"):
        ALGORITHMS["grid"].check_space(FILE, RANGE, tiny_job)
    ALGORITHMS["tpe"].check_space(FILE, RANGE, tiny_job)
