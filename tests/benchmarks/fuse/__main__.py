"""`python -m tests.benchmarks.fuse`."""

import sys
import warnings

from tests.benchmarks.fuse.run import main

if __name__ == "__main__":
    # Peers' notes would hide the report.
    warnings.simplefilter("ignore")
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
