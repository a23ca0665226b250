"""One run from start to finish: the loop over experiences, checkpoints, records, leaderboard."""
