"""`python -m tests.benchmarks.device_time`."""

import sys

from tests.benchmarks.device_time.cpu import main

if __name__ == "__main__":
    sys.exit(main())
