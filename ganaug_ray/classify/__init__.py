"""Image classifiers: networks, training, and the one inference path."""
