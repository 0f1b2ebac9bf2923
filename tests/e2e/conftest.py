"""What is shared with tests/soak."""

from tests.killing import killable, undisturbed  # noqa: F401  # fixtures: pytest finds them here by name
