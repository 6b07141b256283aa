"""Who may speak to the server: host names, origins, the access token."""

from __future__ import annotations

import hmac
import http
import ipaddress
import socket
import threading
from collections.abc import Collection
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from websockets.datastructures import Headers
    from websockets.http11 import Request, Response

WILDCARDS = ("0.0.0.0", "::", "")  # noqa: S104 - names to recognise, nothing is bound here
ANSWERS = {
    http.HTTPStatus.BAD_REQUEST: "This request cannot be read.",
    http.HTTPStatus.UNAUTHORIZED: "This page needs its access token: open the address that the terminal printed.",
    http.HTTPStatus.FORBIDDEN: "This page answers under its own address only; open the one that the terminal printed.",
    http.HTTPStatus.NOT_FOUND: "There is nothing here.",
    http.HTTPStatus.SERVICE_UNAVAILABLE: "Too many pages are open; close one and reload.",
}


def is_loopback(host: str) -> bool:
    """Whether an address or name can only be reached from this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bracketed(host: str) -> str:
    """A host as it stands in an address."""
    return f"[{host}]" if ":" in host else host


@dataclass(frozen=True)
class Gate:
    """Decides about requests.

    Attributes:
        host: The address the server is bound to.
        token: What a page must know, or None where loopback suffices.
        cookie: Name of the cookie that carries the token; cookies do not tell ports apart, so the name must.
        files: Paths of the files that may be fetched.
        names: Of this machine, in lower case; they count where it listens at all of its addresses.
    """

    host: str
    token: str | None
    cookie: str
    files: frozenset[str]
    names: Collection[str] = ()

    def refusal(self, request: Request, *, channel: bool) -> http.HTTPStatus | None:
        """Why a request is refused, or None.

        Args:
            request: Of a web page, a file or a websocket handshake.
            channel: Whether the path belongs to an open channel.
        """
        host, path = single(request.headers, "Host"), path_of(request)
        if host is None or path is None:
            return http.HTTPStatus.BAD_REQUEST
        if not self._knows(host):
            return http.HTTPStatus.FORBIDDEN
        upgrade = is_upgrade(request)
        # Browsers name the page that opens a websocket; a foreign one, or a rebound name, differs from the host.
        if upgrade and single(request.headers, "Origin") not in (f"http://{host}", f"https://{host}"):
            return http.HTTPStatus.FORBIDDEN
        if not (path == "/" or channel if upgrade else path in self.files):
            return http.HTTPStatus.NOT_FOUND
        return None if self._admits(request) else http.HTTPStatus.UNAUTHORIZED

    def _knows(self, header: str) -> bool:
        """Whether a Host header names this server: DNS rebinding brings a name of somebody else."""
        try:
            name = urlsplit(f"//{header}").hostname or ""
        except ValueError:
            return False
        if is_loopback(name) or name == self.host.lower():
            return True
        return self.host in WILDCARDS and (_is_address(name) or name in self.names)

    def _admits(self, request: Request) -> bool:
        if self.token is None:
            return True
        offered = [*parse_qs(urlsplit(request.path).query).get("token", []), *self._cookies(request.headers)]
        return any(hmac.compare_digest(value.encode(), self.token.encode()) for value in offered)

    def _cookies(self, headers: Headers) -> list[str]:
        try:
            jars = [SimpleCookie(line) for line in headers.get_all("Cookie")]
        except CookieError:
            return []
        return [jar[self.cookie].value for jar in jars if self.cookie in jar]

    def finish(self, response: Response) -> None:
        """Headers of a page: nobody frames it, its address goes to nobody, and it brings the token as a cookie."""
        response.headers.update(
            {
                "X-Frame-Options": "DENY",
                "X-Content-Type-Options": "nosniff",
                "Referrer-Policy": "no-referrer",
                "Cache-Control": "no-store",
            }
        )
        if self.token is not None:
            # The websocket's address cannot carry the token; scripts need not see it.
            response.headers["Set-Cookie"] = f"{self.cookie}={self.token}; HttpOnly; SameSite=Strict; Path=/"


def refuse(status: http.HTTPStatus) -> Response:
    """An answer of one sentence."""
    from websockets.datastructures import Headers
    from websockets.http11 import Response

    body = f"{ANSWERS[status]}\n".encode()
    headers = Headers({"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(body))})
    return Response(status.value, status.phrase, headers, body)


def is_upgrade(request: Request) -> bool:
    """Whether a request asks for a websocket."""
    return any(value.strip().lower() == "websocket" for value in request.headers.get_all("Upgrade"))


def path_of(request: Request) -> str | None:
    """The path of a request without its query, None if it cannot be read."""
    try:
        return urlsplit(request.path).path
    except ValueError:
        return None


def single(headers: Headers, name: str) -> str | None:
    """The value of a header that must be there exactly once."""
    values = headers.get_all(name)
    return values[0] if len(values) == 1 else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def own_names(host: str) -> set[str]:
    """Names of this machine that a server may be asked by, in lower case; none unless it listens everywhere.

    The one with the domain is asked of the network, which may take long: a thread adds it as soon as it is known.
    """
    if host not in WILDCARDS:
        return set()
    names = {socket.gethostname().lower()}
    threading.Thread(target=lambda: names.add(socket.getfqdn().lower()), name="viewer-names", daemon=True).start()
    return names


def reached_at(host: str) -> str:
    """A host that others can give in an address: where it is all of this machine's, the one that the network sees."""
    if host not in WILDCARDS:
        return host
    family, somewhere = (socket.AF_INET6, "2001:db8::1") if host == "::" else (socket.AF_INET, "192.0.2.1")
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((somewhere, 9))  # sends nothing: it only chooses the way out
            return str(probe.getsockname()[0])
    except OSError:  # no network
        return socket.gethostname().lower()
