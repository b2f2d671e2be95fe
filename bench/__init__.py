"""The speed comparison: this project beside other queues, on one machine, in one run."""
