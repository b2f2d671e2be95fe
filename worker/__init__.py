"""What runs the tasks: Celery's entry point, the ready-made tasks, health."""
