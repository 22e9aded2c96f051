"""`python -m tests.benchmarks.forest`."""

import sys
import warnings

from tests.benchmarks.forest.run import main

if __name__ == "__main__":
    # Peers' deprecation notes would hide the report.
    warnings.simplefilter("ignore")
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
