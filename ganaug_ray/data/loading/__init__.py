"""From an image store to batches: resident or streamed, the same ones for any number of workers."""
