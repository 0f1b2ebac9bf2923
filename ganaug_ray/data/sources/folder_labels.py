"""Finds the class of an image in the folders it lies in: which of them names a class, and which does not.

Usually the innermost folder is the class. Above it may stand a split (train/cat), below it too (cat/train), or a
folder that only says what it holds (cat/images); folders of masks and annotations beside images are no classes, and
neither is a folder of images without labels beside splits, or the one folder of a test split that no other split has
(test/unknown, where the images of a test set have no labels). A class folder may be divided further (cat/images and
cat/crops, or cat/1.jpg and cat/more/2.jpg): then it is the class, and not what lies in it. Where some classes lie a
level deeper than others, nobody can know which are meant.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping

from ganaug_ray.data.sources.folder_tree import IMAGE_FOLDERS, UNLABELLED_FOLDERS, FolderTree, is_plain, join_path
from ganaug_ray.data.sources.label_text import make_path_class
from ganaug_ray.data.sources.masks import MASK_ENDING, SIDECAR_FOLDERS
from ganaug_ray.data.sources.paths import may_be_image, name_split
from ganaug_ray.data.sources.raw import NO_CLASS, SIDECAR, UNLABELLED, Label

MAX_NAMED = 3  # folders, in a sentence


class FolderLabels:
    """The labels of the images of a source by their folders.

    Args:
        paths: of all its files that no name tells to stand beside images, normalised.
    """

    def __init__(self, paths: Collection[str]) -> None:
        self._remedy = ""
        self._labels: dict[str, Label] = {}
        # Code, archives and the like say nothing of where the classes lie, unless all images have odd names.
        self._tree = FolderTree(list(filter(may_be_image, paths)) or paths)
        self._bare_tests: set[str] = set()
        self._spellings = self._unify_spellings()  # of a class -> the one that stands for it
        self._bare_tests = self._find_bare_tests()

    def set_remedy(self, remedy: str) -> None:
        """Have this said of images that lie in no class; empty, or the end of a sentence."""
        self._remedy = remedy
        self._labels.clear()

    def find_label(self, path: str) -> Label:
        """Return the label of an image."""
        folder = path.rpartition("/")[0]
        label = self._find_label_as_written(folder)
        if folder in self._bare_tests:
            words = f"lies in {folder}: test has no other folder, and no other split has one of that name"
            return Label(None, (NO_CLASS, words + self._remedy), label.split)
        if label.name in self._spellings:
            return Label(self._spellings[label.name], None, label.split)
        return label

    def find_sidecar(self, path: str) -> Label | None:
        """Return the label of an image that lies in a folder of masks or annotations; None of any other."""
        label = self._find_label_as_written(path.rpartition("/")[0])
        return label if label.objection is not None and label.objection[0] == SIDECAR else None

    def describe_spellings(self) -> list[str]:
        """Say which classes are spelled in another way in each split, and are taken for one."""
        return [
            f"{other} and {name}, which lie in different splits, are taken for one class, {name}; if they are two, "
            "rename one of the folders, and set data.split: {given: false}"
            for other, name in sorted(self._spellings.items())
        ]

    def describe_joined_names(self) -> list[str]:
        """Say which folders beside each other are one class, as their names differ in what nobody sees."""
        names_by_class: dict[tuple[str, str | None], list[str]] = defaultdict(list)
        for folder in sorted(self._tree.folders):
            parent, _, name = folder.rpartition("/")
            names_by_class[parent, make_path_class(name)].append(name)
        return [
            f"folders {' and '.join(map(ascii, names))} are one class, {name}, since nobody can see how their names "
            "differ; if they are two, rename one of them"
            for (_, name), names in names_by_class.items()
            if len(names) > 1 and name is not None
        ]

    def describe_bare_tests(self) -> list[str]:
        """Say which folders of test images are taken for such without labels."""
        return [describe_bare_test(folder) for folder in sorted(self._bare_tests)]

    def _find_bare_tests(self) -> set[str]:
        """Find the folders such as test/unknown, where train has classes and all test images lie in no other one."""
        labels = {folder: self.find_label(f"{folder}/") for folder in self._tree.folders}
        tests = {folder: label.name for folder, label in labels.items() if label.name and label.split == "test"}
        other_names = {label.name for label in labels.values() if label.split != "test"}
        train_names = {label.name for label in labels.values() if label.name and label.split == "train"}
        if len(train_names) < 2 or len({*tests.values()}) != 1 or not other_names.isdisjoint(tests.values()):
            return set()
        are_in_tests = (name_split(folder.rpartition("/")[0].rpartition("/")[2]) == "test" for folder in tests)
        return {*tests} if all(are_in_tests) else set()  # dog/test is not called as images without labels are

    def _find_label_as_written(self, folder: str) -> Label:
        if folder not in self._labels:
            self._labels[folder] = self._find_folder_label(folder)
        return self._labels[folder]

    def _unify_spellings(self) -> dict[str, str]:
        """Find classes whose names differ by case or separators alone, each in a split of its own."""
        splits_by_name: dict[str, set[str | None]] = defaultdict(set)
        for folder in self._tree.folders:
            label = self._find_label_as_written(folder)
            if label.name is not None:
                splits_by_name[label.name].add(label.split)
        alike: dict[str, list[str]] = defaultdict(list)
        for name in sorted(splits_by_name, key=lambda name: ("train" not in splits_by_name[name], name)):
            alike[re.sub(r"[\s_-]+", " ", name.casefold())].append(name)
        spellings: dict[str, str] = {}
        for names in alike.values():
            splits = [split for name in names for split in splits_by_name[name]]
            if None not in splits and len(set(splits)) == len(splits):
                spellings |= dict.fromkeys(names[1:], names[0])
        return spellings

    def find_other_level(self) -> str | None:
        """Say which two folders may be classes and lie on different levels; None where all classes lie on one.

        It is part of a sentence: what was found, and what to do.
        """
        levels = self._tree.find_other_level()
        if levels is None:
            return None
        inner, outer = levels
        *_, above, name = inner.split("/")
        return (
            f"found images in {inner} and in {outer}, so either {above} or {name} may be meant as a class; give "
            "the one folder that holds all classes, move them side by side, or list the labels in a table "
            "(data.label_from: {csv: …})"
        )

    def describe_nesting(self) -> list[str]:
        """Say which class folders are divided further, and which lie in others that could be the classes."""
        divided = set()
        outer_names: dict[str, set[str]] = defaultdict(set)
        kinds = set()
        for folder in self._tree.folders:
            if ".." in folder.split("/"):  # in an archive; it is not read
                continue
            whole = self._tree.find_divided(folder)
            if whole not in (None, folder) and self.find_label(f"{folder}/").name:
                divided.add(folder)
            *outer_folders, name = (whole or folder).split("/")
            outer = next((name for name in reversed(outer_folders) if is_plain(name)), None)
            if outer is None:
                continue
            if is_plain(name):
                outer_names[outer].add(name)
            elif (
                outer == outer_folders[-1]
                and name.lower() in IMAGE_FOLDERS
                and self._has_class_beside("/".join(outer_folders), name)
            ):
                kinds.add(folder)
        return [
            *_describe_divided(sorted(divided)),
            *_describe_outer_folders(outer_names),
            *_describe_kinds(sorted(kinds)),
        ]

    def _find_folder_label(self, folder: str) -> Label:
        if not folder:
            words = f"lies in no class folder, so it has no label{self._remedy}"
            return Label(None, (NO_CLASS, words))
        parts = folder.split("/")
        splits = [name_split(part) for part in parts]
        split_at = next((depth for depth, split in enumerate(splits) if split), None)
        split = None if split_at is None else splits[split_at]
        parents = ["/".join(parts[:depth]) for depth in range(len(parts))]
        for parent, name in zip(parents, parts, strict=True):
            if self._is_sidecar(parent, name):
                return Label(None, (SIDECAR, f"lies in {name}, beside the images that it is about"), split)
            if self._is_unlabelled(parent, name):
                return Label(None, (UNLABELLED, f"lies in {name}, beside the splits"), split)
        divided = self._tree.find_divided(folder)
        if divided is not None:
            return Label(make_path_class(divided.rpartition("/")[2]), None, split)
        if self._tree.holds_classes(folder):
            words = f"lies in {folder}, beside the folders of classes, and in none of them"
            return Label(None, (NO_CLASS, words + self._remedy), split)
        for depth in reversed(range(len(parts))):
            if depth != split_at and self._is_class(
                parents[depth], parts[depth], "".join(parts[depth + 1 : depth + 2])
            ):
                return Label(make_path_class(parts[depth]), None, split)
        words = (
            f"lies in {folder}, which names a split, not a class"
            if split
            else f"lies in {folder}, which is not a class"
        )
        if parts[-1].lower() in IMAGE_FOLDERS and self._tree.list_siblings(folder):
            words += f", since many folders of images are called {parts[-1]}; "
            words += f"if it is one, rename it, such as to {parts[-1]} class"
        return Label(None, (NO_CLASS, words + self._remedy), split)

    def _is_sidecar(self, parent: str, name: str) -> bool:
        if self._is_called_as_of_images(parent, name) or self._mirrors_images(parent, name):
            return True
        if name.lower() not in SIDECAR_FOLDERS or self._has_class_beside(parent, name):
            return False
        beside = {child.lower() for child in self._tree.list_children(parent)}
        return bool(beside & IMAGE_FOLDERS) or parent in self._tree.folders

    def _is_called_as_of_images(self, parent: str, name: str) -> bool:
        """Whether it is train_masks beside train, or images_gt beside images; face_mask beside face may be a class."""
        ending = MASK_ENDING.search(name)
        if ending is None or ending[2]:
            return False
        stem = name[: ending.start()]
        if stem not in self._tree.list_children(parent):
            return False
        return name_split(stem) is not None or stem.lower() in IMAGE_FOLDERS

    def _mirrors_images(self, parent: str, name: str) -> bool:
        """Whether it has the class folders of images that lie beside it, whatever else does."""
        if name.lower() not in SIDECAR_FOLDERS:
            return False
        own_classes = self._tree.list_first_folders(join_path(parent, name))
        siblings = [sibling for sibling in self._tree.list_children(parent) if sibling.lower() in IMAGE_FOLDERS]
        return any(own_classes & self._tree.list_first_folders(join_path(parent, sibling)) for sibling in siblings)

    def _is_unlabelled(self, parent: str, name: str) -> bool:
        """Whether a folder beside splits, or in one, is called as one of images without labels is."""
        if name.lower() not in UNLABELLED_FOLDERS:
            return False
        return bool(name_split(parent.rpartition("/")[2])) or any(map(name_split, self._tree.list_children(parent)))

    def _is_class(self, parent: str, name: str, below: str) -> bool:
        """Whether a folder is a class; ``below`` is the folder in it that the image lies in, if any."""
        if self._has_class_beside(parent, name):
            return True
        is_in_split = name_split(parent.rpartition("/")[2]) is not None
        return is_plain(name) and (not below or is_in_split or self._tree.has_twin_beside(parent, name, below))

    def _has_class_beside(self, parent: str, name: str) -> bool:
        """Whether another folder beside this one is a class: then this one is too, whatever its name."""
        children = self._tree.list_children(parent)  # of thousands none is copied
        return not self._tree.is_divided(parent) and any(child != name and is_plain(child) for child in children)


def describe_bare_test(folder: str) -> str:
    """Say that a folder of test images is taken for one without labels."""
    return (
        f"{folder} is not taken for a class, since test has no other folder and no other split has one of that name; "
        "if it is a class, add such a folder to train, and set data.split: {given: false}"
    )


def _describe_divided(folders: list[str]) -> list[str]:
    unusual = [folder for folder in folders if is_plain(folder.rpartition("/")[2])]
    if not unusual:
        return []
    verb = "folder lies in a class folder and is" if len(unusual) == 1 else "folders lie in class folders and are"
    return [
        f"{len(unusual)} {verb} taken for a part of that class, such as {unusual[0]}; if it is a class of its own, "
        "move it beside the others, or list the labels in a table (data.label_from: {csv: …})"
    ]


def _describe_outer_folders(names: Mapping[str, set[str]]) -> list[str]:
    """Say which folders hold those that are taken for classes, where there are several such, which are no splits."""
    if len(names) < 2:
        return []
    counts = Counter(name for inner in names.values() for name in inner)
    repeated = sorted(name for name, outers in counts.items() if outers > 1)
    inner = repeated or sorted(min(inner) for inner in names.values())
    outer = sorted(outer for outer in names if names[outer] & set(inner))
    return [
        f"{' and '.join(inner[:MAX_NAMED])} lie in several folders, such as {' and '.join(outer[:MAX_NAMED])}, and "
        "are taken for classes; if the outer folders are the classes, list the labels in a table "
        "(data.label_from: {csv: …}); if they are splits, name them train, val and test"
    ]


def _describe_kinds(folders: list[str]) -> list[str]:
    """Say which folders are called as a kind of images and are taken for classes, since others beside them are."""
    if not folders:
        return []
    parent, _, name = folders[0].rpartition("/")
    return [
        f"{name} in {parent} is taken for a class, as a folder beside it is one; if {parent.rpartition('/')[2]} is the "
        "class, list the labels in a table (data.label_from: {csv: …})"
    ]
