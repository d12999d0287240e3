"""A process that renews sign-ins: ended in the middle by a test, or one of two that do it at once.

Told on its standard input, a JSON object a line; says on its standard output how each went.
"""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from core import providers
from core.accounts import Accounts
from core.authfile import Disk
from core.config import parse
from core.credentials import Credentials
from core.model import Headers, HttpRequest, HttpResponse
from core.refresh import Refresher
from core.transport import Send, Transport

type Step = Callable[[str], None]


class Stepping(Disk):
    """Tells of each step before and after it is made."""

    def __init__(self, step: Step) -> None:
        self.step = step

    def _made[T](self, name: str, done: Callable[[], T]) -> T:
        self.step(f"before {name}")
        result = done()
        self.step(f"after {name}")
        return result

    def read(self, file):
        return self._made(f"read {kind(file)}", lambda: super(Stepping, self).read(file))

    def create(self, file, data, owner):
        name = f"create {kind(file)}"
        self._made(name, lambda: super(Stepping, self).create(file, data, owner))

    def sync(self, place):
        self._made(f"sync {kind(place)}", lambda: super(Stepping, self).sync(place))

    def replace(self, new, file):
        name = f"replace {kind(file)} by {kind(new)}"
        self._made(name, lambda: super(Stepping, self).replace(new, file))


def kind(place: Path) -> str:
    """Files are named for digests of tokens, which are other ones each time."""
    parts = place.name.removeprefix("auth.json").removeprefix(".limit-router").split(".")
    return "staged" if len(parts) == 3 and len(parts[1]) == 16 else place.name


class Counting:
    """Numbers steps of the same name, and ends the process at one: nothing is cleaned up."""

    def __init__(self, end: str | None) -> None:
        self.end = end
        self.seen: list[str] = []

    def __call__(self, name: str) -> None:
        count = sum(it.startswith(f"{name} #") for it in self.seen) + 1
        self.seen.append(f"{name} #{count}")
        if self.seen[-1] == self.end:
            os.kill(os.getpid(), signal.SIGKILL)


def config(urls: dict[str, str]) -> str:
    """Configures token URLs, by provider."""
    sections = {name: {"oauth": True, "token_url": url} for name, url in urls.items()}
    return json.dumps({"providers": sections})


def refresher(folder: Path, urls: dict[str, str], disk: Disk) -> tuple[Refresher, Credentials]:
    known = providers.known()
    settings = parse(config(urls), "mitm.yaml", tuple(known))
    credentials = Credentials({}, folder)
    accounts = Accounts(settings, credentials, known)
    return Refresher(lambda: accounts, credentials, time.time, disk=disk), credentials  # noqa: TID251


def stepping_send(send: Send, step: Step) -> Send:
    async def stepped(request: HttpRequest, credential: Headers) -> HttpResponse:
        step("before the request")
        answer = await send(request, credential)
        step("after the response")
        return answer

    return stepped


def renew(folder: Path, urls: dict[str, str], step: Step) -> None:
    """One round."""

    async def main() -> None:
        made, _ = refresher(folder, urls, Stepping(step))
        async with Transport(5.0) as transport:
            await made.round(stepping_send(transport.send, step))

    asyncio.run(main())


def race(folder: Path, urls: dict[str, str], old: str) -> str | None:
    """As a router does it, until the token in use is not `old`; which one that is."""

    async def main() -> str | None:
        made, credentials = refresher(folder, urls, Disk())
        [facts] = [providers.known()[name] for name in urls]
        async with Transport(5.0) as transport:
            task = asyncio.create_task(made.run(transport.send, lambda: None))
            while (found := credentials.get(facts)) is None or found.secret.reveal() == old:
                assert not task.done(), task.result()
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.wait([task])
        return found.secret.reveal()

    return asyncio.run(main())


def serve() -> None:
    """Each order is done in a child, so that it may be the last thing that the child does."""
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            folder, urls = Path(order["folder"]), order["urls"]
            if "old" in order:
                print(json.dumps(race(folder, urls, order["old"])), flush=True)
            else:
                renew(folder, urls, Counting(order.get("end")))
            os._exit(0)
        if order.get("tell"):
            print(json.dumps(child), flush=True)
        _, status = os.waitpid(child, 0)
        print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)


if __name__ == "__main__":
    print(json.dumps("ready"), flush=True)
    serve()
