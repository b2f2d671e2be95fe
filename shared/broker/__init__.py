"""The transport, and all that Redis holds. This room knows no Celery application."""
