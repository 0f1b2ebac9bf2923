"""From raw images to batches: sources, judgement, split, store, order."""
