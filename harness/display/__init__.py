"""Text on the screen: console, tables, progress."""
