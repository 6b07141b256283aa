"""Who may reach the explorer's server, and what it says when it cannot be started."""

from __future__ import annotations

import errno
import logging
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from urllib.parse import urlsplit

import pytest
import viser
from websockets.exceptions import ConnectionClosed, InvalidStatus

from app.viewer._guard import is_loopback, reached_at
from app.viewer.cameras import camera_of
from app.viewer.server import SecureServer, open_server
from render.errors import InputError
from tests.viser_page import CAMERA, close_code, connected, encoded, until, updated, visiting


@pytest.fixture(scope="module")
def server() -> Iterator[SecureServer]:
    """Open to this machine, without a token."""
    with open_server(port=0) as server:
        yield server


@pytest.fixture(scope="module")
def guarded() -> Iterator[SecureServer]:
    """Open to all hosts, with a token."""
    with open_server("0.0.0.0", 0) as server:  # noqa: S104
        yield server


def fetch(server: SecureServer, path: str = "/", **headers: str) -> HTTPResponse:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.putrequest("GET", path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    response.read()
    connection.close()
    return response


# --- starting ---


def test_a_busy_port_is_refused_with_a_sentence_that_names_it(server: SecureServer) -> None:
    with pytest.raises(InputError, match=rf"Port {server.port} of 127.0.0.1 is in use.*--port"):
        open_server(port=server.port)


@pytest.mark.parametrize(
    ("host", "port", "sentence"),
    [
        ("no-such-host.invalid", 0, "unknown"),
        ("192.0.2.1", 0, "no address of this machine"),
        ("127.0.0.1", 70000, "0 to 65535"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_with_a_sentence(host: str, port: int, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        open_server(host, port)


def test_a_token_that_could_not_stand_in_an_address_is_refused() -> None:
    with pytest.raises(InputError, match="letters, digits"):
        open_server(port=0, token="a b;c")  # noqa: S106


def test_closing_frees_the_port_and_twice_does_no_harm() -> None:
    server = open_server(port=0)
    server.close()
    server.close()
    with open_server(port=server.port) as again:
        assert fetch(again).status == 200


def test_starting_and_stopping_print_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with open_server(port=0):
        pass
    assert capfd.readouterr() == ("", "")


def test_a_viser_whose_private_parts_have_moved_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import viser._messages

    monkeypatch.delattr(viser._messages, "RunJavascriptMessage")
    with pytest.raises(InputError, match=r"lacks RunJavascriptMessage; install viser"):
        open_server(port=0)


def test_another_release_of_viser_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viser, "__version__", "2.0.0")
    with pytest.raises(InputError, match=r"needs viser 1\.1, found 2\.0\.0"):
        open_server(port=0)


def test_a_viser_that_opens_its_web_server_another_way_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    class Elsewhere:
        def __init__(self, **_: object) -> None:
            self.stopped = False

        def stop(self) -> None:
            stopped.set()

    stopped = threading.Event()
    monkeypatch.setattr(viser, "ViserServer", Elsewhere)
    with pytest.raises(InputError, match="unguarded"):
        open_server(port=0)
    assert stopped.is_set()


def test_other_web_servers_of_the_process_start_as_ever(server: SecureServer) -> None:
    other = viser.ViserServer(host="127.0.0.1", port=0, verbose=False)
    try:
        assert other.get_port() != server.port
    finally:
        other.stop()


# --- web pages ---


def test_the_page_is_served_to_no_frame_and_tells_its_address_to_nobody(server: SecureServer) -> None:
    response = fetch(server)
    assert response.status == 200
    assert response.getheader("X-Frame-Options") == "DENY"
    assert response.getheader("Referrer-Policy") == "no-referrer"
    assert response.getheader("Set-Cookie") is None


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../etc/passwd",
        "/..%2f..%2f..%2fetc/passwd",
        "/%2e%2e/%2e%2e/%2e%2e/__init__.py",
        "/..\\..\\..\\__init__.py",
        "//etc/passwd",
        "/index.html/../../../_viser.py",
        "/index.html%00.js",
        "/" + "a" * 4000,
        "/http://[",
        "/channel/",
    ],
)
def test_no_path_leads_out_of_the_page(server: SecureServer, path: str) -> None:
    assert fetch(server, path).status in (400, 404)


@pytest.mark.parametrize(
    "host", ["example.org", "example.org:8080", "127.0.0.1.example.org", "10.0.0.7", "", "[", "::"]
)
def test_a_foreign_host_name_is_refused(server: SecureServer, host: str) -> None:
    assert fetch(server, Host=host).status == 403


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "localhost:9999", "[::1]:8080"])
def test_names_of_this_machine_are_accepted_on_any_port_as_tunnels_have_others(server: SecureServer, host: str) -> None:
    assert fetch(server, Host=host).status == 200


# --- websockets ---


@pytest.mark.parametrize("origin", [None, "null", "http://example.org", "http://localhost:1", "file://"])
def test_a_websocket_of_a_foreign_page_is_refused(server: SecureServer, origin: str | None) -> None:
    with pytest.raises(InvalidStatus) as refusal, connected(server, origin=origin):
        pass
    assert refusal.value.response.status_code == 403


def test_a_websocket_of_a_rebound_name_is_refused(server: SecureServer) -> None:
    host = f"evil.example.org:{server.port}"
    own = socket.create_connection(("127.0.0.1", server.port))
    own.sendall(
        f"GET / HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n".encode()
    )
    with own:
        assert own.recv(100).startswith(b"HTTP/1.1 403")


def test_a_page_of_another_release_is_told_to_reload_and_nothing_is_printed(
    server: SecureServer, capfd: pytest.CaptureFixture[str]
) -> None:
    with connected(server, subprotocols=["viser-v0.9.9"]) as page, pytest.raises(ConnectionClosed) as closed:
        page.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, "reload" in closed.value.rcvd.reason) == (1002, True)
    assert capfd.readouterr() == ("", "")


def test_no_page_can_ask_for_a_public_tunnel(server: SecureServer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(server.viser, "request_share_url", lambda *_: asked.append(1))
    before = server.dropped["ignored"]
    with visiting(server) as (page, _):
        page.send(encoded({"type": "ShareUrlRequest"}))
        until(lambda: server.dropped["ignored"] == before + 1)
    assert not asked


def test_a_widget_takes_only_values_that_a_person_could_give(server: SecureServer) -> None:
    gui = server.viser.gui
    slider = gui.add_slider("s", min=0.0, max=1.0, step=0.1, initial_value=0.5)
    menu = gui.add_dropdown("d", options=("a", "b"))
    colour = gui.add_rgb("c", initial_value=(1, 2, 3))
    locked = gui.add_checkbox("l", initial_value=False, disabled=True)
    text = gui.add_text("t", initial_value="")
    bad: list[tuple[str, object]] = [
        *((slider._impl.uuid, value) for value in (2.0, float("nan"), "x", True, None, [1.0])),
        *((menu._impl.uuid, value) for value in ("c", 1, ["a"])),
        *((colour._impl.uuid, value) for value in ([1, 2], [1, 2, 300], [1, 2, "3"], 5)),
        (locked._impl.uuid, True),
        *((text._impl.uuid, value) for value in ("x" * 200_000, {"a": 1}, 5)),
        ("nobody", 1.0),
    ]
    before = server.dropped["ignored"]
    with visiting(server) as (page, _):
        for uuid, value in bad:
            page.send(updated(uuid, value))
        until(lambda: server.dropped["ignored"] == before + len(bad))
        assert (slider.value, menu.value, colour.value, locked.value, text.value) == (0.5, "a", (1, 2, 3), False, "")
        for uuid, value in (
            (slider._impl.uuid, 1),
            (menu._impl.uuid, "b"),
            (colour._impl.uuid, [9, 8, 7]),
            (text._impl.uuid, "chair"),
        ):
            page.send(updated(uuid, value))
        until(lambda: text.value == "chair")
    assert (slider.value, menu.value, colour.value) == (1.0, "b", (9, 8, 7))
    assert server.dropped["malformed"] == server.dropped["failed"] == 0


@pytest.mark.parametrize("name", ["update_cb", "sync_cb", "removed", "uuid", "label"])
def test_a_page_cannot_change_anything_of_a_widget_but_its_value(server: SecureServer, name: str) -> None:
    widget = server.viser.gui.add_checkbox("w", initial_value=False)
    before = getattr(widget._impl, name, None)
    with visiting(server) as (page, _):
        page.send(encoded({"type": "GuiUpdateMessage", "uuid": widget._impl.uuid, "updates": {name: []}}))
        assert close_code(page) == 1008
    assert getattr(widget._impl, name, None) is before


def test_uploads_are_not_taken(server: SecureServer) -> None:
    button = server.viser.gui.add_upload_button("u")
    start = {
        "type": "FileTransferStartUpload",
        "source_component_uuid": button._impl.uuid,
        "transfer_uuid": "1",
        "filename": "../../x",
        "mime_type": "text/plain",
        "part_count": 0,
        "size_bytes": 0,
    }
    before = server.dropped["ignored"]
    with visiting(server) as (page, _):
        page.send(encoded(start))
        until(lambda: server.dropped["ignored"] == before + 1)
    assert button.value.content == b""


def test_a_failure_inside_the_server_is_told_in_one_line(
    server: SecureServer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    button = server.viser.gui.add_button("b")

    @button.on_click
    async def _(_: object) -> None:
        raise RuntimeError("a callback that fails")

    with caplog.at_level(logging.WARNING), visiting(server) as (page, _):
        page.send(updated(button._impl.uuid, True))
        until(lambda: "a callback that fails" in caplog.text)
    assert "Traceback" not in caplog.text + "".join(capfd.readouterr())


# --- the access token ---


def test_another_host_asks_for_a_token_that_its_address_carries(guarded: SecureServer) -> None:
    assert guarded.token is not None
    assert len(guarded.token) >= 32
    assert guarded.url.endswith(f":{guarded.port}/?token={guarded.token}")
    for path in ("/", "/?token=", "/?token=wrong", f"/?token={guarded.token}x", "/?token=%C3%A9"):
        assert fetch(guarded, path).status == 401


def test_the_token_is_kept_in_a_cookie_that_scripts_and_other_sites_do_not_see(guarded: SecureServer) -> None:
    response = fetch(guarded, f"/?token={guarded.token}")
    cookie = response.getheader("Set-Cookie") or ""
    assert response.status == 200
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert fetch(guarded, "/", Cookie=cookie.split(";")[0]).status == 200


@pytest.mark.parametrize("cookie", ["", "fit3d=x", "a=b; c", "fit3d_{port}=wrong", 'fit3d_{port}="', "é=é"])
def test_a_websocket_without_the_right_cookie_is_refused(guarded: SecureServer, cookie: str) -> None:
    headers = {"Cookie": cookie.format(port=guarded.port)} if cookie else {}
    with pytest.raises(InvalidStatus) as refusal, connected(guarded, additional_headers=headers):
        pass
    assert refusal.value.response.status_code == 401


def test_a_websocket_with_the_cookie_is_accepted(guarded: SecureServer) -> None:
    headers = {"Cookie": f"other=1; fit3d_{guarded.port}={guarded.token}"}
    with connected(guarded, additional_headers=headers) as page:
        page.send(encoded(CAMERA))
        until(guarded.viser.get_clients)


def test_a_server_of_all_hosts_answers_to_addresses_and_its_own_name_only(guarded: SecureServer) -> None:
    address = f"/?token={guarded.token}"
    assert fetch(guarded, address, Host=f"192.168.1.5:{guarded.port}").status == 200
    assert fetch(guarded, address, Host=socket.gethostname()).status == 200
    assert fetch(guarded, address, Host="example.org").status == 403


def test_the_address_of_a_server_of_all_hosts_is_one_that_others_can_open(guarded: SecureServer) -> None:
    address = urlsplit(guarded.url)
    assert address.hostname is not None
    assert not is_loopback(address.hostname)
    assert fetch(guarded, f"/?token={guarded.token}", Host=address.netloc).status == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])  # noqa: S104
def test_without_a_network_the_address_has_the_name_of_the_machine(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object) -> None:
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    class Unplugged(socket.socket):
        connect = unreachable

    monkeypatch.setattr(socket, "socket", Unplugged)
    assert reached_at(host) == socket.gethostname().lower()
    assert [reached_at(one) for one in ("127.0.0.1", "localhost", "::1")] == ["127.0.0.1", "localhost", "::1"]


def test_a_name_server_that_does_not_answer_holds_nobody_up_and_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    answered = threading.Event()

    def slow() -> str:
        asked.append(threading.current_thread().name)
        assert answered.wait(30)
        return "Own.Example.org"

    monkeypatch.setattr(socket, "getfqdn", slow)
    with open_server("0.0.0.0", 0) as server:  # noqa: S104
        address = f"/?token={server.token}"
        for host, status in (("own.example.org", 403), ("evil.example.org", 403), (socket.gethostname(), 200)):
            assert fetch(server, address, Host=host).status == status
        answered.set()
        until(lambda: fetch(server, address, Host="own.example.org").status == 200)
        assert fetch(server, address, Host="evil.example.org").status == 403
    assert asked == ["viewer-names"]
    with open_server(port=0) as server:
        assert fetch(server, Host="own.example.org").status == 403
    assert len(asked) == 1, "a server of this machine alone has no use for it"


def test_loopback_asks_for_a_token_if_one_is_given() -> None:
    with open_server(port=0, token="abc-1_2") as server:  # noqa: S106
        assert fetch(server).status == 401
        assert fetch(server, "/?token=abc-1_2").status == 200


# --- cameras ---


def test_the_camera_of_a_page_is_the_one_that_it_reported_at_any_height(server: SecureServer) -> None:
    with visiting(server) as (_, client):
        camera, small = camera_of(client, 480), camera_of(client, 31)
    assert (camera.width, camera.height, small.width, small.height) == (640, 480, 41, 31)
    assert camera.centre.tolist() == pytest.approx([0, 0, -3])
    assert camera.K[0, 0].item() == pytest.approx(camera.K[1, 1].item(), rel=1e-6)
    # The corners look in the same directions at every size.
    for view in (camera, small):
        assert (view.K[0, 2] / view.K[0, 0]).item() == pytest.approx(4 / 3 * 0.5463025, rel=1e-5)
        assert (view.K[1, 2] / view.K[1, 1]).item() == pytest.approx(0.5463025, rel=1e-5)


def test_a_camera_that_is_none_is_refused_with_a_sentence(server: SecureServer) -> None:
    with visiting(server) as (page, client):
        page.send(encoded(CAMERA | {"wxyz": [0.0, 0.0, 0.0, 0.0]}))
        until(lambda: not client.camera.wxyz.any())
        with pytest.raises(InputError, match="cannot be used: it may look"):
            camera_of(client, 100)
        page.send(encoded(CAMERA | {"image_height": 0}))
        until(lambda: client.camera.image_height == 0)
        with pytest.raises(InputError, match="not reported"):
            camera_of(client, 100)
