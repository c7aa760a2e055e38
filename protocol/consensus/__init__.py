"""Proof of authority with finality: Simplex (Chan and Pass, ePrint 2023/463) as a pure machine."""
