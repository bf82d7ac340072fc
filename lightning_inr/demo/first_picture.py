"""The first frame in the HTML of the page: it is shown while Gradio's scripts load, and the player then replaces it."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The styles are here, as page.css is loaded by Gradio. It lies where the player will be, which removes it.
PICTURE = (
    '<img id="linr-first" src="/linr/frame?file={key}&amp;position=0" alt="" onerror="this.remove()" '
    'style="position:absolute;top:178px;left:calc(max(0px,50vw - 550px) + min(44px,5vw));'
    "width:calc(min(100vw,1100px) - 2*min(44px,5vw));max-height:62vh;object-fit:contain;"
    'background:#000;border-radius:6px;pointer-events:none;z-index:1">'
)


class FirstPicture:
    """Adds the first frame of the file `key` to the answer for the page."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self.app, self.picture = app, PICTURE.format(key=key).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and change the answer if it is for the page."""
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] != "/":
            await self.app(scope, receive, send)
            return
        plain = {**scope, "headers": [each for each in scope["headers"] if each[0] != b"accept-encoding"]}
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        await self.app(plain, receive, keep)
        start, *parts = messages
        body = b"".join(part.get("body", b"") for part in parts)
        body = body.replace(b"<gradio-app", self.picture + b"<gradio-app", 1)
        MutableHeaders(raw=start["headers"])["content-length"] = str(len(body))
        await send(start)
        await send({"type": "http.response.body", "body": body})
