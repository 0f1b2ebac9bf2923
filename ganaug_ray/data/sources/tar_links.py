"""Finds what the hard links of a tar archive stand for: it has a file's content once, and then its other names."""


class HardLinks:
    """The hard links of an archive whose entries are added in their order.

    Attributes:
        names_by_target: the number of an entry that is a file -> the names of the links to it.
    """

    def __init__(self) -> None:
        self.names_by_target: dict[int, list[str]] = {}
        self._number_by_name: dict[str, int] = {}

    def add_file(self, number: int, name: str) -> None:
        """Add an entry with content."""
        self._number_by_name[name] = number

    def add_link(self, name: str, target: str) -> None:
        """Add a link; one whose target is no file before it stands for nothing."""
        number = self._number_by_name.get(target)
        if number is not None:
            self._number_by_name[name] = number
            self.names_by_target.setdefault(number, []).append(name)
