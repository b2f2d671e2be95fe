"""What is measured, and the probes that measure it."""
