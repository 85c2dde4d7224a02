import functools
import hashlib
import http.server
import io
import socket
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ilk.errors import DataError, IlkError, SettingsError
from indexer.readers.fetch import fetch
from indexer.readers.movielens import read_movielens

NAME = "ml-latest-small"


def archive(rating: str = "4.0", packed: int = zipfile.ZIP_STORED) -> bytes:
    held = io.BytesIO()
    files = {
        "movies.csv": "movieId,title,genres\n1,Heat (1995),Crime\n",
        "ratings.csv": f"userId,movieId,rating,timestamp\n1,1,{rating},5\n",
    }
    with zipfile.ZipFile(held, "w") as members:
        for name, text in files.items():
            # A ZipInfo has a fixed date, where a name would take the clock's: equal calls, equal bytes.
            members.writestr(zipfile.ZipInfo(f"{NAME}/{name}"), text, packed)
    return held.getvalue()


@dataclass
class Site:
    """A local web server: what it answers by path, and what it was asked."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    cut_short: set[str] = field(default_factory=set)
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def publish(self, content: bytes, checksum: str | None = None) -> None:
        self.files[f"/{NAME}.zip"] = content
        if checksum is not None:
            self.files[f"/{NAME}.zip.md5"] = checksum.encode()


class Handler(http.server.BaseHTTPRequestHandler):
    def __init__(self, site: Site, *args: object) -> None:
        self.site = site
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.site.asked.append(self.path)
        status = self.site.statuses.get(self.path, 200 if self.path in self.site.files else 404)
        content = self.site.files.get(self.path, b"") if status == 200 else b""
        self.send_response(status)
        told = {"Content-Length": str(len(content)), **self.site.headers}
        for name, value in told.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(
            content[: len(content) // 2] if self.path in self.site.cut_short else content
        )

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    site = Site()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, site))
    site.url = f"http://127.0.0.1:{server.server_address[1]}/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield site
    server.shutdown()
    thread.join()
    server.server_close()


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("form", ["{}  ml-latest-small.zip\n", "MD5 (ml-latest-small.zip) = {}\n"])
def test_fetched_archive_can_be_read(site: Site, tmp_path: Path, form: str) -> None:
    site.publish(archive(), form.format(md5(archive())))
    path = fetch(NAME, tmp_path / "new" / "folder", base_url=site.url, progress=False)
    assert path == tmp_path / "new" / "folder" / f"{NAME}.zip"
    assert path.read_bytes() == archive()
    assert list(path.parent.iterdir()) == [path]
    assert read_movielens(path).items.titles == ["Heat"]


def test_progress_is_shown_on_stderr_only(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site.publish(archive(), md5(archive()))
    fetch(NAME, tmp_path, base_url=site.url, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "100%" in shown.err


def test_archive_that_is_there_already_is_not_fetched_again(site: Site, tmp_path: Path) -> None:
    site.publish(archive(), md5(archive()))
    for _ in range(2):
        fetch(NAME, tmp_path, base_url=site.url, progress=False)
    assert site.asked.count(f"/{NAME}.zip") == 1


def test_older_archive_is_replaced(site: Site, tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.zip").write_bytes(archive("1.0"))
    site.publish(archive(), md5(archive()))
    assert fetch(NAME, tmp_path, base_url=site.url, progress=False).read_bytes() == archive()


def test_wrong_checksum_is_refused_and_leaves_what_was_there(site: Site, tmp_path: Path) -> None:
    old = tmp_path / f"{NAME}.zip"
    old.write_bytes(b"old")
    site.publish(archive(), "0" * 32)
    with pytest.raises(DataError, match=rf"has MD5 {md5(archive())} where 0000.* was published"):
        fetch(NAME, tmp_path, base_url=site.url, progress=False)
    assert list(tmp_path.iterdir()) == [old]
    assert old.read_bytes() == b"old"


def test_a_checksum_of_any_length_is_not_kept(site: Site, tmp_path: Path) -> None:
    site.publish(archive(), md5(archive()) + " " * 1_000_000)
    with pytest.raises(DataError, match=r"zip\.md5.*cannot be downloaded"):
        fetch(NAME, tmp_path, base_url=site.url, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_without_published_checksum_those_within_the_archive_are_checked(
    site: Site, tmp_path: Path
) -> None:
    site.publish(archive())
    assert fetch(NAME, tmp_path, base_url=site.url, progress=False).read_bytes() == archive()
    site.publish(archive().replace(b"Heat", b"Heal"))
    with pytest.raises(DataError, match=rf"holds a damaged {NAME}/movies\.csv"):
        fetch(NAME, tmp_path, base_url=site.url, progress=False)
    assert read_movielens(tmp_path / f"{NAME}.zip").items.titles == ["Heat"]


def test_damage_that_cannot_be_unpacked_is_refused(site: Site, tmp_path: Path) -> None:
    packed = bytearray(archive(packed=zipfile.ZIP_DEFLATED))
    begins = packed.index(b"movies.csv") + len(b"movies.csv")
    packed[begins : begins + 2] = b"\xff\xff"
    site.publish(bytes(packed))
    with pytest.raises(DataError, match=r"cannot be unpacked \(.*try again"):
        fetch(NAME, tmp_path, base_url=site.url, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_page_in_place_of_the_archive_is_refused(site: Site, tmp_path: Path) -> None:
    site.publish(b"<html>Please log in</html>", "<html>Please log in</html>")
    with pytest.raises(DataError, match="is not a zip archive"):
        fetch(NAME, tmp_path, base_url=site.url, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_connection_that_breaks_off_is_refused(site: Site, tmp_path: Path) -> None:
    site.publish(archive(), md5(archive()))
    site.cut_short.add(f"/{NAME}.zip")
    with pytest.raises(DataError, match="cannot be downloaded"):
        fetch(NAME, tmp_path, base_url=site.url, progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (302, {"Location": "http://a]b/"}),
        (302, {"Location": "http://" + "a" * 300 + "/"}),
        (302, {"Location": "file:///etc/passwd"}),
        (200, {"Content-Length": "many"}),
    ],
)
def test_headers_that_make_no_sense_are_refused(
    site: Site, tmp_path: Path, status: int, headers: dict[str, str]
) -> None:
    site.publish(archive(), md5(archive()))
    site.statuses = dict.fromkeys(site.files, status)
    site.headers = headers
    with pytest.raises(DataError, match="cannot be downloaded"):
        fetch(NAME, tmp_path, base_url=site.url)
    assert list(tmp_path.iterdir()) == []


def test_archive_that_is_not_there_says_so(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"{NAME}\.zip: cannot be .* the server answered 404"):
        fetch(NAME, tmp_path, base_url=site.url, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_checksum_that_the_server_fails_to_give_is_not_taken_for_none(
    site: Site, tmp_path: Path
) -> None:
    site.publish(archive(), md5(archive()))
    site.statuses[f"/{NAME}.zip.md5"] = 503
    with pytest.raises(DataError, match="the server answered 503"):
        fetch(NAME, tmp_path, base_url=site.url, progress=False)
    assert f"/{NAME}.zip" not in site.asked


def test_without_internet_the_message_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as held:
        # Bound but not listening: connections are refused, and nobody else can take the port.
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(DataError, match="there is no connection") as caught:
            fetch(NAME, tmp_path, base_url=url, progress=False)
    assert f"download {url}/{NAME}.zip by hand" in str(caught.value)
    assert "python -m indexer build" in str(caught.value)


def test_unknown_name_is_refused_before_anything_is_asked(site: Site, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="unknown data set 'ml-99m'; expected one of ml-latest"):
        fetch("ml-99m", tmp_path, base_url=site.url)
    assert site.asked == []


def test_folder_that_cannot_be_made_is_refused(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(IlkError, match=r"folder cannot be written: Not a directory"):
        fetch(NAME, tmp_path / "file" / "folder", base_url=site.url)


def test_folder_that_cannot_be_written_to_is_refused(site: Site) -> None:
    site.publish(archive())
    with pytest.raises(IlkError, match=r"^/proc cannot be written"):
        fetch(NAME, Path("/proc"), base_url=site.url, progress=False)
