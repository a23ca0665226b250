"""The cost of a run, counted and measured before it starts: `bench --plan`."""
