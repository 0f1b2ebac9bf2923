"""What is shared with tests/soak."""

from tests.killing import killable, undisturbed  # noqa: F401
