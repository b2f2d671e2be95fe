"""What Redis holds, and who may take it. No Celery application in here."""
