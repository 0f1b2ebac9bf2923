"""``python -m ganaug_ray``, and the command ``ganaug``."""

from ganaug_ray.core import interrupts


def main() -> None:
    """Run the command line, which Ctrl-C and SIGTERM end with a line from here on, before its imports."""
    interrupts.end_process_at_once()
    from ganaug_ray import cli

    cli.main()


if __name__ == "__main__":
    main()
