"""Names that travel and reconnect: what queues, locks and managed objects have in common."""
