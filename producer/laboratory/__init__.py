"""Measures which pool and concurrency suit a task, explains the result and draws it."""
