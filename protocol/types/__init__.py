"""What travels and what is stored: plain immutable values, one canonical encoding each."""
