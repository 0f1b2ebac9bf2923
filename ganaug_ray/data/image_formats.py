"""Tells what a file is by its first bytes, or of TGA the last ones, whatever its name says."""

import base64
import re

from PIL import features

from ganaug_ray.data import tiff_tags

# Not among them: formats that Pillow hands to other programs, such as EPS.
READABLE_FORMATS = ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000"]
if features.check("avif"):
    READABLE_FORMATS.append("AVIF")

_READABLE_SIGNATURES = {
    "JPEG": rb"\xff\xd8\xff(?!\xf7)",
    "PNG": rb"\x89PNG(?!\r\n\x1a\n.{4}CgBI)",
    "GIF": rb"GIF8[79]a",
    "BMP": rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0",
    "TIFF": rb"II[*+]\0|MM\0\*",
    "WEBP": rb"RIFF.{4}WEBP",
    "PPM": rb"P[1-6f]\s+(#[^\n]*\n\s*)*\d",
    "JPEG2000": rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  ",
    "AVIF": rb".{4}ftyp(avi[fs]|m[is]f1.{4}(.{4}){0,15}avi[fs])",  # or as one of the brands after the first
}
_OTHER_SIGNATURES = {
    "HEIC": rb".{4}ftyp(hei[cxms]|hev[cxms]|mif1|msf1)",
    "PNG as Apple's Xcode writes for iOS": rb"\x89PNG\r\n\x1a\n.{4}CgBI",
    "BigTIFF in big-endian order": rb"MM\0\+",
    "JPEG-LS": rb"\xff\xd8\xff\xf7",
    "JPEG XR": rb"II\xbc[\0\x01]",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "Photoshop": rb"8BPS\0",
    "GIMP": rb"gimp xcf",
    "PAM": rb"P7\n",
    "PFM with colours": rb"PF\s",
    "Sun raster": rb"\x59\xa6\x6a\x95",
    "ICNS": rb"icns",
    "XBM": rb"#define \w+_width",
    "QOI": rb"qoif",
    "PCX": rb"\x0a[\0-\x05]\x01[\x01\x02\x04\x08]",
    "SGI": rb"\x01\xda[\0\x01][\x01\x02]\0[\x01-\x03]",
    # In an atomic group, since a file of many comments would be matched in exponentially many ways.
    "SVG": rb"(?>(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*)(<!DOCTYPE svg.*?>\s*)?<svg\b",
    "Windows metafile": rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF",
    "XPM": rb"/\* XPM \*/",
    "CR3 camera raw": rb".{4}ftypcrx ",
    "RAF camera raw": rb"FUJIFILMCCD-RAW",
    "ORF camera raw": rb"IIR[OS]|MMOR",
    "RW2 camera raw": rb"IIU\0",
    "X3F camera raw": rb"FOVb",
    "MRW camera raw": rb"\0MRM",
    "OpenEXR": rb"\x76\x2f\x31\x01",
    "Radiance HDR": rb"#\?RADIANCE|#\?RGBE",
    "DDS": rb"DDS \x7c",
    "ICO": rb"\x00\x00\x01\x00[\x01-\x10]\x00",
    "CUR": rb"\0\0\x02\0[\x01-\x40]\0",
    "DIB": rb"\x28\0\0\0.{8}\x01\0[\x01\x04\x08\x10\x18\x20]\0",
    "BLP": rb"BLP[12]",
    "IM": rb"Image type: \w",
    "FLI or FLC animation": rb".{4}[\x11\x12]\xaf.{8}[\0\x03]\0",
    "GIMP brush": rb"\0\0.{2}\0\0\0\x02.{12}GIMP|\0\0\0[\x14-\xff]\0\0\0\x01(\0\0.{2}){2}\0\0\0[\x01\x04]",
    "MNG": rb"\x8aMNG\r\n\x1a\n",
    "JNG": rb"\x8bJNG\r\n\x1a\n",
    "BPG": rb"BPG\xfb",
    "FLIF": rb"FLIF[1-t]",
    "DjVu": rb"AT&TFORM.{4}DJV[UMI]",
    # One slice and the form of an image, as floats of either order.
    "SPIDER": rb"\0\0\x80\x3f.{12}\0\0\x80\x3f|\x3f\x80\0\0.{12}\x3f\x80\0\0",
    "FITS": rb"SIMPLE  =",
    "NRRD": rb"NRRD000",
    "DICOM": rb".{128}DICM",
}
_TGA_END = b"TRUEVISION-XFILE.\0"  # no first bytes say TGA
_DOCUMENT_SIGNATURES = {
    "PDF document": rb"(\xef\xbb\xbf)?\s*%PDF-",
    "EPS drawing": rb"%!PS-Adobe-[\d.]+ EPSF|\xc5\xd0\xd3\xc6",
    "PostScript document": rb"%!PS",
}
# Of formats that nobody meets by chance in the middle of a text.
_UNMISTAKABLE_SIGNATURES = {
    "JPEG": rb"\xff\xd8\xff[\xc0-\xfe]",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "GIF": rb"GIF8[79]a.{4}[\x80-\xff]",
    "WEBP": rb"RIFF.{4}WEBPVP8",
}
# Of what programs make of an image that they take for text: of each byte beyond ASCII two, or a mark that it is lost.
_TEXT_DAMAGE = {
    "each byte beyond ASCII was written as two": rb"\xc2\x89PNG|\xc3\xbf\xc3\x98\xc3\xbf",
    "bytes beyond ASCII are lost": rb"\xef\xbf\xbdPNG|(\xef\xbf\xbd){3}.{0,6}(JFIF|Exif|\xef\xbf\xbd)",
    "line ends were changed": rb"\x89PNG(?!\r\n\x1a\n)[\r\n]{0,3}\x1a",
}
_BASE64_START_CHARS = 1000  # of which a format's signature is found
_BLANK_START = re.compile(rb"(\xef\xbb\xbf)?\s{0,1024}")  # a byte order mark is blank, too
_MAX_TEXT_BYTES = 65_536  # in front of an image
_CONTROL_BYTES = bytes(set(range(32)) - set(b"\t\n\f\r"))
_POINTER_SIGNATURES = {"Git LFS": rb"version https://git-lfs\.github\.com/spec", "git-annex": rb"/annex/objects/"}


def find_format(content: bytes) -> str | None:
    """Return the image format that a file's first bytes say, as Pillow calls it, or None; not all need be readable.

    >>> find_format(b"GIF89a..."), find_format(b"<html>"), find_format(b"0000ftypmif10000mif1avif")
    ('GIF', None, 'AVIF')
    """
    return _match_signature(content, _READABLE_SIGNATURES)


def find_unread_format(content: bytes) -> str | None:
    """Return the name of a format of images or documents that is known and not read, or None.

    >>> find_unread_format(b"%PDF-1.7"), find_unread_format(b"GIF89a...")
    ('PDF document', None)
    """
    kind = find_format(content)
    if kind == "TIFF":
        return tiff_tags.find_camera_raw(content)
    if kind is not None:
        return None if kind in READABLE_FORMATS else kind
    return _match_other_format(content) or _match_signature(content, _DOCUMENT_SIGNATURES)


def name_image_format(content: bytes) -> str | None:
    """Return the name of the image format that a file's first bytes say, read or not; None of documents too.

    >>> name_image_format(b"qoif"), name_image_format(b"%PDF-1.7")
    ('QOI', None)
    """
    return find_format(content) or _match_other_format(content)


def count_blank_bytes(content: bytes) -> int:
    """Count the blank bytes in front of an image's signature, such as line ends that a script has left; 0 without one.

    >>> count_blank_bytes(b"\\r\\n\\n\\xff\\xd8\\xff\\xe0"), count_blank_bytes(b"\\r\\n<html>")
    (3, 0)
    """
    blank = _BLANK_START.match(content)
    n = blank.end() if blank else 0
    return n if n and _match_signature(content[n : n + 512], _UNMISTAKABLE_SIGNATURES) else 0


def find_image_behind_text(content: bytes) -> tuple[str, int] | None:
    """Find an image's signature behind a text, such as the header of an answer that was saved with it.

    Returns:
        The format and the position of its first byte; None where there is no image, or what is before it is no text.

    >>> find_image_behind_text(b"HTTP/1.1 200 OK\\r\\n\\r\\n\\xff\\xd8\\xff\\xe0")
    ('JPEG', 19)
    """
    start = content[:_MAX_TEXT_BYTES]
    matches = {name: re.search(sign, start, re.DOTALL) for name, sign in _UNMISTAKABLE_SIGNATURES.items()}
    first_image = min(((match.start(), name) for name, match in matches.items() if match), default=None)
    if first_image is None:
        return None
    at, name = first_image
    text = start[:at]
    return (name, at) if text and len(text.translate(None, _CONTROL_BYTES)) == at else None


def find_text_damage(content: bytes) -> str | None:
    """Say what became of an image that was copied or sent as text; None of any other file.

    >>> find_text_damage("\\x89PNG".encode()), find_text_damage(b"\\x89PNG\\n\\x1a\\n")
    ('each byte beyond ASCII was written as two', 'line ends were changed')
    """
    return _match_signature(content, _TEXT_DAMAGE)


def is_camera_raw(kind: str) -> bool:
    """Whether the name of a format that is not read is that of a camera's raw files."""
    return "camera raw" in kind


def advise_conversion(kind: str) -> str:
    """Say what to do with a file of a format that is not read.

    >>> advise_conversion("HEIC"), advise_conversion("PDF document")
    ('HEIC; save it as PNG or JPEG', 'PDF document; convert it to PNG or JPEG')
    """
    if is_camera_raw(kind):
        return f"{kind}; develop it and save it as PNG, JPEG or TIFF"
    return f"{kind}; {'convert it to' if kind in _DOCUMENT_SIGNATURES else 'save it as'} PNG or JPEG"


def find_pointer(content: bytes) -> str | None:
    """Return the name of the program that left a text in the place of a file, or None.

    >>> find_pointer(b"version https://git-lfs.github.com/spec/v1")
    'Git LFS'
    """
    return _match_signature(content, _POINTER_SIGNATURES)


def find_base64_format(content: bytes) -> str | None:
    """Return the format of an image in base64, or None.

    >>> find_base64_format(b"iVBORw0KGgoAAAANSUhEUgAA"), find_base64_format(b"iVBOR")
    ('PNG', None)
    """
    letters = re.sub(rb"\s", b"", content[: 2 * _BASE64_START_CHARS])[:_BASE64_START_CHARS]
    letters = letters.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))  # from the alphabet for addresses
    if not re.fullmatch(rb"[A-Za-z0-9+/]{16,}", letters):
        return None
    return name_image_format(base64.b64decode(letters[: len(letters) // 4 * 4]))


def explain_wrapping(content: bytes) -> str | None:
    """Say what an image is packed or written in, and what to do; None of any other file.

    >>> explain_wrapping(b"data:image/png;base64,iVBORw0K")
    'a data: URI; decode what follows its comma, and write the bytes'
    """
    if kind := find_base64_format(content):
        return f"{kind} in base64; decode it, and write the bytes"
    if content[:5].lower() == b"data:":
        return "a data: URI; decode what follows its comma, and write the bytes"
    if content[:4] == b"PAR1":
        return "a Parquet file; rename it with the suffix .parquet"
    return "gzip data; unpack it" if content[:2] == b"\x1f\x8b" else None


def _match_other_format(content: bytes) -> str | None:
    return _match_signature(content, _OTHER_SIGNATURES) or ("TGA" if content.endswith(_TGA_END) else None)


def _match_signature(content: bytes, signatures: dict[str, bytes]) -> str | None:
    for name, signature in signatures.items():
        if re.match(signature, content[:512], re.DOTALL):
            return name
    return None
