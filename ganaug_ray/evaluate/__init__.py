"""One model: its metrics, its mistakes, what it learned."""
