"""Patterns that look like snooping, found in who asked to read what: for an institution's privacy officer."""
