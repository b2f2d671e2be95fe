"""Ready-made work for comparisons, and the probes that measure it."""
