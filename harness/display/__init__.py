"""Screen output: console, tables and progress bars."""
