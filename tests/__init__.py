"""The tests. Results must not depend on how many cores the machine has, nor processes side by side fight for them."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything is imported that reads it
