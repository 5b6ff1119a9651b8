"""What a server may read: for whom it listens, what its operator lists, and where a path really leads."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from semantic_focus.datasets.folder import dataset_folder
from semantic_focus.settings.access import (
    FILE,
    VARIABLE,
    Access,
    AccessError,
    is_local,
    is_network,
    server_access,
)


@pytest.mark.parametrize(
    ("listen", "local"),
    [
        ("127.0.0.1", True),
        ("127.2.2.2,127.3.3.3", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("127.0.0.1, ::1, LOCALHOST", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("0.0.0.0,::", False),
        ("127.0.0.1,192.168.1.5", False),
        ("127.0.0.1,", False),
        ("::", False),
        ("", False),
        ("::ffff:10.0.0.1", False),
        ("fe80::1%eth0", False),
        ("my.computer", False),
        ("localhost.example", False),
        ("2130706433", False),
    ],
)
def test_a_server_is_local_when_all_its_addresses_are(listen: str, local: bool):
    assert is_local(listen) is local


@pytest.mark.parametrize(
    ("text", "network"),
    [
        (r"\\host\share", True),
        ("//host/share", True),
        (r"\/host/share", True),
        (r"/\host\share", True),
        (r"\\?\C:\pictures", True),
        (r"\\.\pipe\x", True),
        ("//?/UNC/host/share", True),
        (r"\??\UNC\host\share", True),
        ("/pictures", False),
        ("/pictures//host/share", False),
        (r"C:\pictures", False),
        (r"\pictures", False),
        ("pictures", False),
    ],
)
def test_paths_that_ask_another_computer_or_a_device_are_known_by_their_text(text: str, network: bool):
    assert is_network(text) is network
    for access in (
        Access((), True),
        Access(("/",), False),
        Access((r"\\other\share", "//host2/share"), True),
    ):
        if network:
            with pytest.raises(AccessError, match=f"network or device path.*{VARIABLE}"):
                access.admitted(Path(text))


@pytest.mark.parametrize(
    ("listed", "asked", "admitted"),
    [
        (r"\\nas\photos", r"\\NAS\Photos\anna", True),
        (r"\\nas\photos", "//nas/photos/anna", True),
        ("//nas/photos/", r"\\nas\photos", True),
        (r"\\nas\photos", r"\\nas\photos2", False),
        (r"\\nas\photos", r"\\nas\photos\..\private", False),
        (r"\\nas", r"\\nas.evil.example\x", False),
        ("/", "//nas/photos", False),
        ("", r"\\nas\photos", False),
    ],
)
def test_a_network_folder_is_asked_when_it_is_listed(listed: str, asked: str, admitted: bool):
    access = Access((listed,), True)
    if admitted:
        assert access.admitted(Path(asked)) == Path(asked)
    else:
        with pytest.raises(AccessError, match="network or device path"):
            access.admitted(Path(asked))


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """`own` with a folder and links in it, `private` beside it."""
    for folder in ("own/inside", "own/strays", "private/deep"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "own" / "out").symlink_to(tmp_path / "private")
    (tmp_path / "own" / "round").symlink_to(tmp_path / "own" / "inside")
    (tmp_path / "own" / "loop").symlink_to(tmp_path / "own" / "loop")
    (tmp_path / "own" / "inside" / "near.png").symlink_to(tmp_path / "own" / "a.png")
    (tmp_path / "own" / "strays" / "far.png").symlink_to(tmp_path / "private" / "gone.png")
    return tmp_path


ADMITTED = ["own/inside", "own/round", "own/not/there/yet", "own/inside/../inside", "own/loop"]
REFUSED = [
    "private",
    "private/deep",
    "private/not there",
    "own/../private",
    "own/out",
    "own/out/deep",
    "own/out/not there",
    "own/inside/../../private",
    "owner",
    "",
    "../../../../../../../../etc",
]


@pytest.mark.parametrize("place", ADMITTED)
def test_what_is_below_a_listed_folder_is_read(house: Path, place: str):
    found = Access((str(house / "own"),), False).admitted(house / place)
    assert str(found) == os.path.realpath(house / place)


@pytest.mark.parametrize("place", REFUSED)
def test_what_leads_out_is_refused_alike_whether_it_is_there_or_not(house: Path, place: str):
    access = Access((str(house / "own"),), False)
    with pytest.raises(AccessError) as refusal:
        access.admitted(house / place)
    expected = str(refusal.value).replace(str(house / place), "…")
    with pytest.raises(AccessError) as other:
        access.admitted(Path("/no/such/place"))
    assert str(other.value).replace("/no/such/place", "…") == expected
    assert str(refusal.value).startswith(str(house / place)) and FILE in expected and VARIABLE in expected
    assert Access((), True).admitted(house / place) == house / place


def test_a_folder_with_a_link_that_leads_out_is_refused_by_the_link(house: Path):
    own, private = str(house / "own"), str(house / "private")
    with pytest.raises(AccessError, match=r"strays: far\.png in it is a link that leads out") as refusal:
        Access((own,), False).admitted(house / "own" / "strays")
    assert "private" not in str(refusal.value)
    assert Access((own, private), False).admitted(house / "own" / "strays") == house / "own" / "strays"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("/a\0b", "a zero byte"),
        ("/" + "x" * 256, "too long"),
        ("/" + "x/" * 3000, "too long"),
        ("好" * 100, "too long"),
        ("/\ud800", "no character that a path can have"),
    ],
)
@pytest.mark.parametrize("anywhere", [True, False])
def test_what_no_path_can_be_is_said_in_words(text: str, words: str, anywhere: bool):
    with pytest.raises(AccessError, match=words) as refusal:
        Access(("/",), anywhere).admitted(Path(text))
    assert len(str(refusal.value)) < 400


def test_only_who_may_read_anywhere_learns_which_users_there_are():
    for name in ("~root/x", "~no_such_user/x"):
        with pytest.raises(AccessError, match="does not read that place"):
            Access(("/nowhere",), False).named(name, dataset_folder)
    with pytest.raises(ValueError, match="no such home folder"):
        Access((), True).named("~no_such_user/x", dataset_folder)
    with pytest.raises(ValueError, match="no folder given"):
        Access((), False).named(" ", dataset_folder)


@pytest.fixture
def ruled(tmp_path: Path) -> Callable[..., Access]:
    """The access of a server that owns /own, with this file and this variable."""

    def access(rules: str | None, variable: str = "", listen: str = "127.0.0.1") -> Access:
        file = tmp_path / FILE
        if rules is not None:
            file.write_text(rules, encoding="utf-8")
        return server_access(["/own"], listen, file, variable)

    return access


@pytest.mark.parametrize(
    ("rules", "variable", "listen", "folders", "anywhere"),
    [
        (None, "", "127.0.0.1", [], True),
        (None, "", "0.0.0.0", [], False),
        ("", "", "127.0.0.1", [], True),
        ("[read]\n", "", "0.0.0.0", [], False),
        ('[read]\nfolders = ["/a b", "/c"]', "/d", "127.0.0.1", ["/a b", "/c", "/d"], True),
        ('[read]\nfolders = ["/a"]\nstrict = true', "", "127.0.0.1", ["/a"], False),
        ("[read]\nstrict = false", "", "0.0.0.0", [], False),
        (
            r"""[read]
folders = ['\\nas\photos']""",
            "",
            "::1",
            [r"\\nas\photos"],
            True,
        ),
        (None, os.pathsep.join(["/a", " ", "/b"]), "0.0.0.0", ["/a", "/b"], False),
    ],
)
def test_the_operator_lists_folders_in_a_file_and_in_a_variable(
    ruled: Callable[..., Access],
    rules: str | None,
    variable: str,
    listen: str,
    folders: list[str],
    anywhere: bool,
):
    access = ruled(rules, variable, listen)
    assert access == Access(("/own", *folders), anywhere, fetch=anywhere)


@pytest.mark.parametrize(
    ("rules", "listen", "fetch"),
    [
        (None, "127.0.0.1", True),
        (None, "0.0.0.0", False),
        ("[read]\nstrict = true", "127.0.0.1", False),
        ("[weights]\nfetch = true", "0.0.0.0", True),
        ("[weights]\nfetch = false", "127.0.0.1", False),
        ("[read]\nstrict = true\n[weights]\nfetch = true", "127.0.0.1", True),
        ("[weights]\nfetch = true\n[reed]", "0.0.0.0", False),
        ("[weights]\nfetch = 1", "127.0.0.1", False),
        ("[weights]\nfetsh = true", "127.0.0.1", False),
    ],
)
def test_weights_are_fetched_for_the_user_of_this_computer_and_for_others_if_the_operator_says_so(
    ruled: Callable[..., Access], rules: str | None, listen: str, fetch: bool
):
    assert ruled(rules, "", listen).fetch is fetch


def test_the_home_folder_may_be_listed(ruled: Callable[..., Access]):
    assert ruled('[read]\nfolders = ["~/x"]').folders == ("/own", os.path.expanduser("~/x"))


@pytest.mark.parametrize(
    ("rules", "variable", "words"),
    [
        ("[read", "", f"{FILE} in ComfyUI's user folder: not valid TOML"),
        ('[read]\nfolders = "/a"', "", "line 2: .*it must be a list of texts"),
        ("[read]\nfolders = [3]", "", "it must be a list of texts"),
        ('[read]\nfolders = ["photos"]', "", 'folders has "photos": give the whole path'),
        ("[read]\nstrict = 1", "", "it must be true or false"),
        ("[read]\nfolder = []", "", "did you mean folders"),
        ("[reed]\n", "", r"the sections are \[read\] and \[weights\]"),
        ("strict = true", "", r"the sections are \[read\] and \[weights\]"),
        (None, "photos", f'{VARIABLE} has "photos"'),
    ],
)
def test_rules_that_cannot_be_read_open_nothing(
    ruled: Callable[..., Access], tmp_path: Path, rules: str | None, variable: str, words: str
):
    access = ruled(rules, variable)
    assert not access.anywhere and access.admitted(Path("/own/x")) == Path("/own/x")
    with pytest.raises(AccessError, match=words) as refusal:
        access.admitted(Path("/elsewhere"))
    assert str(tmp_path) not in str(refusal.value)
