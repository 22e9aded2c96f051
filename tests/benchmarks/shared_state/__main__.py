from tests.benchmarks.shared_state.run import main

raise SystemExit(main())
