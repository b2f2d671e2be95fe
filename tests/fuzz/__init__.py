"""Hostile messages and odd entries among good tasks, on all pools, while workers are killed."""
