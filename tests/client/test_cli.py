"""The terminal client against a real server on loopback with a handful of films."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from google.protobuf.json_format import MessageToDict

import ilk
from ilk.__main__ import main
from ilk.v1 import similarity_pb2 as pb
from ilk.v1 import similarity_pb2_grpc as pb_grpc
from tests.server.certificates import Authority

FILMS = {
    film.id: film
    for film in (
        pb.Item(id="1", title="Toy Story", year=1995, genres=["Animation"], rating_count=9),
        pb.Item(id="2", title="Alien", year=1979, genres=["Horror", "Sci-Fi"]),
        pb.Item(id="3", title="Aliens", year=1986, genres=["Action", "Sci-Fi"]),
        pb.Item(id="1984", title="Ghostbusters", genres=["Comedy"]),
        pb.Item(id="5", title="1984", year=1984, genres=["Drama"]),
    )
}


WHERE_IDS_ARE = "ilk: ids are those of the data; `ilk search` finds films by what you remember\n"


class FilmService(pb_grpc.SimilarityServiceServicer):
    """Knows five films; every other film or user is nearest to the first two."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.simulated = False

    def FindNeighbors(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self.asked.append(request)
        if request.user_id == "nobody":
            context.abort(grpc.StatusCode.NOT_FOUND, "unknown user 'nobody'")
        if request.user_id == "slow":
            context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "too late")
        if request.user_id == "odd":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the user is odd")
        if request.user_id == "broken":
            context.abort(grpc.StatusCode.INTERNAL, "request 77")
        ids = ["u1", "u2"] if request.target == pb.TARGET_USERS else ["2", "3"]
        near = [pb.Neighbor(id=ids[0], score=0.75, collaborative=0.5, content=1.0)]
        near.append(pb.Neighbor(id=ids[1], score=-0.25, unrelated=True))
        response = pb.FindNeighborsResponse(neighbors=near, bundle_version="v1", content_weight=0.5)
        if request.neighbor_count > 2:
            response.shortfall.requested, response.shortfall.returned = request.neighbor_count, 2
            response.shortfall.message = "2 of 10: the bundle holds no more"
        return response

    def PredictRatings(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self.asked.append(request)
        told = [pb.RatingPrediction(item_id=id_, stars=4.5) for id_ in request.item_ids]
        return pb.PredictRatingsResponse(predictions=told)

    def SearchTitles(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        start = request.text[:3].casefold()
        found = [film for film in FILMS.values() if film.title.casefold().startswith(start)]
        matches = [pb.TitleMatch(item=film, score=0.5) for film in found[: request.match_count]]
        return pb.SearchTitlesResponse(matches=matches)

    def GetItems(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        known = [FILMS[item_id] for item_id in request.ids if item_id in FILMS]
        unknown = [item_id for item_id in request.ids if item_id not in FILMS]
        return pb.GetItemsResponse(items=known, unknown_ids=unknown)

    def GetBundle(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return pb.GetBundleResponse(bundle_version="v1", user_count=3, simulated=self.simulated)


@pytest.fixture
def service() -> FilmService:
    return FilmService()


@pytest.fixture
def target(service: FilmService) -> Iterator[str]:
    with ThreadPoolExecutor(max_workers=2) as pool:
        server = grpc.server(pool)
        pb_grpc.add_SimilarityServiceServicer_to_server(service, server)  # type: ignore[no-untyped-call]
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait()


class Ran(NamedTuple):
    status: int
    out: str
    err: str


Ilk = Callable[..., Ran]


@pytest.fixture(name="ilk")
def run_ilk(
    target: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Ilk:
    monkeypatch.setenv("ILK_SERVER", target)

    def run(*argv: str) -> Ran:
        try:
            status = main(argv)
        except SystemExit as stopped:
            status = int(stopped.code or 0)
        return Ran(status, *capsys.readouterr())

    return run


def told(request: Any) -> dict[str, Any]:
    return MessageToDict(request, preserving_proto_field_name=True)


ITEMS_PLAIN = {"target": "TARGET_ITEMS", "neighbor_count": 10, "include_components": True}
USERS_PLAIN = ITEMS_PLAIN | {"target": "TARGET_USERS"}


@pytest.mark.parametrize(
    ("argv", "sent"),
    [
        (["similar-items", "toy stroy"], ITEMS_PLAIN | {"item_id": "1"}),
        (["similar-users", "7"], USERS_PLAIN | {"user_id": "7"}),
        (["audience", "Toy Story"], USERS_PLAIN | {"item_id": "1"}),
        (["recommend", "7"], ITEMS_PLAIN | {"user_id": "7", "filter": {"exclude_seen": True}}),
        (["recommend", "7", "--include-seen"], ITEMS_PLAIN | {"user_id": "7"}),
        (["text", "animated comedy"], ITEMS_PLAIN | {"text": "animated comedy"}),
        (
            ["examples", "--like", "Alien", "--like", "3", "--unlike", "Toy Story"],
            ITEMS_PLAIN
            | {"examples": {"positive_item_ids": ["2", "3"], "negative_item_ids": ["1"]}},
        ),
    ],
)
def test_each_question_is_asked(
    ilk: Ilk, service: FilmService, argv: list[str], sent: dict[str, Any]
) -> None:
    assert ilk(*argv).status == 0
    assert [told(request) for request in service.asked] == [sent]


def test_tastes_become_a_profile(ilk: Ilk, service: FilmService) -> None:
    tastes = ["--like", "Alien", "--like", "3", "--dislike", "1984", "--genre", "Sci-Fi"]
    ran = ilk("recommend", *tastes, "--rate", "Toy Story=4.5", "--rate", "5=2")
    assert ran.status == 0
    assert told(service.asked[0])["profile"] == {
        "ratings": [{"item_id": "1", "stars": 4.5}, {"item_id": "5", "stars": 2.0}],
        "liked_item_ids": ["2", "3"],
        "disliked_item_ids": ["1984"],
        "favorite_genres": ["Sci-Fi"],
    }


def test_options_reach_the_query(ilk: Ilk, service: FilmService) -> None:
    options = ["--count", "3", "-w", "0.25", "--diversity", "0.5", "--popularity-penalty", "0.75"]
    filters = [
        "--genre-filter",
        "Drama",
        "--genre-filter",
        "Comedy",
        "--min-year",
        "1990",
        "--max-year",
        "1999",
    ]
    assert ilk("similar-items", "1", *options, *filters).status == 0
    sent = told(service.asked[0])
    assert sent["neighbor_count"] == 3
    assert (sent["content_weight"], sent["diversity"]) == (0.25, 0.5)
    assert sent["popularity_penalty"] == 0.75
    years = {"min_year": 1990, "max_year": 1999}
    assert sent["filter"] == {"any_genres": ["Drama", "Comedy"], **years}


def test_answers_go_to_stdout_and_the_film_taken_to_stderr(ilk: Ilk) -> None:
    ran = ilk("similar-items", "toy stroy")
    assert ran.err == "ilk: 'toy stroy' is taken as Toy Story (1995), id 1\n"
    lines = ran.out.splitlines()
    assert lines[0].split() == ["#", "title", "year", "genres", "score", "collaborative", "content"]
    assert lines[1].split() == [
        "1",
        "Alien",
        "1979",
        "Horror,",
        "Sci-Fi",
        "0.7500",
        "0.5000",
        "1.0000",
    ]
    assert lines[2].endswith("(unrelated)")
    assert "2 of 10: the bundle holds no more" in lines
    assert "simulated" not in ran.out


def test_an_exact_id_wins_over_a_title(ilk: Ilk, service: FilmService) -> None:
    ran = ilk("similar-items", "1984")
    assert service.asked[0].item_id == "1984"
    assert ran.err == "ilk: '1984' is taken as Ghostbusters, id 1984\n"


def test_simulated_users_are_called_so(ilk: Ilk, service: FilmService) -> None:
    service.simulated = True
    assert ilk("similar-users", "7").out.splitlines()[-1].endswith("simulated users")
    assert ilk("predict", "7", "1").out.splitlines()[-1] == "simulated users"
    assert "simulated users" in ilk("bundle").out


def test_stars_are_predicted_for_films_in_the_order_typed(ilk: Ilk, service: FilmService) -> None:
    ran = ilk("predict", "7", "Toy Story", "2", "--method", "cosine-knn")
    method = "PREDICTION_METHOD_COSINE_KNN"
    assert told(service.asked[0]) == {"user_id": "7", "item_ids": ["1", "2"], "method": method}
    assert [line.split()[0] for line in ran.out.splitlines()] == ["title", "Toy", "Alien"]
    assert "4.50" in ran.out


def test_search_lists_matches_and_none_is_an_answer(ilk: Ilk) -> None:
    assert [line.split()[0] for line in ilk("search", "alien").out.splitlines()] == ["id", "2", "3"]
    assert len(ilk("search", "alien", "--count", "1").out.splitlines()) == 2
    assert ilk("search", "zzz") == Ran(0, "no title is like that\n", "")


def test_items_lists_the_known_and_remarks_on_the_unknown(ilk: Ilk) -> None:
    ran = ilk("items", "2", "77")
    assert (ran.status, ran.err) == (0, "ilk: unknown item '77'\n")
    assert ran.out.splitlines()[1].split()[:2] == ["2", "Alien"]
    assert ilk("items", "77") == Ran(3, "", f"ilk: unknown item '77'\n{WHERE_IDS_ARE}")


def test_json_answers_can_be_read_by_programs(ilk: Ilk) -> None:
    near = json.loads(ilk("--json", "recommend", "7").out)
    assert [one["id"] for one in near["neighbors"]] == ["2", "3"]
    assert near["items"]["2"]["title"] == "Alien"
    assert near["shortfall"]["reason"] == "bundle exhausted"
    assert near["simulated"] is False
    assert json.loads(ilk("similar-users", "7", "--json").out)["neighbors"][1]["unrelated"] is True
    assert json.loads(ilk("predict", "7", "1", "--json").out)["predictions"][0]["stars"] == 4.5
    assert json.loads(ilk("search", "alien", "--json").out)["matches"][0]["item"]["year"] == 1979
    assert json.loads(ilk("items", "1", "77", "--json").out)["unknown_ids"] == ["77"]
    assert json.loads(ilk("bundle", "--json").out)["user_count"] == 3


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["similar-items", "zzz"], f"ilk: unknown film 'zzz'\n{WHERE_IDS_ARE}"),
        (["similar-users", "nobody"], f"ilk: unknown user 'nobody'\n{WHERE_IDS_ARE}"),
        (["similar-users", "broken"], "ilk: INTERNAL: request 77\n"),
    ],
)
def test_failures_are_told_without_a_traceback(ilk: Ilk, argv: list[str], message: str) -> None:
    assert ilk(*argv) == Ran(3, "", message)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["text", "x", "-n", "1001"], "ilk: neighbor_count: must be in [1, 1000], got 1001\n"),
        (["text", "\udcff"], "ilk: a value of the request cannot be sent"),
        (["similar-users", "odd"], "ilk: the user is odd\n"),
    ],
)
def test_what_turns_out_to_be_asked_wrongly_is_a_usage_error(
    ilk: Ilk, argv: list[str], message: str
) -> None:
    ran = ilk(*argv)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith(message)


def test_a_variable_that_is_empty_names_no_file(ilk: Ilk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ILK_TOKEN_FILE", "")
    assert ilk("bundle").status == 0


@pytest.mark.parametrize("flag", ["--tls-ca", "--token-file"])
def test_a_file_that_cannot_be_read_is_a_usage_error(ilk: Ilk, flag: str) -> None:
    ran = ilk(flag, "absent", "bundle")
    assert ran == Ran(
        2, "", "ilk: absent cannot be read: No such file or directory; is the path right?\n"
    )


def test_a_file_without_a_certificate_is_told_so(ilk: Ilk, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("not a certificate")
    ran = ilk("--tls-ca", str(tmp_path / "token"), "bundle")
    assert ran.status == 2
    assert "token holds no certificate in PEM" in ran.err


def test_a_server_in_plaintext_that_is_called_by_tls_is_told_so(ilk: Ilk) -> None:
    ran = ilk("--tls", "bundle")
    assert ran.status == 3
    assert "a server in plaintext wants no --tls" in ran.err


def test_a_server_by_tls_that_is_called_in_plaintext_is_told_so(ilk: Ilk) -> None:
    pair = Authority("somebody").issue("localhost")
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        credentials = grpc.ssl_server_credentials([(pair.key, pair.certificate)])
        port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        ran = ilk("--server", f"127.0.0.1:{port}", "bundle")
        server.stop(None).wait()
    assert ran.status == 3
    assert "if it speaks TLS, connect with --tls or --tls-ca" in ran.err


def test_time_that_ran_out_can_be_made_longer(ilk: Ilk, target: str) -> None:
    ran = ilk("similar-users", "slow")
    assert ran == Ran(
        3, "", f"ilk: no answer from {target}: too late\nilk: wait longer with --timeout\n"
    )


def test_an_unknown_option_is_told_with_those_of_its_command(ilk: Ilk) -> None:
    ran = ilk("recommend", "7", "--content-wieght", "1")
    assert ran.status == 2
    assert "ilk recommend: error: unrecognized arguments: --content-wieght 1" in ran.err
    assert "--content-weight WEIGHT" in ran.err


@pytest.mark.parametrize(
    "server",
    ["", "127.0.0.1", "localhost:", "127.0.0.1:99999", "http://127.0.0.1:50051", "::1:5", "a:0"],
)
def test_a_server_is_named_by_host_and_port(ilk: Ilk, server: str) -> None:
    ran = ilk("--server", server, "bundle")
    assert (ran.status, ran.out) == (2, "")
    assert "is no HOST:PORT, such as 127.0.0.1:50051" in ran.err


@pytest.mark.parametrize("form", ["dns:///{}", "ipv4:{}", "{}"])
def test_a_server_may_be_named_as_grpc_names_it(ilk: Ilk, target: str, form: str) -> None:
    assert ilk("--server", form.format(target), "bundle").status == 0


def test_nobody_listening_is_a_failure_that_says_what_to_do(ilk: Ilk) -> None:
    ran = ilk("--server", "127.0.0.1:1", "bundle")
    assert (ran.status, ran.out) == (3, "")
    assert "no answer from 127.0.0.1:1" in ran.err
    assert "--server" in ran.err


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["guess"],
        ["recommend"],
        ["recommend", "7", "--like", "Alien"],
        ["recommend", "--rate", "Toy Story"],
        ["recommend", "--rate", "=3"],
        ["recommend", "--rate", "Alien=nan"],
        ["examples", "--unlike", "Alien"],
        ["similar-users", "7", "--min-year", "1990"],
        ["similar-items", "Alien", "-n", "0"],
        ["similar-items", "Alien", "-n", "many"],
        ["similar-items", "Alien", "--content-weight", "nan"],
        ["text", "x", "-w", "2"],
        ["text", "x", "-w=-0.1"],
        ["text", "x", "--diversity", "1.5"],
        ["text", "x", "--popularity-penalty", "most"],
        ["search", "alien", "--count", "0"],
        ["search", "alien", "--count=-3"],
        ["bundle", "--timeout", "0"],
        ["bundle", "--timeout", "soon"],
        ["predict", "7"],
        ["predict", "7", "1", "--method", "magic"],
    ],
    ids=" ".join,
)
def test_a_command_line_without_sense_is_a_usage_error(
    ilk: Ilk, service: FilmService, argv: list[str]
) -> None:
    ran = ilk(*argv)
    assert (ran.status, ran.out) == (2, "")
    assert "usage:" in ran.err
    assert service.asked == []


def test_connection_options_stand_before_or_after_the_command(ilk: Ilk, target: str) -> None:
    nowhere = ["--server", "127.0.0.1:1"]
    assert ilk(*nowhere, "bundle").status == 3
    assert ilk("bundle", *nowhere).status == 3
    assert ilk(*nowhere, "bundle", "--server", target).status == 0


def run_module(*argv: str, **settings: Any) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-W", "error", "-m", "ilk", *argv]
    root = Path(ilk.__file__).parents[1]
    return subprocess.run(command, cwd=root, stderr=subprocess.PIPE, timeout=60, **settings)


def test_the_module_runs_and_survives_an_encoding_without_the_title(
    target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FILMS, "6", pb.Item(id="6", title="千と千尋の神隠し"))
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    ran = run_module("--server", target, "items", "6", stdout=subprocess.PIPE)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert b"????????" in ran.stdout


def test_a_reader_that_has_seen_enough_ends_it_quietly(target: str) -> None:
    with subprocess.Popen(["true"], stdin=subprocess.PIPE) as reader:
        reader.wait()
        ran = run_module("--server", target, "bundle", stdout=reader.stdin)
    assert (ran.returncode, ran.stderr) == (3, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="nothing is always full here")
def test_what_cannot_be_written_ends_it_in_a_line(target: str) -> None:
    with Path("/dev/full").open("wb") as full:
        ran = run_module("--server", target, "bundle", stdout=full)
    assert (ran.returncode, ran.stderr) == (
        3,
        b"the system refuses: [Errno 28] No space left on device\n",
    )
