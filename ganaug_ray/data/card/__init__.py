"""The dataset card: an HTML page that describes a data set."""
