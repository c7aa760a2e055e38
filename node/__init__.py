"""The daemon: drives the pure protocol with sockets, disks and clocks."""

__version__ = "0.1.0"
