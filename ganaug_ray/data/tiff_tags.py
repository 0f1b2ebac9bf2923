"""Reads the tags of TIFF files, which say what their samples are, and whether the first image is a mere preview."""

import io

from PIL import ExifTags, Image, TiffImagePlugin

_TIFF_KINDS = {1: "integers", 2: "signed integers", 3: "floats", 5: "complex integers", 6: "complex"}  # SampleFormat
_NEW_SUBFILE_TYPE = 254  # tags of TIFF files
_DNG_VERSION = 50706
_COMPRESSIONS = {
    6: "JPEG of old style", 33003: "JPEG 2000", 33005: "JPEG 2000", 34712: "JPEG 2000", 34887: "LERC",
    34892: "lossy JPEG", 34933: "PNG", 50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip
_OPTIONAL_COMPRESSIONS = ("jpeg", "lzma", "zstd", "webp")  # of libtiff, as Pillow calls them


def find_camera_raw(content: bytes) -> str | None:
    """Return what a TIFF file is whose first image is a mere preview, as those of cameras are; None for any other."""
    if content[8:10] == b"CR":
        return "CR2 camera raw"
    try:
        tags = _read_tiff_tags(content)
        if _DNG_VERSION in tags:
            return "DNG camera raw"
        is_preview = tags.get(_NEW_SUBFILE_TYPE, 0) & 1
        if is_preview and (TiffImagePlugin.SUBIFD in tags or tags.next):
            maker = str(tags.get(ExifTags.Base.Make, "")).strip("\0 ")
            return f"camera raw{f' of {maker}' if maker else ''}, or another TIFF file with a preview in front"
    except Exception:  # Pillow's parser raises many kinds on damaged headers
        return None
    return None


def _read_tiff_tags(content: bytes) -> TiffImagePlugin.ImageFileDirectory_v2:
    """Read the tags of a TIFF file's first image."""
    tags = TiffImagePlugin.ImageFileDirectory_v2(content[: 16 if content[2:4] == b"+\0" else 8])
    stream = io.BytesIO(content)
    stream.seek(tags.next)
    tags.load(stream)
    return tags


def find_unread_compression(content: bytes) -> str | None:
    """Return the name of a TIFF file's compression if Pillow, or the libtiff that it was built with, has none such."""
    try:
        compression = _read_tiff_tags(content)[TiffImagePlugin.COMPRESSION]
    except Exception:  # Pillow's parser raises many kinds on damaged headers
        return None
    name = TiffImagePlugin.COMPRESSION_INFO.get(compression)
    if name is None:
        return _COMPRESSIONS.get(compression, f"number {compression}")
    return name if name in _OPTIONAL_COMPRESSIONS and not _can_write(name) else None


def _can_write(compression: str) -> bool:
    """Whether libtiff was built with a compression: it writes all of those that it reads."""
    try:
        Image.new("RGB", (8, 8)).save(io.BytesIO(), "TIFF", compression=compression)
    except Exception:
        return False
    return True


def describe_tiff(content: bytes) -> str:
    """Describe the samples of a TIFF file that cannot be opened; empty where its header cannot be read either."""
    try:
        tags = _read_tiff_tags(content)
        bits = tags[TiffImagePlugin.BITSPERSAMPLE][0]
        kind = _TIFF_KINDS.get(tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))[0], "of an unknown kind")
        bands = tags.get(TiffImagePlugin.SAMPLESPERPIXEL, 1)
    except Exception:  # Pillow's parser raises many kinds on damaged headers
        return ""
    # A PNG's second or fourth band is transparency.
    saved = "it" if bands in (1, 3) else "one or three of its bands"
    png = "PNG" if bits <= 8 else "16-bit PNG"
    return f"{bands} × {bits} bits a pixel, {kind}; save {saved} as {png}"
