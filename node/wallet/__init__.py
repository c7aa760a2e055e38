"""A patient's wallet: one seed, and which charts it opened; everything that an owner signs is made here.

The seed alone brings everything back: keys derive from it, and what a grant covers is found by trying known labels.
`wallet` is the opened file, `consent` and `recovery` make operations, `tagging` turns labels into tags and back,
`backup` makes shares, `preview` tells what a grant would open.
"""

from node.wallet.file import NoSuchChart, WalletChart, WalletFile
from node.wallet.tagging import GrantTooWide, label_list, tags_through
from node.wallet.wallet import NoChartSecret, NotTheOwner, Wallet

__all__ = [
    "GrantTooWide",
    "NoChartSecret",
    "NoSuchChart",
    "NotTheOwner",
    "Wallet",
    "WalletChart",
    "WalletFile",
    "label_list",
    "tags_through",
]
