"""The pure core: what every node must compute alike. No I/O, no clock, no randomness of its own."""
