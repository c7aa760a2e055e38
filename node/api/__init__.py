"""The daemon's face: HTTP over a Unix socket."""
