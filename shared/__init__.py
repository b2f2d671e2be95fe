"""The contract: what the producer and the workers both import."""
