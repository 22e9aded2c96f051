"""`make bench-net`: the net beside the forest, on the Handbook's folds; dense, pruned and in integers."""
