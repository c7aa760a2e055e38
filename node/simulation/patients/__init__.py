"""Patients of a simulated consortium, and what is done about their charts: to grant, revoke, read, bar, delegate,
recover, break the glass, erase and hold.

Most of it is valid when it is sent; some races with what others do at the same time, and some never is. Nobody in here
judges that: the ledger does in the nodes, and the naive ledger in the oracles.
"""
