"""Addresses of folders and files, as jobs and commands name them."""

import os
import re
from pathlib import Path

from ganaug_ray.errors import UserError

# user:password@, also with the slashes that a password may have, or a query's client_secret=, sig= and their like.
_CREDENTIALS = re.compile(
    r"://([^/?#:]*:(?!\d+[/?#]).*@"
    r"|.*[?&]([^=&#]*(secret|token|password|signature|access_?key|account_?key)[^=&#]*|sig)=)",
    re.IGNORECASE,
)


def expand_home(path: str) -> Path:
    """Return a path with ``~`` at its beginning replaced; a name such as ``~x.png`` stays where no user is called x."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  # pathlib raises an error where there is no such user


def refuse_credentials(address: str) -> None:
    """Raise an error if an address has credentials in it: addresses are printed, logged and kept in job.yaml.

    Raises:
        UserError: it holds some. The message repeats neither them nor the query.
    """
    if _CREDENTIALS.search(address):
        bare = re.sub("://.*@", "://", address).partition("?")[0]
        raise UserError(
            f"{bare}: found credentials in the address, which would be logged and kept in job.yaml; give them in the "
            "environment, such as AWS_SECRET_ACCESS_KEY, or download the file behind a signed link yourself"
        )


def is_utf8(name: str) -> bool:
    r"""Whether a name is text; of bytes that are no UTF-8 Python makes what cannot be encoded.

    >>> is_utf8("caf\u00e9"), is_utf8("caf\udce9")
    (True, False)
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def refuse_undecodable(name: str) -> None:
    """Raise an error if a name is no UTF-8: nothing that is written could hold it.

    Raises:
        UserError: so it is.
    """
    if not is_utf8(name):
        readable = os.fsencode(name).decode("utf-8", "backslashreplace")
        raise UserError(f"{readable}: is not a UTF-8 name; rename it, for instance with convmv")


def resolve_source(source: str) -> str:
    """Make a source from the command line absolute, relative to the working directory."""
    return make_absolute(source, Path.cwd())


def make_absolute(source: str, base: Path) -> str:
    """Make a source absolute, relative to a folder. Raises UserError as ``refuse_credentials``."""
    refuse_credentials(source)  # here, before anything of the job is logged or written
    scheme, colon, path = source.partition(":")
    if scheme == "idx":
        return f"idx:{make_absolute(path, base)}"
    if not source or (colon and re.fullmatch(r"\w[\w+.-]+", scheme)):
        return source
    return str((base / expand_home(source)).absolute())
