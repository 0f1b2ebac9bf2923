"""Hook of mkdocs: makes the pages of the reference from the code, so that they are never older than it."""
