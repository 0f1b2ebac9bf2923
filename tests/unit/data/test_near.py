"""Near-duplicates are found, confirmed on pixels, and never dealt to two sides."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from ganaug_ray.config import DataConfig, SplitConfig
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.ingest import near_duplicates, split
from ganaug_ray.data.ingest.scan import survey_without_storing
from ganaug_ray.data.prepare import prepare_dataset
from tests.helpers.dealing import assign

PUBLIC = os.environ.get("GANAUG_DATA") or str(Path(__file__).parents[4] / "shared" / "data")


def photographs(n: int) -> list[Image.Image]:
    """Different views of scikit-learn's two photographs."""
    wholes = [Image.fromarray(image) for image in load_sample_images().images]
    draw = np.random.default_rng(0)
    views = []
    for index in range(n):
        whole = wholes[index % 2]
        side = int(draw.integers(120, 260))
        left, top = (int(draw.integers(0, limit - side)) for limit in whole.size)
        views.append(whole.crop((left, top, left + side, top + side)))
    return views


def saved(image: Image.Image, kind: str, **options: int) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def test_close_hashes_match_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search for close hashes finds the same pairs as a comparison of all of them."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, 3000, np.uint64)
    for row in range(0, 900, 3):  # copies with up to eight bits changed
        bits = rng.choice(64, row % 9, replace=False)
        hashes[row + 1] = hashes[row] ^ np.bitwise_or.reduce(np.uint64(1) << bits.astype(np.uint64), initial=0)
    hashes[2000:2100] = hashes[2000]
    i, j = near_duplicates.find_candidates(hashes)
    apart = np.bitwise_count(hashes[:, None] ^ hashes[None])
    every = np.argwhere(np.triu(apart <= near_duplicates.MAX_HASH_BITS, 1))
    assert np.stack([i, j], 1).tolist() == every.tolist()
    shared: list[object] = []

    def each(function: Callable, things: Sequence) -> Iterator:
        shared.extend(things)
        return map(function, things)

    monkeypatch.setattr(near_duplicates, "MIN_PARALLEL_HASHES", 1000)
    for crowd in (8, 1):  # with one, as many would be cut that are many more
        monkeypatch.setattr(near_duplicates, "MAX_CHANCE_MATCHES", crowd)
        assert np.stack(near_duplicates.find_candidates(hashes, each), 1).tolist() == every.tolist()
    assert len(shared) == 7 + 28, "the search is shared out"
    assert all(len(side) == 0 for side in near_duplicates.find_candidates(hashes[:1]))
    assert all(len(side) == 0 for side in near_duplicates.find_candidates(hashes[:0]))


def test_resaved_images_form_groups(tmp_path: Path) -> None:
    """Images that were saved again form a group, go to one split together, and none is rejected."""
    views = photographs(40)
    for index, view in enumerate(views):
        folder = tmp_path / "source" / ("flower" if index % 2 else "temple")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{index}.png").write_bytes(saved(view, "PNG"))
        if index < 20:
            (folder / f"{index}-again.jpg").write_bytes(saved(view, "JPEG", quality=70))
            (folder / f"{index}-small.png").write_bytes(saved(view.resize((90, 90), Image.Resampling.LANCZOS), "PNG"))
    out = Folder.from_uri(tmp_path / "out")
    config = DataConfig(source=[str(tmp_path / "source")], image_size=64, split=SplitConfig(val=0.2, test=0.3))
    record = prepare_dataset(config, out)
    assert record.rejected == {}
    assert record.near_duplicates == {"groups": 20, "images": 60}
    rows = out.read_table("near_duplicates.parquet").to_pylist()
    groups: dict[int, list[dict]] = {}
    for row in rows:
        groups.setdefault(row["group"], []).append(row)
    for group in groups.values():
        stems = {Path(row["path"]).stem.split("-")[0] for row in group}
        assert len(group) == 3
        assert len(stems) == 1, "only views of the same picture are near-duplicates"
        assert len({row["split"] for row in group}) == 1
        assert group[0]["distance"] == 0
        assert max(row["distance"] for row in group) <= near_duplicates.MAX_GREY_DIFFERENCE
        assert all(Image.open(io.BytesIO(row["thumbnail"])).size == (64, 64) for row in group)
    sides = {row["id"]: row["split"] for row in out.read_table("split.parquet").to_pylist()}
    assert all(sides[row["id"]] == row["split"] for row in rows)


def names(n: int, prefix: str) -> list[str]:
    return [f"{prefix}{i:04d}" for i in range(n)]


def parts(dealt: dict[str, str], ids: list[str]) -> dict[str, int]:
    return {part: sum(dealt[id_] == part for id_ in ids) for part in split.SPLITS}


def test_groups_stay_whole_within_quotas() -> None:
    """Groups of near-duplicates stay whole; test lacks less than the group that would lead into another split's."""
    ids = {"a": names(100, "a"), "b": names(100, "b")}
    together = {id_: f"group {int(id_[1:]) // 5} of {id_[0]}" for own in ids.values() for id_ in own[:60]}
    together |= {"a0070": "across", "b0070": "across", "b0071": "across"}
    dealt = assign(ids, SplitConfig(val=0.1, test=0.2), None, None, together=together)
    for own in ids.values():
        counts = parts(dealt, own)
        assert (counts["val"], counts["train"] + counts["test"]) == (10, 90)
        assert 15 < counts["test"] <= 20
    for group in set(together.values()):
        assert len({dealt[id_] for id_, name in together.items() if name == group}) == 1


def test_new_duplicate_follows_old_image() -> None:
    """A new image that resembles an old one goes to the same split."""
    ids = {"a": names(40, "a"), "b": names(40, "b")}
    old = assign(ids, SplitConfig(), None, None)
    where = {part: [id_ for id_ in ids["a"] if old[id_] == part] for part in split.SPLITS}
    more = {"a": [*ids["a"], *names(60, "new")], "b": [*ids["b"], *names(60, "other")]}
    together = {"new0000": "t", where["test"][0]: "t", "new0001": "r", where["train"][0]: "r", "new0002": "v"}
    together |= {where["val"][0]: "v", "new0003": "torn", where["test"][1]: "torn", where["train"][1]: "torn"}
    dealt = assign(more, SplitConfig(), None, None, old, together)
    assert {id_: dealt[id_] for id_ in old} == old
    assert [dealt[f"new000{i}"] for i in range(4)] == ["test", "train", "val", split.UNUSED]
    assert parts(dealt, more["a"])["test"] == 20


def test_class_of_duplicates_is_refused() -> None:
    """A class of nothing but near-duplicates cannot be split and is refused."""
    ids = {"a": names(30, "a"), "b": names(30, "b")}
    from ganaug_ray.errors import UserError

    with pytest.raises(UserError, match=r"class 'a'.*near-duplicates"):
        assign(ids, SplitConfig(), None, None, together=dict.fromkeys(ids["a"], "all of a"))


def test_digits_form_no_groups() -> None:
    """Small and simple images such as digits lose no row and form no groups."""
    found = survey_without_storing(DataConfig(source=["sklearn:digits"]))
    assert len(found.usable) == 1797
    assert found.duplicate_groups == []


@pytest.mark.skipif(not Path(PUBLIC, "fashion-mnist").exists(), reason="Fashion-MNIST is not on this machine")
def test_fashion_mnist_forms_small_groups(tmp_path: Path) -> None:
    """Fashion-MNIST's test images lose no row and form no group larger than a hundredth of a class."""
    for file in Path(PUBLIC, "fashion-mnist").glob("t10k-*"):
        (tmp_path / file.name).symlink_to(file)
    found = survey_without_storing(DataConfig(source=[f"idx:{tmp_path}"]))
    assert len(found.usable) + found.count_rejects().get("duplicate", 0) == 10_000
    assert max(map(len, found.duplicate_groups), default=0) <= 10
