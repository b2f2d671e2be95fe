"""The three pools: processes, threads, greenlets."""
