"""The worker: Celery's entry point, the pools, remote control, health."""
