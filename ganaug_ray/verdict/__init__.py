"""From the predictions of models to an answer: paired statistics, the verdict, the promotion gate."""
