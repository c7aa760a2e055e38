"""The one encoding of every wire value."""
