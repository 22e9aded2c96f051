"""`python -m tests.benchmarks.serving`."""

import sys

from tests.benchmarks.serving.run import main

if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        # Everything that was started has been stopped on the way here.
        sys.exit(130)
