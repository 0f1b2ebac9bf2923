"""``python -m ganaug_ray``, and the command ``ganaug``."""

import atexit
import gc

from ganaug_ray.core import interrupts, standard_streams


def main() -> None:
    """Run the command line, which Ctrl-C and SIGTERM end with a line from here on, before its imports."""
    interrupts.end_process_at_once()
    atexit.register(standard_streams.silence_errors)  # called last, as it is registered first
    from ganaug_ray import cli

    try:
        cli.main()
    finally:
        # Else the interpreter goes through all objects of torch and Ray before it ends: seconds without a word.
        gc.freeze()


if __name__ == "__main__":
    main()
