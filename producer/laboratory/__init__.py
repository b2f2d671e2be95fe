"""Which pool, how many, for my task? Measured, explained and drawn."""
