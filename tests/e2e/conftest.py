"""What is shared with tests/soak."""

from tests.helpers.killing import killable, undisturbed  # noqa: F401  # fixtures: pytest finds them here by name
