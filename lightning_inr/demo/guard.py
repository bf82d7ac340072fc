"""A check of every request: pages of other hosts cannot use this server."""

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "::1")
PROXIED = ("/gradio_api/file=http", "/gradio_api/proxy=")  # by these, Gradio would fetch from other hosts


class RequestGuard:
    """Refuses requests that name another host (DNS rebinding) or come from another host's page.

    `hosts`: names of this server; None: any, for a server that others on the network may use.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] | None) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403, or pass the request on."""
        if scope["type"] == "http" and not self._is_allowed(scope):
            await PlainTextResponse("refused: not a request of this page", status_code=403)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _is_allowed(self, scope: Scope) -> bool:
        headers, path = Headers(scope=scope), scope["path"]
        if path.lower().startswith(PROXIED):
            return False
        if headers.get("sec-fetch-site") == "cross-site" and path != "/":
            return False
        own = headers.get("host", "")
        if self.hosts is not None and _name(f"//{own}") not in self.hosts:
            return False
        origin = headers.get("origin")
        return origin is None or urlsplit(origin).netloc == own


def _name(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None
