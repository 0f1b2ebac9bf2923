"""From raw images to a split image store: reading, checks, duplicates, splits."""
