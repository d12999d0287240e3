"""The routed flows and the engine at work. Stays imported while the script is reloaded.

Connections that outlive a reload keep their old layers, and look both up here per request.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from core import Engine, Forward, HttpRequest, Tap, Witnessed

KEPT_FLOWS = 500
KEPT_BYTES = 64 << 20


@dataclass(slots=True)
class Routed:
    """What is kept beside a flow, never in it: metadata is written into `-w` files."""

    original: HttpRequest
    """As the client sent it. Every attempt and every replay starts from here."""
    forward: Forward
    """The attempt that is at work, or was the last."""
    tap: Tap | None = None
    live: bool = True


class Flows:
    """By flow id. Of ended flows the newest are kept, for replays, up to a number and a size."""

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self.unsafe: str | None = None
        """Why nothing may be routed now, whatever the engine says."""
        self.options_set: dict[str, object] = {}
        """mitmproxy's options that we have set, and to what: the user's own settings win."""
        self.witnessed: dict[str, Witnessed] = {}
        """Answers under way that were not routed, and count all the same."""
        self._routed: OrderedDict[str, Routed] = OrderedDict()

    def get(self, flow_id: str) -> Routed | None:
        return self._routed.get(flow_id)

    def add(self, flow_id: str, routed: Routed) -> None:
        self._routed[flow_id] = routed
        self._routed.move_to_end(flow_id)

    def end(self, flow_id: str) -> None:
        """The flow is over: from now on it is kept only as long as there is room."""
        routed = self._routed.get(flow_id)
        if routed is None:
            return
        routed.tap, routed.live = None, False
        for doomed in list(self._surplus()):
            del self._routed[doomed]

    def _surplus(self) -> Iterator[str]:
        kept = size = 0
        for flow_id, routed in reversed(self._routed.items()):
            if routed.live:
                continue
            kept += 1
            size += len(routed.original.body)
            if kept > KEPT_FLOWS or size > KEPT_BYTES:
                yield flow_id


FLOWS = Flows()
