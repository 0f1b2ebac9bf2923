"""The stages of a job, in order: each a function from settings and folders to a folder."""
