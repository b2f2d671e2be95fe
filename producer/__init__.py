"""The command line: check input, enqueue, print."""
