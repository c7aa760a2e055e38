"""How institutions' nodes talk to each other: one small interface and its implementation over mutual TLS."""
