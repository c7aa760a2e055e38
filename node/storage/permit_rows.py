"""Write permits that owners gave this institution, by chart and grant. A table of `ledger.db`.

Each lies under the key-encryption key; what is in it is for `node.records.permits`.
"""

from __future__ import annotations

from node.storage.database import Database


class PermitRows:
    """The table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, chart: int, grant: int, sealed: bytes) -> None:
        """Keep a permit, durably, in the place of the one before it under that grant."""
        query = """INSERT INTO write_permit (chart, number, sealed) VALUES (?, ?, ?)
            ON CONFLICT (chart, number) DO UPDATE SET sealed = excluded.sealed"""
        row = (chart, grant, sealed)
        await self._database.write(lambda connection: connection.execute(query, row) and None)

    async def find(self, chart: int, grant: int) -> bytes | None:
        """The permit under that grant."""
        query = "SELECT sealed FROM write_permit WHERE chart = ? AND number = ?"
        rows = await self._database.read(lambda connection: connection.execute(query, (chart, grant)).fetchall())
        return rows[0][0] if rows else None

    async def of_chart(self, chart: int) -> list[tuple[int, bytes]]:
        """(grant, permit) of a chart, ascending by grant."""
        query = "SELECT number, sealed FROM write_permit WHERE chart = ? ORDER BY number"
        return await self._database.read(lambda connection: connection.execute(query, (chart,)).fetchall())
