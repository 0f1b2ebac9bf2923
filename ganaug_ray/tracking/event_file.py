"""A TensorBoard event file, also on an object store."""

import io
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from PIL import Image
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.summary import scalar

from ganaug_ray.core.storage import Folder

NAME_PREFIX = "events"
RGB_CHANNELS = 3


class EventFile:
    """Writes one event file in a folder; TensorBoard reads it while it grows.

    On an object store, which has no append, it is written to a local disk and copied by ``copy`` and ``close``.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._aside: tempfile.TemporaryDirectory[str] | None = None
        if folder.local_path is not None:
            self._local = folder.create().local_path or Path()
        else:
            self._aside = tempfile.TemporaryDirectory(prefix="ganaug-events-")
            self._local = Path(self._aside.name)
        # Not SummaryWriter: its thread writes when it gets round to it, also after a flush.
        self._writer = EventsWriter(str(self._local / NAME_PREFIX))

    def write(self, step: int, summaries: Iterable[Summary]) -> None:
        """Write summaries of a step."""
        for summary in summaries:
            self._writer.write_event(Event(wall_time=time.time(), step=step, summary=summary))

    def flush(self) -> None:
        """Make sure that a reader of the local file sees all that was written."""
        self._writer.flush()

    def copy(self) -> None:
        """Flush, and copy the file to where it belongs, if that is an object store."""
        self.flush()
        if self._aside is not None:
            for file in self._local.iterdir():
                self._folder.write_bytes(file.name, file.read_bytes())

    def close(self) -> None:
        """Copy the file where it belongs, and end it."""
        self.copy()
        self._writer.close()
        if self._aside is not None:
            self._aside.cleanup()


def build_scalars(figures: Mapping[str, float]) -> list[Summary]:
    """Build a summary for each figure, by its name."""
    return [scalar(name, number) for name, number in figures.items()]


def build_picture(tag: str, png: bytes) -> Summary:
    """Build the summary of a picture, given as PNG, which is stored as it is."""
    width, height = Image.open(io.BytesIO(png), formats=["PNG"]).size
    image = Summary.Image(height=height, width=width, colorspace=RGB_CHANNELS, encoded_image_string=png)
    return Summary(value=[Summary.Value(tag=tag, image=image)])
