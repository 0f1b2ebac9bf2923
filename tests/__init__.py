"""The tests. Results must not depend on how many cores the machine has, nor processes side by side fight for them."""

import os

# Before anything is imported that reads it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_worker_niceness", "0")  # or Ray's workers would wait for the tests beside them
