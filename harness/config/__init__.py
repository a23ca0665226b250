"""Settings: from flags and files to one frozen configuration of a run."""
