"""Keeps the books of a replica: how many requests are inside, and how many bytes of their bodies have arrived."""

from __future__ import annotations

from ganaug_ray.serve.body_kinds import SEND_LESS
from ganaug_ray.serve.limits import RequestLimits
from ganaug_ray.serve.problem_details import ProblemError


class RequestBooks:
    """Counts requests and the bytes of their bodies; neither count ever exceeds its limit.

    Args:
        limits: of one body, and of all requests at a time.
    """

    def __init__(self, limits: RequestLimits) -> None:
        self._limits = limits
        self._requests = 0
        self._booked_bytes = 0

    def open_booking(self, declared_bytes: int) -> Booking:
        """Book one more request, and none of its bytes yet: who declares many may send them slowly, or never.

        Args:
            declared_bytes: of its body; 0 where it declares none, as a chunked one.

        Raises:
            ProblemError: the body is too long, or too much is being done already.
        """
        self._refuse_long_body(declared_bytes)
        if self._requests >= self._limits.waiting:
            raise _describe_overload()
        self._requests += 1
        return Booking(self)

    def close_booking(self, booked_bytes: int) -> None:
        """Take one request with its bytes out of the books."""
        self._requests -= 1
        self._booked_bytes -= booked_bytes

    def book_bytes(self, booked_bytes: int, count: int) -> None:
        """Book for one request, of which ``booked_bytes`` are booked, ``count`` more bytes.

        Raises:
            ProblemError: the body is too long, or too much is being done already; then none of them is booked.
        """
        self._refuse_long_body(booked_bytes + count)
        if self._booked_bytes + count > self._limits.memory:
            raise _describe_overload()
        self._booked_bytes += count

    def _refuse_long_body(self, body_bytes: int) -> None:
        if body_bytes > self._limits.bytes:
            raise ProblemError(
                413, f"the body is longer than {self._limits.bytes} bytes; {SEND_LESS}", {"Connection": "close"}
            )


class Booking:
    """What one request has booked: the bytes of its body that have arrived."""

    def __init__(self, books: RequestBooks) -> None:
        self._books = books
        self._booked_bytes = 0

    def add_bytes(self, count: int) -> None:
        """Count bytes that have arrived. Raises ProblemError if the body, or all bodies together, become too long."""
        self._books.book_bytes(self._booked_bytes, count)
        self._booked_bytes += count

    def close(self) -> None:
        """Take the request out of the books."""
        self._books.close_booking(self._booked_bytes)


def _describe_overload() -> ProblemError:
    return ProblemError(429, "too many requests at a time; try again in a moment", {"Connection": "close"})
