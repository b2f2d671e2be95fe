"""Compares the speed of this project with that of other queues, on one machine, in one run."""
