"""Follows trainings while they run: TensorBoard, a page of curves, MLflow and Weights & Biases."""
