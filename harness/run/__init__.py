"""One run: the loop over experiences, its state, checkpoints, resuming and signals."""
