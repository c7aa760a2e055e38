"""The `chartledger` command: one module per noun."""
