"""Avalanche's plugins with fixes for prompt heads, and the names by which the command line knows them."""
