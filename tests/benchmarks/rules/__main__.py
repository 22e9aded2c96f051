"""`python -m tests.benchmarks.rules`."""

import os
import sys
import warnings

# Read when polars is imported: all engines get as many threads.
os.environ["POLARS_MAX_THREADS"] = "2"

from tests.benchmarks.rules.run import main

if __name__ == "__main__":
    # Peers' deprecation notes would hide the report.
    warnings.simplefilter("ignore")
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
