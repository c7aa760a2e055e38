"""What the ledger relies on of cryptography: hashing, signing, sealing, commitments and keys, each use labelled.

No primitive of its own: libsodium by PyNaCl and hashlib, HPKE by `cryptography`. Randomness is an argument, except
inside secretstream and HPKE, which draw their own.
"""
