"""The passes, one file each: `run(draft)` returns the next draft and one line about what was done."""
