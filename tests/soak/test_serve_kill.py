"""Ten thousand requests while replicas are killed and versions promoted: each is answered, and by one version."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from ganaug_ray.core.storage import Folder
from tests.helpers.callers import Course, Question, ask
from tests.helpers.cluster import kill_if_alive
from tests.helpers.serving import Expected, promote, questions, replicas, running

REQUESTS = 10_000
CONNECTIONS = 16
REPLICAS = 3
EVERY = 5.0  # seconds from kill to kill
MOST_A_SECOND = 150  # requests: on a fast machine, too, there is time for kills


def test_killed_replicas_lose_no_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten thousand requests are all answered while replicas are killed and versions promoted."""
    folder = Folder.from_uri(tmp_path / "pets")
    promote(folder, 0)
    draw, kills = random.Random(0), 0

    def with_promotions() -> Iterator[Question]:
        began = time.monotonic()
        for number, question in enumerate(questions(REQUESTS)):
            time.sleep(max(0.0, began + number / MOST_A_SECOND - time.monotonic()))
            if number in (REQUESTS // 3, 2 * REQUESTS // 3):
                promote(folder, number)
            yield question

    with running(tmp_path / "pets", "--replicas", str(REPLICAS)) as server, ThreadPoolExecutor(1) as thread:
        started = time.monotonic()
        load = thread.submit(ask, server.url, with_promotions(), CONNECTIONS)
        while wait([load], EVERY).not_done:
            if alive := replicas(server):
                kill_if_alive(draw.choice(alive))
                kills += 1
        took = time.monotonic() - started
    courses, expected = load.result(), Expected(folder)
    table = summary(courses, expected) + f"\n{kills} replicas killed, one every {EVERY:g} s of {took:.0f} s"
    with capsys.disabled():
        print(f"\n{table}")
    assert kills >= 5, table
    assert all(course.answer for course in courses), table
    assert len({course.answer["version"] for course in courses if course.answer}) == 3
    assert all(expected.is_of_one_version(course) for course in courses), table


def summary(courses: list[Course], expected: Expected) -> str:
    """A table of how requests went."""
    answered = [course for course in courses if course.answer]
    tries = Counter(course.tries for course in answered)
    versions = Counter(course.answer["version"] for course in answered if course.answer)
    refusals = Counter(said[:90] for course in courses for said in course.refusals)
    lines = [
        f"requests {len(courses)}, images {sum(len(course.question.about) for course in courses)}",
        *(f"answered at try {number}: {tries[number]}" for number in (1, 2, 3)),
        f"not answered: {len(courses) - len(answered)}",
        f"answered by version: {', '.join(f'{name}: {count}' for name, count in sorted(versions.items()))}",
        f"answers of more than one version: {sum(not expected.is_of_one_version(one) for one in answered)}",
        *(f"refused {count} times: {said}" for said, count in refusals.most_common(5)),
    ]
    return "\n".join(lines)
