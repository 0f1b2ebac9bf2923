"""From predictions to figures, verdict and report."""
