"""The report: the HTML page of an experiment, and of its searches."""
