"""The words for the feature spaces in which images are compared."""

_WORDS = {"teacher": "the teacher's features", "pixels16": "their pixels"}


def describe_features(name: str) -> str:
    """Return what images are compared by, for a sentence; ``name`` is that of a ``FeatureExtractor``.

    >>> describe_features("teacher"), describe_features("inception")
    ("the teacher's features", 'the features of inception')
    """
    return _WORDS.get(name, f"the features of {name}")
