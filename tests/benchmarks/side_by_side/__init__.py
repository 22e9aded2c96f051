"""What the benchmarks against other engines share: engines and their settings, interleaved timing, the environment's stamp."""
