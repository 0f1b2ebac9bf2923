"""From stored images to batches, in memory or streamed; any number of workers trains on the same global batches."""
