"""The evaluation of one model: its metrics, its mistakes, and what it learned."""
