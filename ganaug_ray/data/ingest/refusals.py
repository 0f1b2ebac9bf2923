"""Refuses a source from which no data set can be made, and names the likely cause."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from ganaug_ray.data.sources.raw import HIDDEN, LABEL_CONFLICT, NO_CLASS, SIDECAR
from ganaug_ray.data.sources.remedies import find_archive_remedy, find_content_remedy
from ganaug_ray.errors import UserError

MAX_REASONS = 6  # named
FOLDERLESS = re.compile("^lies in no class folder")  # as folder_labels says it
CAUSES = re.compile(  # as the readers of sources say them
    "are taken for classes; if the outer folders|is taken for a class, as a folder|but is not read; to use its labels"
    "|there with another suffix|seem to begin with their classes|is not read in an archive"
    "|lists images, and has the columns|list images; if|lists the classes, set|has the classes, save them"
    "|holds pixels in"
)
LABEL_REASONS = (NO_CLASS, LABEL_CONFLICT, "no split")


def refuse_many_rejects(
    where: str,
    max_share: float,
    usable: pa.Table,
    rejected: pa.Table,
    passed_over: Mapping[str, int] | None = None,
    sidecar: str = "",
) -> None:
    """Raise an error if no image is usable, or a larger share than ``max_share`` is not.

    Args:
        where: the setting that names the source.
        max_share: of all images.
        usable: those that are kept, the fields of audit.ImageRecord.
        rejected: those that are not.
        passed_over: reason -> files that are no images.
        sidecar: the path of one of these that holds images in a way that is not read; empty where there is none.

    Raises:
        UserError: so it is.
    """
    reasons = Counter(rejected["reason"].to_pylist())
    summary = ", ".join(f"{n} × {reason}" for reason, n in reasons.most_common(MAX_REASONS))
    if not len(usable):
        summary = ", ".join(f"{n} × {reason}" for reason, n in [*reasons.most_common(), *(passed_over or {}).items()])
        if sum(reasons[reason] for reason in LABEL_REASONS):
            raise UserError(
                f"{where}: no image has a label that can be used ({summary}); {_find_label_cause(rejected)}"
            )
        is_of_sidecars = (passed_over or {}).get(SIDECAR, 0) > len(rejected)
        example = _advise_on_file(sidecar) if is_of_sidecars else _name_example(rejected)
        raise UserError(f"{where}: {_describe_contents(summary)}; expected folders or archives of images{example}")
    # A duplicate is a good image once too often: not a sign that the source is not what it should be. Neither is a
    # test set that was published without its labels.
    rejected_count = len(rejected) - reasons["duplicate"] - _count_held_out(rejected)
    total = len(usable) + len(rejected)
    if rejected_count > max_share * total:
        unusable = rejected.filter(pc.not_equal(rejected["reason"], "duplicate"))
        raise UserError(
            f"{where}: {rejected_count} of {total} images cannot be used ({summary}){_name_example(unusable)}; "
            f"repair them, or allow it with data.max_rejected (now {max_share:g})"
        )


def _describe_contents(summary: str) -> str:
    return f"no readable image (found {summary})" if summary else "names no image: it has no row"


def _name_example(rejected: pa.Table) -> str:
    """Say of one image why it cannot be read, for the most frequent reason."""
    reasons = Counter(rejected["reason"].to_pylist())
    if not reasons:
        return ""
    reason = reasons.most_common(1)[0][0]
    first = rejected.filter(pc.equal(rejected["reason"], reason)).slice(0, 1).to_pylist()[0]
    if remedy := find_archive_remedy(first["path"]):
        return f"; {first['path']} {remedy}"
    return _advise_on_file(first["path"]) or f"; {first['path']}: {first['detail'] or reason}"


def _advise_on_file(path: str) -> str:
    """Say what to do about a file that holds images in a way that is not read; empty of any other."""
    remedy = find_content_remedy(path)
    return f"; {path}: {remedy}" if remedy else ""


def _count_held_out(rejected: pa.Table) -> int:
    """Count the images without a class in folders for validation and test."""
    is_held_out = pc.is_in(rejected["came_in"], pa.array(["val", "test"]))
    return len(rejected.filter(pc.and_(pc.equal(rejected["reason"], NO_CLASS), is_held_out)))


def _find_label_cause(rejected: pa.Table) -> str:
    """Say of one image why it has no label that can be used, for the most frequent of these reasons."""
    unlabelled = rejected.filter(pc.is_in(rejected["reason"], pa.array(LABEL_REASONS)))
    cause = _name_example(unlabelled).removeprefix("; ")
    sources = pc.unique(unlabelled["provenance"]).to_pylist()
    are_in_folders = any(map(FOLDERLESS.search, unlabelled["detail"].drop_null().to_pylist()[:1]))
    if len(sources) < 2 or not are_in_folders:
        return cause
    if all(map(find_archive_remedy, sources)):
        return f"{cause}; if each archive is a class, pack one archive with a folder for each of them"
    return f"{cause}; if each source is a class, give the folder above them, with a folder for each class"


def describe_causes(remarks: Iterable[str]) -> str:
    """Repeat what of the remarks on a source may be the cause of its refusal: the end of a sentence, or nothing."""
    return "".join(f"; {remark}" for remark in remarks if CAUSES.search(remark))


def describe_leaks(rejected: pa.Table) -> str:
    """Say how many images are left out since val or test has the same ones: part of a sentence, or nothing."""
    leaks = len(rejected.filter(pc.equal(rejected["reason"], "leak")))
    return f" ({leaks} were left out as copies of images in another split)" if leaks else ""


def refuse_single_class(
    where: str, usable: pa.Table, rejected: pa.Table, passed_over: Mapping[str, int] | None = None
) -> None:
    """Raise an error if all images have one class; the arguments are those of ``refuse_many_rejects``.

    Raises:
        UserError: so it is.
    """
    classes = pc.unique(usable["label"]).to_pylist()
    if len(classes) == 1:
        cause = _find_label_cause(rejected)
        if hidden := (passed_over or {}).get(HIDDEN, 0):
            cause = f"{hidden} × {HIDDEN}, skipped; rename one that is a class, without the dot in front"
        raise UserError(
            f"{where}: a single class {classes[0]!r} was found; expected one folder of images "
            f"for each of two or more classes{'; ' if cause else ''}{cause}"
        )
