"""From raw images to batches: sources, checks of every image, splits, image stores and loaders."""
