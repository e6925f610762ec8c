"""The networks of the tests are tiny: two threads wait for each other longer than one computes."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; for processes that tests start as well
