"""Finds the class of an image in the folders it lies in: which of them names a class, and which does not.

Usually the innermost folder is the class. Above it may stand a split (train/cat), below it too (cat/train), or a
folder that only says what it holds (cat/images); folders of masks and annotations beside images are no classes, and
neither is a folder of images without labels beside splits.
"""

from collections import defaultdict
from collections.abc import Collection

from ganaug_ray.data.sources.label_text import make_path_class
from ganaug_ray.data.sources.masks import MASK_ENDING
from ganaug_ray.data.sources.paths import name_split
from ganaug_ray.data.sources.raw import NO_CLASS, SIDECAR, UNLABELLED, Label

IMAGE_FOLDERS = frozenset((
    "images", "image", "imgs", "img", "jpg", "jpeg", "jpegs", "jpegimages", "png", "pngs", "pictures", "photos",
    "frames", "data", "raw", "original", "originals", "cropped", "resized", "processed", "augmented",
))  # fmt: skip
SIDECAR_FOLDERS = frozenset((
    "mask", "masks", "annotation", "annotations", "label", "labels", "segmentation", "segmentations",
    "groundtruth", "ground_truth", "gt",
))  # fmt: skip
MAX_NAMED = 3  # folders, in a sentence
UNLABELLED_FOLDERS = frozenset(("unlabeled", "unlabelled", "unlabeled_data", "unlabelled_data", "seg_pred"))


class FolderLabels:
    """The labels of the images of a source by their folders.

    Args:
        paths: of all its images, normalised.
        remedy: said of images that lie in no class; empty, or the end of a sentence.
    """

    def __init__(self, paths: Collection[str], remedy: str = "") -> None:
        self._remedy = remedy
        # folder -> the folders right below it that hold images, at any depth
        self._children: dict[str, set[str]] = defaultdict(set)
        self._labels: dict[str, Label] = {}
        self._folders = {path.rpartition("/")[0] for path in paths}
        for folder in self._folders:
            while folder:
                parent, _, name = folder.rpartition("/")
                if name in self._children[parent]:
                    break
                self._children[parent].add(name)
                folder = parent

    def find_label(self, path: str) -> Label:
        """Return the label of an image."""
        folder = path.rpartition("/")[0]
        if folder not in self._labels:
            self._labels[folder] = self._find_folder_label(folder)
        return self._labels[folder]

    def describe_repeated_classes(self) -> list[str]:
        """Say which class folders lie in several others, which could be the classes too; splits could not."""
        outer_names: dict[str, set[str]] = defaultdict(set)
        for folder in self._folders:
            parent, _, name = folder.rpartition("/")
            outer = parent.rpartition("/")[2]
            if outer and _is_plain(outer) and _is_plain(name):
                outer_names[name].add(outer)
        repeated = sorted(name for name, outers in outer_names.items() if len(outers) > 1)
        if not repeated:
            return []
        outers = " and ".join(sorted(set.union(*(outer_names[name] for name in repeated)))[:MAX_NAMED])
        return [
            f"{' and '.join(repeated[:MAX_NAMED])} lie in several folders, such as {outers}, and are taken for classes"
            "; if the outer folders are the classes, list the labels in a table (data.label_from: {csv: …})"
        ]

    def _find_folder_label(self, folder: str) -> Label:
        if not folder:
            words = f"lies in no folder, where the folder's name would be its class{self._remedy}"
            return Label(None, (NO_CLASS, words))
        parts = folder.split("/")
        splits = [name_split(part) for part in parts]
        split_at = next((at for at, split in enumerate(splits) if split), None)
        split = None if split_at is None else splits[split_at]
        parents = ["/".join(parts[:at]) for at in range(len(parts))]
        for parent, name in zip(parents, parts, strict=True):
            if self._is_sidecar(parent, name):
                return Label(None, (SIDECAR, f"lies in {name}, beside the images that it is about"), split)
            if self._is_unlabelled(parent, name):
                return Label(None, (UNLABELLED, f"lies in {name}, beside the splits"), split)
        for at in reversed(range(len(parts))):
            if at != split_at and self._is_class(parents[at], parts[at], "".join(parts[at + 1 : at + 2])):
                return Label(make_path_class(parts[at]), None, split)
        words = (
            f"lies in {folder}, which names a split and no class" if split else f"lies in {folder}, which is no class"
        )
        return Label(None, (NO_CLASS, words + self._remedy), split)

    def _is_sidecar(self, parent: str, name: str) -> bool:
        if self._is_called_as_of_images(parent, name) or self._mirrors_images(parent, name):
            return True
        if name.lower() not in SIDECAR_FOLDERS or self._has_class_beside(parent, name):
            return False
        beside = {child.lower() for child in self._children[parent]}
        return bool(beside & IMAGE_FOLDERS) or parent in self._folders

    def _is_called_as_of_images(self, parent: str, name: str) -> bool:
        """Whether it is train_masks beside train, or images_gt beside images; face_mask beside face may be a class."""
        ending = MASK_ENDING.search(name)
        if ending is None or ending[2]:
            return False
        stem = name[: ending.start()]
        return stem in self._children[parent] and (name_split(stem) is not None or stem.lower() in IMAGE_FOLDERS)

    def _mirrors_images(self, parent: str, name: str) -> bool:
        """Whether it has the class folders of images that lie beside it, whatever else does."""
        if name.lower() not in SIDECAR_FOLDERS:
            return False
        own_classes = self._list_children(parent, name)
        siblings = [sibling for sibling in self._children[parent] if sibling.lower() in IMAGE_FOLDERS]
        return any(own_classes & self._list_children(parent, sibling) for sibling in siblings)

    def _list_children(self, parent: str, name: str) -> set[str]:
        return self._children.get(f"{parent}/{name}".lstrip("/"), set())

    def _is_unlabelled(self, parent: str, name: str) -> bool:
        """Whether a folder beside splits is called as one of images without labels is."""
        return name.lower() in UNLABELLED_FOLDERS and any(map(name_split, self._children[parent]))

    def _is_class(self, parent: str, name: str, below: str) -> bool:
        """Whether a folder is a class; ``below`` is the folder in it that the image lies in, if any."""
        if self._has_class_beside(parent, name):
            return True
        is_in_split = name_split(parent.rpartition("/")[2]) is not None
        return _is_plain(name) and (not below or is_in_split or self._has_twin_beside(parent, name, below))

    def _has_class_beside(self, parent: str, name: str) -> bool:
        """Whether another folder beside this one is a class: then this one is too, whatever its name."""
        return any(_is_plain(sibling) for sibling in self._children[parent] if sibling != name)

    def _has_twin_beside(self, parent: str, name: str, below: str) -> bool:
        """Whether another folder beside this one holds a folder of the same name, and is no split."""
        siblings = [sibling for sibling in self._children[parent] if sibling != name and name_split(sibling) is None]
        return any(below in self._list_children(parent, sibling) for sibling in siblings)


def _is_plain(name: str) -> bool:
    """Whether nothing but a class is meant by a folder's name."""
    lower = name.lower()
    is_other = lower in IMAGE_FOLDERS or lower in SIDECAR_FOLDERS or lower in UNLABELLED_FOLDERS
    return not is_other and name_split(name) is None
