"""The files of runs: write, find, read and check them, and the numbers derived from them."""
