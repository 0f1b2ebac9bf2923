"""From a trained generator to synthetic images, and to batches in which they stand beside real ones."""
