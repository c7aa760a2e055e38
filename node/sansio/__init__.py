"""What a node decides around its consensus machine, without I/O: no asyncio, no clock, no randomness, no disk.

Time is an argument, and what takes time is awaited from ports that are passed in, so the same code runs on asyncio in a
node and on a virtual clock in a history (`node.simulation`). See docs/adr/0028.
"""
