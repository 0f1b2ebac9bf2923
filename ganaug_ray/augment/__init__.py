"""From a trained generator to synthetic images, and to batches in which they are mixed with real ones."""
