"""The networks of the tests are tiny: two threads wait for each other longer than one computes."""

import os

for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):  # numba, which UMAP runs on, sets the other's as well
    os.environ.setdefault(name, "1")  # before torch is imported; for processes that tests start as well
