"""``python -m ganaug_ray``."""

from ganaug_ray.cli import main

main()
