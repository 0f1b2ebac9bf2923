"""Exports images of a finished generator as PNG files. No Ray, no screening."""

import re
from collections.abc import Callable, Mapping

from ganaug_ray.core.records import GanRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.core.wording import describe_unwritable
from ganaug_ray.errors import UserError
from ganaug_ray.gan import image_grid
from ganaug_ray.gan.sampler import BLOCK_SIZE, Generator

MAX_IMAGES = 100_000  # images at a time; indices have five digits, so that names sort


def find_gan_folder(address: str) -> Folder:
    """Return the gan folder at an address, which is a gan folder or an experiment.

    Raises:
        UserError: neither holds a finished generator, or the address cannot be read.
    """
    folder = Folder.from_uri(address)
    try:
        for place in (folder, folder / "gan"):
            if place.has_file(GanRecord.FILE):
                return place
    except OSError as error:
        raise UserError(f"{address}: cannot be read ({error})") from None
    raise UserError(f"{address}: no finished generator (gan.json) here or in its folder gan; train one first")


def parse_counts(counts: list[str], classes: list[str]) -> dict[str, int]:
    """Parse the values of ``--count``, such as ``cat=100``, to class -> number of images.

    Raises:
        UserError: there is none, one is malformed, names no class or one for the second time, or they are too many.
    """
    known = f"this generator draws {', '.join(classes)}"
    if not counts:
        raise UserError(f"--count: give the number of images for each class, such as --count {classes[0]}=100; {known}")
    parsed_counts: dict[str, int] = {}
    for text in counts:
        name, equals, number = text.rpartition("=")  # the last one: a class may have one in its name
        if not equals or not re.fullmatch(r"0*[1-9][0-9]{0,8}", number, re.ASCII):
            raise UserError(f"--count {text}: expected CLASS=N with a whole number from 1, such as {classes[0]}=100")
        if name not in classes:
            raise UserError(f"--count {text}: no class {name!r}; {known}")
        if name in parsed_counts:
            raise UserError(f"--count {text}: {name} is given twice")
        parsed_counts[name] = int(number)
    if sum(parsed_counts.values()) > MAX_IMAGES:
        raise UserError(
            f"--count: {sum(parsed_counts.values())} images in all; at most {MAX_IMAGES} can be drawn at a time"
        )
    return parsed_counts


def export_images(
    generator: Generator, counts: Mapping[str, int], seed: int, out: Folder, progress: Callable[[int], None]
) -> None:
    """Write images 0 to n - 1 of each class as ``<class>/<class>-<seed>-<index>.png``, the same bytes every time.

    Args:
        generator: on a CPU, or devices would make a difference.
        counts: class -> n.
        seed: of the latents.
        out: where the folders of the classes go; files that are there stay as they are.
        progress: called with the number of files written so far.

    Raises:
        UserError: a file of one of these names is there, or the folder cannot be written.
    """
    written = 0
    try:
        for name, n in counts.items():
            file_names = {format_file_name(name, seed, index) for index in range(n)}
            _refuse_to_overwrite(out / encode_file_name(name), file_names)
        for name, n in counts.items():
            folder = (out / encode_file_name(name)).create()
            label = generator.classes.index(name)
            for start in range(0, n, BLOCK_SIZE):
                block = generator.generate_block(label, start // BLOCK_SIZE, min(BLOCK_SIZE, n - start), seed)
                for index, image in enumerate(block, start):
                    folder.write_bytes(format_file_name(name, seed, index), image_grid.encode_png(image))
                    written += 1
                    progress(written)
    except OSError as error:
        raise UserError(describe_unwritable("--png", out, error)) from None


def _refuse_to_overwrite(folder: Folder, names: set[str]) -> None:
    """Of another generator there may be images of the same names: none of both is to be lost or mixed up."""
    if existing := sorted(names.intersection(folder.list_files(".png"))):
        raise UserError(f"--png: {folder}/{existing[0]} already exists; give another --seed or another folder")


def format_file_name(name: str, seed: int, index: int) -> str:
    """Return the file name of one image: class, seed and index."""
    return f"{encode_file_name(name)}-{seed}-{index:05d}.png"


def encode_file_name(name: str) -> str:
    """Make a class's name safe as a file name, and different from any other class's, by percent-encoding.

    >>> [encode_file_name(name) for name in ("Albrecht_Dürer", "../../etc", "50 %", "..")]
    ['Albrecht_Dürer', '%2E.%2F..%2Fetc', '50 %25', '%2E%2E']
    """
    unsafe = r"[^\w .,()&'+=-]|^[.-]|[. ]$"
    return re.sub(unsafe, lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), name)
