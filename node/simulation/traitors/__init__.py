"""Authorities that break the rules with their own keys, one kind a file."""
