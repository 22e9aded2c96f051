"""`python -m tests.benchmarks.net_kernels`."""

import sys

from tests.benchmarks.net_kernels.run import main

if __name__ == "__main__":
    sys.exit(main())
