"""``ganaug submit``, ``jobs`` and ``stop``: jobs on a Ray cluster, over HTTP. The cluster runs ``ganaug run``."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ganaug_ray.cli.options import Cpu
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.wording import get_last_line
from ganaug_ray.errors import Interrupted, StageFailed, UserError

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

# What never travels with the code; of gitignore's patterns, so that / is the uploaded folder itself. Ray leaves out
# what .gitignore and .rayignore name, too. cluster/runtime_env.yaml has the same ones for `ray job submit`.
EXCLUDED_PATTERNS = ["/.git", "/.venv", "/venv", "/runs", "/data", "*.parquet", "__pycache__"]
ASKING = "asking the cluster"
STATUS_POLL_S = 0.5  # seconds between looks at a job whose log has ended
MAX_LARGEST_NAMED = 3  # large things in a message

Address = Annotated[
    str,
    typer.Option(
        "--address", envvar="RAY_API_SERVER_ADDRESS", help="Address of the dashboard, such as http://HEAD:8265."
    ),
]


def submit(
    job: Annotated[Path, typer.Argument(metavar="JOB.yaml", help="The job file, in this folder or below.")],
    address: Address,
    out: Annotated[
        str | None, typer.Option("--out", help="Folder of the experiment that all nodes see; or set $GANAUG_HOME.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Override a setting, such as gan.lr=1e-4; repeat the option for more."
        ),
    ] = None,
    gpus: Annotated[
        int | None,
        typer.Option("--gpus", min=1, help="Number of GPUs to train the GAN on; a cluster with fewer is refused."),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Show the log, and exit with the job's exit code.")] = False,
    cpu: Cpu = False,
) -> None:
    """Run a job on a cluster: upload this folder without data, runs and environments, and start `ganaug run` there."""
    folder = Path.cwd()
    overrides = set_ or []
    out = _resolve_output(job, out, overrides, folder)
    # What the environment holds here stays here: the dashboard shows a runtime environment to everybody.
    runtime_env: dict[str, Any] = {"working_dir": str(folder), "excludes": list_excludes(folder)}
    if gpus and cpu:
        raise UserError(f"--gpus {gpus} and --cpu: give one of the two")
    if gpus:
        overrides = [f"gan.workers={gpus}", *overrides]
        runtime_env["env_vars"] = {"GANAUG_GPUS": str(gpus)}
    words = ["--cpu"] if cpu else []
    for override in overrides:
        words += ["--set", override]
    path = job.resolve().relative_to(folder.resolve()).as_posix()
    command = shlex.join(["python", "-m", "ganaug_ray", "run", path, "--out", out, *words])
    terminal = Terminal()
    with terminal.show_progress("submit", lambda: (0.0, "uploading this folder")):
        refuse_large_folder(folder, runtime_env["excludes"])
        with _open_client(address) as client:
            number = client.submit_job(entrypoint=command, runtime_env=runtime_env, metadata={"job": path, "out": out})
    print(f"{number}: submitted; results go to {out}", flush=True)
    if not follow:
        print(f"ganaug jobs --address {address} shows its state, ray job logs {number} its output")
        return
    with _open_client(address) as client:
        import asyncio  # a sixth of the time of --help

        try:
            code = asyncio.run(_follow_log(client, number, terminal))
        except KeyboardInterrupt:
            raise Interrupted(f"{number} still runs; to stop it: ganaug stop {number} --address {address}") from None
    raise typer.Exit(code)


def jobs(address: Address) -> None:
    """List the jobs of a cluster: number, state, exit code, start, and where the results are."""
    with Terminal().show_progress("jobs", lambda: (0.0, ASKING)), _open_client(address) as client:
        listed = client.list_jobs()
    for details in sorted(listed, key=lambda job: job.start_time or 0):
        if details.submission_id:
            began = time.strftime("%Y-%m-%d %H:%M", time.localtime((details.start_time or 0) / 1000))
            code = "" if details.driver_exit_code is None else str(details.driver_exit_code)
            results = (details.metadata or {}).get("out") or details.entrypoint
            print(f"{details.submission_id}  {details.status.value:<9}  {code:>3}  {began}  {results}")


def stop(
    number: Annotated[str, typer.Argument(metavar="ID", help="The job's number, as `ganaug jobs` lists it.")],
    address: Address,
) -> None:
    """Stop a job and keep what is done; submitted again with the same --out, the job continues from there."""
    with Terminal().show_progress("stop", lambda: (0.0, ASKING)), _open_client(address) as client:
        if number not in {details.submission_id for details in client.list_jobs()}:
            raise UserError(f"{number}: --address {address} has no such job; `ganaug jobs` lists those it has")
        stopped = client.stop_job(number)
    outcome = "is being stopped" if stopped else "had ended already"
    print(f"{number}: {outcome}")


def list_excludes(folder: Path) -> list[str]:
    """List the patterns of what is not uploaded: EXCLUDED_PATTERNS, and virtual environments of any name."""
    return [*EXCLUDED_PATTERNS, *sorted(f"/{marker.parent.name}" for marker in folder.glob("*/pyvenv.cfg"))]


def refuse_large_folder(folder: Path, patterns: list[str]) -> None:
    """Raise an error if a folder is larger than what Ray uploads, or something in it cannot be read.

    Raises:
        UserError: it is; the message names what is large in it, or what cannot be read.
    """
    # Private: Ray's own walk and limit, without which a folder would be refused that it takes, or the reverse.
    from ray._private.ray_constants import get_runtime_env_default_excludes
    from ray._private.runtime_env import packaging

    sizes: Counter[str] = Counter()

    def add(path: Path) -> None:
        if path.is_file():
            path.open("rb").close()  # what cannot be read is told before Ray packs the folder
            sizes[path.relative_to(folder).parts[0]] += path.stat().st_size

    patterns = [*get_runtime_env_default_excludes(), *patterns]
    skipped = [packaging._get_excludes(folder, patterns)]  # Ray's own walk: what it would upload, and nothing else
    try:
        packaging._dir_travel(folder, skipped, add, include_gitignore=True, logger=logging.getLogger(__name__))
    except OSError as error:
        # Ray looks for a .gitignore in each folder before it asks whether the folder is to be left out.
        unreadable = error.filename.removesuffix("/.gitignore")
        list_it = "" if Path(unreadable).is_dir() else "list it in .rayignore, "
        raise UserError(
            f"{unreadable}: cannot be read for the upload ({error.strerror}); give this user the right to read it, "
            f"{list_it}or move it out of {folder}"
        ) from None
    limit = packaging.GCS_STORAGE_MAX_SIZE
    if sizes.total() >= limit:
        largest = ", ".join(f"{name} {size / 2**20:.0f} MiB" for name, size in sizes.most_common(MAX_LARGEST_NAMED))
        raise UserError(
            f"{folder}: {sizes.total() / 2**20:.0f} MiB to upload, and Ray takes less than {limit / 2**20:.0f} "
            f"({largest}); keep images on storage that all nodes see, or list in .rayignore what need not be uploaded"
        )


def _resolve_output(job: Path, out: str | None, overrides: list[str], folder: Path) -> str:
    """Return the address of the output folder as the job gets it: --out, or else a folder in $GANAUG_HOME.

    Raises:
        UserError: there is no address, or it is in the uploaded folder; the job file is missing or not in that folder;
            or there are credentials in the address or the overrides.
    """
    from ganaug_ray.addresses import expand_home, refuse_credentials
    from ganaug_ray.core.output_dir import FOLDER_EXAMPLES, refuse_inside

    if not job.is_file():
        raise UserError(f"{job}: there is no such job file")
    if not job.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{job}: is not in {folder}, the folder that is uploaded; run submit in a folder that holds it")
    home = os.environ.get("GANAUG_HOME")
    if out is None and home:
        base, mark, query = home.partition("?")
        out = f"{base.rstrip('/')}/{job.stem}{mark}{query}"
    if out is None:
        raise UserError(
            f"--out: name a folder that all nodes of the cluster see, {FOLDER_EXAMPLES}; or set GANAUG_HOME"
        )
    for text in (out, *overrides):  # the dashboard shows the command
        refuse_credentials(text)
    if "://" not in out:  # an address is for the nodes to open: this machine may not reach it
        out = os.path.abspath(expand_home(out))  # noqa: PTH100  # not resolved: links here are not links there
        refuse_inside(Path(out), folder)
    return out


@contextmanager
def _open_client(address: str) -> Iterator[JobSubmissionClient]:
    """Talk to the cluster at an address; Ray finds its token itself. Raises UserError, StageFailed."""
    import requests
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    if not address.startswith(("http://", "https://")):
        raise UserError(f"--address {address}: expected that of the dashboard, such as http://HEAD:8265")
    for name in ("ray", "ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):  # to Ray these would be more than what was given
        os.environ.pop(name, None)
    try:
        yield JobSubmissionClient(address)
    except AuthenticationError:
        raise UserError(
            f"--address {address}: the cluster refused this machine's token, or there is none; set "
            "RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH or RAY_AUTH_TOKEN to the cluster's token"
        ) from None
    except (ConnectionError, requests.RequestException) as error:
        raise UserError(f"--address {address}: no Ray cluster answers there ({type(error).__name__})") from None
    except RuntimeError as error:  # all that the server refuses
        raise StageFailed(f"--address {address}: {get_last_line(error)}") from None


async def _follow_log(client: JobSubmissionClient, number: str, terminal: Terminal) -> int:
    """Print a job's log until it ends, and show a bar until it begins; return the exit code."""
    import asyncio

    printed = 0
    with ExitStack() as waiting:
        waiting.enter_context(terminal.show_progress("submit", lambda: (1.0, "waiting for the job's first line")))
        async for text in client.tail_job_logs(number):
            waiting.close()
            printed += len(text)
            print(text, end="", flush=True)
    while not (details := client.get_job_info(number)).status.is_terminal():
        await asyncio.sleep(STATUS_POLL_S)
    print(client.get_job_logs(number)[printed:], end="", flush=True)  # Ray's stream ends with the job, and not after it
    return _report_failure(number, details)


def _report_failure(number: str, details: JobDetails) -> int:
    """Say on stderr why a job did not succeed, if it did not, and return its exit code."""
    if details.status.value == "SUCCEEDED":
        return 0
    if details.status.value == "STOPPED":
        print(f"{number}: was stopped; what is done is kept", file=sys.stderr)
        return 130
    code = details.driver_exit_code
    if code is None:  # it was not the command that failed: the node was lost, or the environment could not be made
        print(f"{number}: failed: {(details.message or 'Ray gives no reason').strip()}", file=sys.stderr)
        return 1
    print(f"{number}: failed with exit code {code}", file=sys.stderr)
    return code if code >= 0 else 128 - code  # as a shell says that a signal ended it


COMMANDS = {"submit": submit, "jobs": jobs, "stop": stop}
