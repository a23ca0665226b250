"""The training loop, and what every method shares."""
