"""Understands folders that have a split as a word in their names: images_train/cat, petsTest/cat, train_cats.

It does where nothing else can be meant: all folders of a level have such a word, and the classes of the others are
those of train, or nothing but such words tells the folders apart.
"""

import re
from collections.abc import Collection, Mapping

from ganaug_ray.data.sources.folder_tree import FolderTree, is_plain, join_path
from ganaug_ray.data.sources.paths import may_be_image, name_split
from ganaug_ray.data.sources.split_words import CAMEL_CASE, are_splits, find_split_word

MAX_NAMED = 3  # folders, in a sentence
SEPARATORS = re.compile(r"([\W_]+)")


class SplitFolders:
    """The folders of a source that have a split as a word in their names.

    Args:
        paths: of all its images, normalised.

    Attributes:
        remarks: what is to be known of these folders, a sentence each.
    """

    def __init__(self, paths: Collection[str]) -> None:
        self.remarks: list[str] = []
        self._meanings: Mapping[str, str] = {}  # folder -> the path that it means
        tree = FolderTree(list(filter(may_be_image, paths)))
        parent = ""
        while len(children := sorted(tree.list_children(parent))) == 1:
            parent = join_path(parent, children[0])
        splits = {name: find_split_word(name) or "" for name in children}
        if all(map(name_split, children)) or not are_splits([split or None for split in splits.values()]):
            return
        inner = {name: tree.list_children(join_path(parent, name)) for name in children}
        meanings = _interpret(splits, inner)
        self._meanings = {join_path(parent, name): join_path(parent, meaning) for name, meaning in meanings.items()}
        if meanings:
            pairs = ", ".join(f"{name} as {meanings[name]}" for name in children[:MAX_NAMED])
            self.remarks.append(f"folders are used as splits because of their names, such as {pairs}")
        else:
            named = " and ".join(children[:MAX_NAMED])
            self.remarks.append(
                f"folders such as {named} have splits in their names, but are not used as splits; "
                "if they are, move the class folders into folders called train and test"
            )

    def rewrite(self, path: str) -> str:
        """Return a path with the split as a folder of its own."""
        end = path.find("/")
        while end >= 0 and self._meanings:
            if meaning := self._meanings.get(path[:end]):
                return meaning + path[end:]
            end = path.find("/", end + 1)
        return path


def _interpret(splits: Mapping[str, str], inner: Mapping[str, set[str]]) -> dict[str, str]:
    """Return what the folders of a level mean: a split, or a class in a split; nothing where that is not sure."""
    if all(inner.values()):
        train = [names for name, names in inner.items() if splits[name] == "train"]
        is_one_each = len({*splits.values()}) == len(splits)
        return dict(splits) if is_one_each and all(names & train[0] for names in inner.values()) else {}
    if any(inner.values()):
        return {}
    classes = {name: _drop_split(name) for name in splits}
    if len({name for name in classes.values() if name and is_plain(name)}) <= 1:  # images_train and images_test
        return dict(splits)
    train_classes = {classes[name] for name, split in splits.items() if split == "train"}
    is_sure = "" not in train_classes and len(train_classes) > 1 and train_classes == {*classes.values()}
    return {name: f"{split}/{classes[name]}" for name, split in splits.items()} if is_sure else {}


def _drop_split(name: str) -> str:
    """Return a name without the word that is a split.

    >>> [_drop_split(name) for name in ("train_black_cats", "cats-test", "trainCats")]
    ['black_cats', 'cats', 'Cats']
    """
    pieces = SEPARATORS.split(CAMEL_CASE.sub("_\0", name))
    at = next(number for number, piece in enumerate(pieces) if number % 2 == 0 and find_split_word(piece))
    del pieces[max(0, at - 1) : at + (1 if at else 2)]
    return "".join(pieces).replace("_\0", "").replace("\0", "")
