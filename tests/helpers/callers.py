"""Callers of a server: so many connections, each asking one question after the other, and again where it is refused."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from itertools import chain
from json import loads
from threading import Lock
from typing import Any

from tests.conftest import PATIENCE

TRIES = 3
AGAIN = (429, 503)  # with Retry-After


@dataclass(frozen=True)
class Question:
    """A request to /v1/predict; ``about`` is for whoever reads the answer."""

    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    about: Any = None


@dataclass(frozen=True)
class Course:
    """How a question went: the tries it took, the answer if there was one, and what was said at each other try."""

    question: Question
    tries: int
    answer: dict[str, Any] | None
    refusals: list[str]


def ask(url: str, questions: Iterable[Question], connections: int, tries: int = TRIES) -> list[Course]:
    """Ask all questions, over so many connections; returns their courses in no order."""
    source, lock = iter(questions), Lock()

    def caller() -> list[Course]:
        connection, courses = HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE), []
        while True:
            with lock:
                question = next(source, None)
            if question is None:
                connection.close()
                return courses
            courses.append(_course(connection, question, tries))

    with ThreadPoolExecutor(connections) as threads:
        found = [threads.submit(caller) for _ in range(connections)]
        return list(chain.from_iterable(one.result() for one in found))


def _course(connection: HTTPConnection, question: Question, tries: int) -> Course:
    refusals: list[str] = []
    while len(refusals) < tries:
        wait = 1.0
        try:
            connection.request("POST", "/v1/predict", question.body, question.headers)
            answer = connection.getresponse()
            content = answer.read()
            if answer.status == 200:
                return Course(question, len(refusals) + 1, loads(content), refusals)
            refusals.append(f"{answer.status} {content[:200]!r}")
            if answer.status not in AGAIN:
                break
            wait = float(answer.headers.get("Retry-After", 1))
        except (OSError, HTTPException) as error:
            connection.close()
            refusals.append(repr(error))
        if len(refusals) < tries:
            time.sleep(wait)
    return Course(question, len(refusals), None, refusals)


def form(images: Iterable[bytes], edge: str = "x-y-z") -> tuple[bytes, dict[str, str]]:
    """Return the body and headers of a request with several images."""
    head = f'--{edge}\r\nContent-Disposition: form-data; name="images"; filename="x"\r\n\r\n'.encode()
    body = b"".join(head + content + b"\r\n" for content in images) + f"--{edge}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={edge}"}
