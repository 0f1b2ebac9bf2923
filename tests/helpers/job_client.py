"""A stand-in for Ray's client of jobs, which asks no cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import ray.job_submission


@dataclass
class Details:
    """What Ray's client tells of a job."""

    submission_id: str
    status: Any = ray.job_submission.JobStatus.RUNNING
    start_time: int = 0
    driver_exit_code: int | None = None
    metadata: dict[str, str] | None = None
    entrypoint: str = "ganaug run job.yaml"


def replace_client(monkeypatch: pytest.MonkeyPatch, jobs: Sequence[str] = ()) -> list[Any]:
    """Replace Ray's client by one whose cluster has these jobs; return what it will be asked: requests and numbers."""
    asked: list[Any] = []

    class Client:
        def __init__(self, address: str) -> None:
            """Take the address as one that answers."""

        def submit_job(self, **request: Any) -> str:
            asked.append(request)
            return "raysubmit_1"

        def list_jobs(self) -> list[Details]:
            return list(map(Details, jobs))

        def stop_job(self, number: str) -> bool:
            asked.append(number)
            return True

    monkeypatch.setattr(ray.job_submission, "JobSubmissionClient", Client)
    return asked
