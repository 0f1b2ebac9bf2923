"""Which candidates were ever compared on a data set's test images: a ledger beside the verdict.

The best of many looks better than it is, whether its rivals are still in the job or were taken out after a look at
their verdict. So what was compared once counts, as long as the data set is the same.
"""

from __future__ import annotations

from collections.abc import Iterable

from ganaug_ray.core.experiment_dir import Run

LEDGER = "compared.json"


def record_candidates(run: Run, dataset: str, fingerprints: Iterable[str]) -> int:
    """Add candidates to the experiment's ledger and return how many were ever compared on these test images.

    Args:
        run: the whole experiment.
        dataset: hash of its data set; another one has other test images, and starts anew.
        fingerprints: one a candidate, of all settings that its models are trained with.
    """
    ledger = run.root.read_json(LEDGER) if run.root.has_file(LEDGER) else {}
    known = set(ledger.get(dataset, ()))
    known.update(fingerprints)
    if sorted(known) != ledger.get(dataset):
        run.root.write_json(LEDGER, {**ledger, dataset: sorted(known)})
    return len(known)
