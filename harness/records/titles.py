"""Names of runs and metrics as screens, pages and tables show them. Imports neither torch nor Avalanche."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.registry import shortened

METRIC_TITLES = {
    "cil_average": "cil_average",
    "cil_last": "cil_last",
    "transfer": "Transfer",
    "average": "Average",
    "last": "Last",
    "forgetting": "Forgetting",
    "bwt": "BWT",
    "retention": "Retention",
}
FEW_NAMES = 6
LONGEST_NAME = 30


def stream_title(benchmark: str, edition: str, order: str, ordered: Sequence[str] = ()) -> str:
    """Return the title of a stream: "mtil, mini edition, Order I" or "stream, own edition: PHOTOS, digits".

    `ordered` lists the tasks or classes of a custom order. The title shows them instead of the hash of the order.
    """
    if order.startswith("custom") and ordered:
        names = ", ".join(shortened(name, LONGEST_NAME) for name in ordered[:FEW_NAMES])
        # Long orders can have the same first names, so the title includes the hash.
        more = f", ... ({len(ordered)}, {order})" if len(ordered) > FEW_NAMES else ""
        return f"{benchmark}, {edition} edition: {names}{more}"
    return f"{benchmark}, {edition} edition, {f'Order {order}' if order in ('I', 'II') else f'{order} order'}"


def ordered_names(identity: Mapping[str, Any]) -> list[str]:
    """Return the names that the order of a run arranges: the classes of a given class order, else the tasks."""
    return list(identity.get("class_order") or identity.get("tasks") or ())
