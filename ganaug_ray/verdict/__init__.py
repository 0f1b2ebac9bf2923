"""From the predictions of models to an answer: paired statistics, the verdict, and who may become champion."""
