"""Scripts that make the project's assets: pretraining of the tiny model, tuning of the mini edition's settings."""
