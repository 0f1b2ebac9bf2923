"""The folders of a source: which of them are divided classes, and whether the classes lie on one level."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator

from ganaug_ray.data.sources.masks import SIDECAR_FOLDERS
from ganaug_ray.data.sources.paths import name_split

IMAGE_FOLDERS = frozenset((
    "images", "image", "imgs", "img", "jpg", "jpeg", "jpegs", "jpegimages", "png", "pngs", "pictures", "photos",
    "frames", "data", "raw", "original", "originals", "crop", "crops", "cropped", "resized", "processed", "augmented",
    "thumbnail", "thumbnails", "thumbs", "patches", "tiles",
))  # fmt: skip
UNLABELLED_FOLDERS = frozenset(("unlabeled", "unlabelled", "unlabeled_data", "unlabelled_data", "seg_pred"))
MIN_DIRECT_SHARE = 0.1  # of the images below a class folder; fewer beside other folders are previews and the like


class FolderTree:
    """The folders that images lie in, each with the number of images right in it.

    Args:
        paths: of the images, normalised.

    Attributes:
        folders: folder -> images right in it, where there are some.
    """

    def __init__(self, paths: Collection[str]) -> None:
        self.folders = Counter(path.rpartition("/")[0] for path in paths)
        self._children: dict[str, set[str]] = defaultdict(set)
        self._images_below: Counter[str] = Counter()  # at any depth
        self._divided: dict[str, bool] = {}
        self._whole_children: dict[str, int] = {}
        self._grandchildren: dict[str, Counter[str]] = {}
        for folder, images in self.folders.items():
            self._images_below[folder] += images
            for position, letter in enumerate(folder):
                if letter == "/":
                    self._images_below[folder[:position]] += images
            while folder:
                parent, _, name = folder.rpartition("/")
                if name in self._children[parent]:
                    break
                self._children[parent].add(name)
                folder = parent

    def list_children(self, folder: str) -> set[str]:
        """Return the names of the folders right below a folder that hold images, at any depth."""
        return self._children.get(folder, set())

    def list_first_folders(self, folder: str) -> set[str]:
        """Return the names of the folders below a folder where there first are several: images/Images has those."""
        names = self.list_children(folder)
        while len(names) == 1 and folder not in self.folders:
            folder = join_path(folder, min(names))
            names = self.list_children(folder) or names
        return names

    def list_siblings(self, folder: str) -> set[str]:
        """Return the names of the folders beside a folder."""
        parent, _, name = folder.rpartition("/")
        return self.list_children(parent) - {name}

    def find_divided(self, folder: str) -> str | None:
        """Return the outermost folder that is a divided class, of one and those that it lies in; None if none is."""
        ends = [position for position, letter in enumerate(folder) if letter == "/"]
        return next((folder[:end] for end in [*ends, len(folder)] if self.is_divided(folder[:end])), None)

    def is_divided(self, folder: str) -> bool:
        """Whether a folder is a class, and others that it holds are parts of that class.

        So it is beside other folders that are classes as a whole if it holds images itself, or a folder such as images.
        """
        if folder not in self._divided:
            has_folders = bool(folder and self.list_children(folder))
            is_whole = has_folders and is_plain(folder.rpartition("/")[2]) and self._is_whole(folder)
            self._divided[folder] = is_whole and self._count_whole(folder.rpartition("/")[0]) > 1
        return self._divided[folder]

    def find_other_level(self) -> tuple[str, str] | None:
        """Find two folders that may be classes and lie on different levels, the deeper one first; None if none do.

        >>> FolderTree(["cat/faces/1.png", "cat/bodies/2.png", "dog/3.png"]).find_other_level()
        ('cat/bodies', 'dog')
        """
        for parent in sorted(self._children):
            if self.find_divided(parent) is not None:
                continue
            plain = [join_path(parent, name) for name in sorted(self._children[parent]) if is_plain(name)]
            inner = [folder for folder in plain if not self._is_whole(folder)]
            outer = [folder for folder in plain if self._is_whole(folder)]
            if inner and outer:
                return min(self._list_inner(inner[0])), min(outer, key=self._measure_depth)
        return None

    def holds_classes(self, folder: str) -> bool:
        """Whether a folder is none of the classes that it holds: images right in it, if any, are few beside theirs."""
        classes = sum(map(is_plain, self.list_children(folder)))
        return classes > 1 and folder in self.folders and not self._is_whole(folder)

    def has_twin_beside(self, parent: str, name: str, child: str) -> bool:
        """Whether another folder beside one that has such a child has it too, and is no split."""
        if parent not in self._grandchildren:
            folders = (folder for folder in self.list_children(parent) if not name_split(folder))
            below = (self.list_children(join_path(parent, folder)) for folder in folders)
            self._grandchildren[parent] = Counter(itertools.chain.from_iterable(below))
        return self._grandchildren[parent][child] > (0 if name_split(name) else 1)

    def _count_whole(self, parent: str) -> int:
        """Count the folders right below one that would be classes as a whole; once, as all of them ask."""
        if parent not in self._whole_children:
            plain = (join_path(parent, name) for name in self.list_children(parent) if is_plain(name))
            self._whole_children[parent] = sum(map(self._is_whole, plain))
        return self._whole_children[parent]

    def _is_whole(self, folder: str) -> bool:
        """Whether a folder rather than what it holds would be a class, as far as it shows by itself."""
        if next(self._list_inner(folder), None) is None:
            return True
        parts = (join_path(folder, child) for child in self.list_children(folder) if child.lower() in IMAGE_FOLDERS)
        is_large = self.folders[folder] >= MIN_DIRECT_SHARE * self._images_below[folder] > 0
        return is_large or any(part in self.folders for part in parts)

    def _list_inner(self, folder: str) -> Iterator[str]:
        """Yield the folders below one that could be classes; splits, and folders such as images, are looked into."""
        folders = [folder]
        while folders:
            path = folders.pop()
            for child in self.list_children(path):
                if is_plain(child):
                    yield join_path(path, child)
                elif name_split(child) or child.lower() in IMAGE_FOLDERS:
                    folders.append(join_path(path, child))

    def _measure_depth(self, folder: str) -> tuple[bool, str]:
        return bool(self.list_children(folder)), folder


def join_path(folder: str, name: str) -> str:
    """Return the path of what lies in a folder; of what lies in none, its name."""
    return f"{folder}/{name}" if folder else name


def is_plain(name: str) -> bool:
    """Whether nothing but a class is meant by a folder's name."""
    lower = name.lower()
    is_other = lower in IMAGE_FOLDERS or lower in SIDECAR_FOLDERS or lower in UNLABELLED_FOLDERS or name == ".."
    return not is_other and name_split(name) is None
