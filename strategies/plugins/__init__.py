"""Avalanche's plugins, by name, with fixes for prompt heads."""
