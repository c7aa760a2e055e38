"""The ledger as a pure function: the state, its tree, and what each operation does to it."""
