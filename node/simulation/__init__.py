"""Whole networks in one thread on a virtual clock, everything drawn from one seed (docs/testing.md)."""
