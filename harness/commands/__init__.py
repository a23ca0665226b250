"""The commands of the command line, one per file. Importing this package imports no command."""
