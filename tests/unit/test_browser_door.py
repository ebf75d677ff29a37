"""Who may come to a console in a browser, and where it may listen."""

from __future__ import annotations

import pytest

from headway_ops.browser.door import BadAddress, Door, Place, new_token, place

TOKEN = "t" * 43
HERE = "127.0.0.1:8484"


@pytest.mark.parametrize(
    ("path", "host", "origin", "socket", "status"),
    [
        (f"/{TOKEN}/", HERE, None, False, 0),
        (f"/{TOKEN}", HERE, None, False, 0),
        (f"/{TOKEN}/ws", HERE, f"http://{HERE}", True, 0),
        (f"/{TOKEN}/ws", "localhost:9", "http://localhost:9", True, 0),  # forwarded by ssh
        (f"/{TOKEN}/ws", "[::1]:9", "http://[::1]:9", True, 0),
        (f"/{TOKEN}/", "LocalHost", None, False, 0),
        ("/", HERE, None, False, 404),
        (f"/{TOKEN[:-1]}/", HERE, None, False, 404),
        (f"/{TOKEN}x/", HERE, None, False, 404),
        (f"/é{TOKEN}/", HERE, None, False, 404),
        (f"{TOKEN}", HERE, None, False, 404),
        (f"/x/{TOKEN}/", HERE, None, False, 404),
        (f"/{TOKEN}/", "evil.example:8484", None, False, 421),
        (f"/{TOKEN}/", "127.0.0.1.evil.example", None, False, 421),
        (f"/{TOKEN}/", "", None, False, 421),
        (f"/{TOKEN}/", "[::1", None, False, 421),
        (f"/{TOKEN}/", "evil@127.0.0.1", None, False, 0),  # no browser sends it
        (f"/{TOKEN}/ws", HERE, None, True, 403),
        (f"/{TOKEN}/ws", HERE, "null", True, 403),
        (f"/{TOKEN}/ws", HERE, "http://evil.example", True, 403),
        (f"/{TOKEN}/ws", HERE, "http://127.0.0.1:8485", True, 403),  # another port: another site
        (f"/{TOKEN}/ws", HERE, f"https://{HERE}", True, 403),
    ],
)
def test_only_who_has_the_token_comes_in_and_only_from_the_page_itself(
    path: str, host: str, origin: str | None, socket: bool, status: int
) -> None:
    refusal = Door(TOKEN).refusal(path, host, origin, socket=socket)
    assert (refusal.status if refusal else 0) == status


def test_behind_a_proxy_its_name_is_known_and_no_other() -> None:
    door = Door(TOKEN, "https://ops.example.com")
    assert door.refusal(f"/{TOKEN}/", "ops.example.com", None, socket=False) is None
    assert door.secure("OPS.example.com")
    assert not door.secure(HERE)
    origin = "https://ops.example.com"
    assert door.refusal(f"/{TOKEN}/ws", "ops.example.com", origin, socket=True) is None
    assert door.refusal(f"/{TOKEN}/ws", HERE, origin, socket=True) is None
    refusal = door.refusal(f"/{TOKEN}/", "example.com", None, socket=False)
    assert refusal is not None
    assert refusal.status == 421


def test_tokens_cannot_be_guessed() -> None:
    made = {new_token() for _ in range(100)}
    assert len(made) == 100
    assert min(map(len, made)) >= 43


def test_it_listens_here_unless_told_otherwise() -> None:
    assert place("0", "") == Place("127.0.0.1", 0)
    assert place("8484", "") == Place("127.0.0.1", 8484)
    assert place("[::1]:8484", "") == Place("::1", 8484)
    assert place("0.0.0.0:8484", "https://Ops.example.com/") == Place(
        "0.0.0.0", 8484, "https://ops.example.com"
    )


@pytest.mark.parametrize(
    ("at", "url", "says"),
    [
        ("0.0.0.0:8484", "", "seen from other machines, and this speaks plain HTTP"),
        ("ops.example.com:80", "", "seen from other machines"),
        ("[::]:80", "", "seen from other machines"),
        ("x", "", "--serve-at 'x'"),
        (":80", "", "--serve-at"),
        ("127.0.0.1:99999", "", "--serve-at"),
        ("0", "http://ops.example.com", "--serve-url"),
        ("0", "https://", "--serve-url"),
        ("0", "https://a/b", "--serve-url"),
        ("0", "https://u:p@a", "--serve-url"),
        ("0", "https://a:x", "--serve-url"),
    ],
)
def test_an_address_that_is_not_safe_is_refused_with_what_to_do(
    at: str, url: str, says: str
) -> None:
    with pytest.raises(BadAddress, match=says) as caught:
        place(at, url)
    assert caught.value.todo
