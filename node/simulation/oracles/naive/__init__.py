"""A second, naive implementation of the ledger's rules: slow, plain, and written from docs/spec alone.

Oracles hold final blocks against it. It keeps everything in lists, sets and dictionaries that only grow, applies to
nothing but final blocks, and so needs no windows with bitmaps, no overlays and no way back.
"""
