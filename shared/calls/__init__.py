"""One call: what the caller sends, how a worker runs it, how its outcome comes back."""
