"""Says why a file cannot be read: it is empty, cut off, of another kind than its name says, or a saved page."""

import re

from ganaug_ray.core.storage import Folder

START_BYTES = 512  # of a file, which tell what it is
COPY_AGAIN = "download or copy it again"
REPACK = "unpack it, or pack it as .zip or .tar.gz"
ZIP = re.compile(rb"PK(\x03\x04|\x05\x06)")
OTHER_KINDS = {
    "is compressed by bzip2": rb"BZh[1-9]",
    "is compressed by xz": rb"\xfd7zXZ\0",
    "is compressed by zstd": rb"\x28\xb5\x2f\xfd",
    "is a 7z archive": rb"7z\xbc\xaf\x27\x1c",
    "is a RAR archive": rb"Rar!",
}


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
    if start.startswith(b"PAR1"):
        return "it is a Parquet file; rename it with the suffix .parquet"
    is_called_zip = name.lower().endswith(".zip")
    if ZIP.match(start):
        return _explain_zip(start, is_called_zip)
    if is_called_zip and (start[:2] == b"\x1f\x8b" or start[257:262] == b"ustar"):
        return "it is a tar archive or gzip data; rename it with the suffix .tar or .tar.gz"
    for kind, signature in OTHER_KINDS.items():
        if re.match(signature, start):
            return f"it {kind}; {REPACK}"
    return None


def _explain_zip(start: bytes, is_called_zip: bool) -> str:
    if not is_called_zip:
        return "it is a zip archive; rename it with the suffix .zip"
    if start[:4] == b"PK\5\6":
        return "it is an archive without files; pack it again"
    return f"its end is missing, and with it the list of its files; {COPY_AGAIN}"
