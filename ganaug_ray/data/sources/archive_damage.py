"""Says why a file with the name of an archive is none: empty, cut off, or a page that was saved in its place."""

from ganaug_ray.core.storage import Folder

START_BYTES = 512  # of a file, which tell what it is
COPY_AGAIN = "download or copy it again"


def explain_damage(folder: Folder, name: str) -> str | None:
    """Say what a file is that cannot be read as an archive, and what to do; None where that is not known."""
    try:
        with folder.fs.open_input_stream(f"{folder.path}/{name}", compression=None) as file:
            start = file.read(START_BYTES)
    except OSError:
        return None
    if not start:
        return f"it is empty; {COPY_AGAIN}"
    if start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
        return f"it is HTML or XML, such as a page that asks to log in; {COPY_AGAIN}"
    if start[:4] == b"PK\3\4":
        return f"it breaks off before the list of its files, at its end; {COPY_AGAIN}"
    return None
