"""From raw images to a split image store: scan, audit, duplicates, split."""
