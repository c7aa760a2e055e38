"""Which labels this node knows, for who states them or grants by them."""

from __future__ import annotations

from starlette.responses import Response

from node.api.call import Call, json_response
from node.api.context import Context
from node.api.schemas import LabelOut, LabelsOut


async def known(context: Context, call: Call) -> Response:
    """The sensitivities and the institution's own categories, and how it labels."""
    by = context.settings.labelling
    own = by.table.sensitivities
    return json_response(
        LabelsOut(
            sensitivities=[LabelOut(code, meaning, code in own) for code, meaning in by.sensitivities().items()],
            categories=[LabelOut(name, meaning, True) for name, meaning in sorted(by.table.categories.items())],
            unexamined=by.unexamined,
            own_rules=len(by.table.rules),
            taken_away=len(by.table.taken_away),
        )
    )
