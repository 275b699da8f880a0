"""Where keys come from, that they are never shown, and that a Server Role's keys stay fresh."""

import asyncio
import copy
import dataclasses
import gzip
import json
import os
import pickle
import socket
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from conftest import policy_text, seed
from hypothesis import given, settings
from hypothesis import strategies as st
from test_end_to_end import write as write_policy

from pruner.errors import CredentialsError
from pruner.registry.ncr import configure_file, server_role
from pruner.registry.ncr.configure_file import MAX_FILE_BYTES, default_configure_path, from_configure
from pruner.registry.ncr.credentials import Credentials, CredentialSource, from_environment
from pruner.registry.ncr.server_role import ServerRole
from pruner.registry.secret import Secret

KEY = "AKIDEXAMPLE000000001"
OTHER_KEY = "AKIDEXAMPLE000000002"
SECRET = "SKEXAMPLE0000000000000000000000000000001"
OTHER_SECRET = "SKEXAMPLE0000000000000000000000000000002"
NOW = 1_790_000_000.0


class TestSecret:
    @pytest.mark.parametrize(
        "show",
        [
            repr,
            str,
            "{}".format,
            "{!r}".format,
            "{:>60}".format,
            "{:.3}".format,
            lambda s: f"{s}",
            lambda s: f"{s!s:^80}",
            lambda s: "%s %r" % (s, s),  # noqa: UP031
            lambda s: repr([s, {"secret": s}]),
            lambda s: str(ValueError(s)),
            lambda s: str(copy.copy(s)),
            lambda s: repr(copy.deepcopy([s])),
        ],
    )
    def test_is_never_shown(self, show: Callable[[Any], str]) -> None:
        shown = show(Secret(SECRET))
        assert SECRET[:2] not in shown
        assert "***" in shown
        assert len(show(Secret("x"))) == len(shown), "the length tells something"

    def test_has_no_attributes_to_look_at(self) -> None:
        with pytest.raises(TypeError):
            vars(Secret(SECRET))
        with pytest.raises(AttributeError):
            Secret(SECRET).note = "x"  # type: ignore[attr-defined]

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_is_not_pickled(self, protocol: int) -> None:
        for holder in (Secret(SECRET), Credentials(KEY, Secret(SECRET), "test"), [Secret(SECRET)]):
            with pytest.raises(TypeError):
                pickle.dumps(holder, protocol)

    def test_is_not_json(self) -> None:
        with pytest.raises(TypeError, match="Secret"):
            json.dumps({"secret": Secret(SECRET)})

    def test_gives_itself_out_when_asked(self) -> None:
        assert Secret(SECRET).reveal() == SECRET

    def test_copies_are_the_secret_itself(self) -> None:
        secret = Secret(SECRET)
        assert copy.copy(secret) is secret
        assert copy.deepcopy(secret) is secret

    def test_equality_and_truth(self) -> None:
        assert Secret("a") == Secret("a")
        assert Secret("a") != Secret("b")
        assert Secret("한") == Secret("한")
        assert Secret("a") != "a"
        assert hash(Secret("a")) == hash(Secret("a"))
        assert Secret("a")
        assert not Secret("")

    def test_compares_in_constant_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []
        monkeypatch.setattr("hmac.compare_digest", lambda a, b: asked.append((a, b)) or False)
        assert Secret("a") != Secret("a")
        assert asked == [(b"a", b"a")]


class TestCredentials:
    @pytest.mark.parametrize(
        ("key", "shown"),
        [
            (KEY, "AKID…01"),
            ("ABCDEFGHIJKL", "ABCD…KL"),
            ("ABCDEFGHIJK", "***"),
            ("A", "***"),
            ("", "***"),
            ("ncp_iam_BPAMKR0123456789WXYZ", "ncp_iam_BPAM…YZ"),
            ("ncp_iam_BPAMKR0123456789WXY", "***"),
            ("ncp_iam_", "***"),
        ],
    )
    def test_masked_key(self, key: str, shown: str) -> None:
        assert Credentials(key, Secret(SECRET), "test").masked_key == shown

    @given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60), st.booleans())
    def test_mask_shows_half_of_the_key_at_most(self, key: str, iam: bool) -> None:
        key = "ncp_iam_" + key if iam else key
        masked = Credentials(key, Secret(""), "").masked_key
        assert masked == "***" or 2 * len(masked.replace("…", "", 1)) <= len(key)

    def test_repr_shows_neither_key_nor_secret(self) -> None:
        found = Credentials(KEY, Secret(SECRET), "environment")
        for shown in (repr(found), str(found), f"{found}", repr(CredentialSource(found))):
            assert KEY not in shown
            assert SECRET not in shown
            assert "AKID…01" in shown
        assert SECRET not in repr(dataclasses.asdict(found))

    def test_is_frozen(self) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            Credentials(KEY, Secret(SECRET), "test").access_key = "x"  # type: ignore[misc]


NCLOUD = {"NCLOUD_ACCESS_KEY_ID": KEY, "NCLOUD_SECRET_ACCESS_KEY": SECRET}
TERRAFORM = {"NCLOUD_ACCESS_KEY": KEY, "NCLOUD_SECRET_KEY": SECRET}
NCR = {"NCR_ACCESS_KEY": KEY, "NCR_SECRET_KEY": SECRET}


class TestEnvironment:
    @pytest.mark.parametrize(
        ("env", "names"),
        [
            (NCLOUD, "NCLOUD_ACCESS_KEY_ID, NCLOUD_SECRET_ACCESS_KEY"),
            (TERRAFORM, "NCLOUD_ACCESS_KEY, NCLOUD_SECRET_KEY"),
            (NCR, "NCR_ACCESS_KEY, NCR_SECRET_KEY"),
            (
                {"NCLOUD_ACCESS_KEY_ID": KEY, "NCLOUD_SECRET_KEY": SECRET},
                "NCLOUD_ACCESS_KEY_ID, NCLOUD_SECRET_KEY",
            ),
            (NCLOUD | TERRAFORM | NCR, "NCLOUD_ACCESS_KEY_ID, NCLOUD_SECRET_ACCESS_KEY"),
            (NCR | {"NCLOUD_ACCESS_KEY_ID": "", "NCLOUD_SECRET_KEY": " "}, "NCR_ACCESS_KEY, NCR_SECRET_KEY"),
        ],
    )
    def test_pairs(self, env: dict[str, str], names: str) -> None:
        assert from_environment(env) == Credentials(KEY, Secret(SECRET), f"environment ({names})")

    @pytest.mark.parametrize("env", [{}, {"NCLOUD_ACCESS_KEY_ID": ""}, {"HOME": "/root"}])
    def test_nothing_set(self, env: dict[str, str]) -> None:
        assert from_environment(env) is None

    @pytest.mark.parametrize(
        ("env", "there", "missing"),
        [
            (
                {"NCLOUD_ACCESS_KEY_ID": KEY},
                "NCLOUD_ACCESS_KEY_ID",
                "NCLOUD_SECRET_ACCESS_KEY or NCLOUD_SECRET_KEY",
            ),
            ({"NCLOUD_SECRET_KEY": SECRET}, "NCLOUD_SECRET_KEY", "NCLOUD_ACCESS_KEY_ID or NCLOUD_ACCESS_KEY"),
            ({"NCR_ACCESS_KEY": KEY}, "NCR_ACCESS_KEY", "NCR_SECRET_KEY"),
            ({"NCR_SECRET_KEY": SECRET, "NCR_ACCESS_KEY": "\n"}, "NCR_SECRET_KEY", "NCR_ACCESS_KEY"),
            (NCLOUD | {"NCR_ACCESS_KEY": KEY}, "NCR_ACCESS_KEY", "NCR_SECRET_KEY"),
        ],
    )
    def test_half_a_pair(self, env: dict[str, str], there: str, missing: str) -> None:
        with pytest.raises(CredentialsError) as error:
            from_environment(env)
        assert str(error.value) == f"{there} is set but {missing} is not; set both or neither"

    @pytest.mark.parametrize(
        ("env", "first", "second"),
        [
            (NCLOUD | NCR | {"NCR_ACCESS_KEY": OTHER_KEY}, "NCLOUD_ACCESS_KEY_ID", "NCR_ACCESS_KEY"),
            (NCLOUD | NCR | {"NCR_SECRET_KEY": OTHER_SECRET}, "NCLOUD_SECRET_ACCESS_KEY", "NCR_SECRET_KEY"),
            (NCLOUD | {"NCLOUD_ACCESS_KEY": OTHER_KEY}, "NCLOUD_ACCESS_KEY_ID", "NCLOUD_ACCESS_KEY"),
            (NCLOUD | {"NCLOUD_SECRET_KEY": OTHER_SECRET}, "NCLOUD_SECRET_ACCESS_KEY", "NCLOUD_SECRET_KEY"),
        ],
    )
    def test_two_that_differ(self, env: dict[str, str], first: str, second: str) -> None:
        with pytest.raises(CredentialsError, match="unset one of them") as error:
            from_environment(env)
        assert first in str(error.value)
        assert second in str(error.value)
        assert all(value not in str(error.value) for value in env.values())

    def test_space_around_is_stripped(self) -> None:
        found = from_environment({"NCR_ACCESS_KEY": f" {KEY}\r\n", "NCR_SECRET_KEY": f"\t{SECRET}\n"})
        assert found is not None
        assert (found.access_key, found.secret.reveal()) == (KEY, SECRET)

    @pytest.mark.parametrize(
        "bad", ["abc\r\nX: y", "ab\0c", "ab\x1bc", "ab c", "ключ", "a\u200bb", "a" * 1025, "\udcff"]
    )
    @pytest.mark.parametrize("name", ["NCLOUD_ACCESS_KEY_ID", "NCLOUD_SECRET_ACCESS_KEY"])
    def test_malformed_values_are_not_shown(self, name: str, bad: str) -> None:
        with pytest.raises(CredentialsError, match=f"^{name} is malformed") as error:
            from_environment(NCLOUD | {name: bad})
        assert bad not in str(error.value)
        assert "\n" not in str(error.value)


ENTRY = f"ncloud_access_key_id = {KEY}\nncloud_secret_access_key = {SECRET}\n"
OTHER_ENTRY = f"ncloud_access_key_id={OTHER_KEY}\nncloud_secret_access_key={OTHER_SECRET}\n"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str | bytes], Path]:
    def write_file(content: str | bytes) -> Path:
        path = tmp_path / "configure"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


Write = Callable[[str | bytes], Path]


def pair(found: Credentials | None) -> tuple[str, str]:
    assert found is not None
    return found.access_key, found.secret.reveal()


class TestConfigure:
    @pytest.mark.parametrize(
        "content",
        [
            f"[DEFAULT]\n{ENTRY}",
            ENTRY,
            f"[only]\n{ENTRY}",
            f"[other]\n{OTHER_ENTRY}[DEFAULT]\n{ENTRY}",
            f"[DEFAULT]\n{ENTRY}[other]\n{OTHER_ENTRY}",
            f"{ENTRY}\n[other]\n{OTHER_ENTRY}",
            f"# note\n; note\n\n[ DEFAULT ]  # main\n{ENTRY}ncloud_api_url = https://x/?a=b\n",
            f"\ufeff[DEFAULT]\n{ENTRY}",
            f"[DEFAULT]\n{ENTRY}".replace("\n", "\r\n"),
            f"[DEFAULT]\n{ENTRY}".replace(" = ", "="),
            f"ncloud_api_url = https://x\n[DEFAULT]\n{ENTRY}",
            f"[DEFAULT]\n{ENTRY}".replace("ncloud_", "NCLOUD_"),
        ],
    )
    def test_default_profile(self, write: Write, content: str) -> None:
        assert pair(from_configure(write(content), None)) == (KEY, SECRET)

    def test_values_are_split_at_the_first_equals_sign(self, write: Write) -> None:
        path = write("ncloud_access_key_id=a=b\nncloud_secret_access_key = c%(d)s==\n")
        assert pair(from_configure(path, None)) == ("a=b", "c%(d)s==")

    def test_profile(self, write: Write) -> None:
        path = write(f"[DEFAULT]\n{ENTRY}[project]\n{OTHER_ENTRY}[last]\n{ENTRY}")
        found = from_configure(path, "project")
        assert pair(found) == (OTHER_KEY, OTHER_SECRET)
        assert found is not None
        assert found.source == f"profile 'project' of {path}"

    def test_default_does_not_leak_into_another_profile(self, write: Write) -> None:
        path = write(f"[DEFAULT]\n{ENTRY}[project]\nncloud_access_key_id = {OTHER_KEY}\n")
        with pytest.raises(CredentialsError, match=r"profile 'project' .* has no ncloud_secret_access_key$"):
            from_configure(path, "project")

    def test_home_is_shown_as_a_tilde(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        path = default_configure_path({"HOME": str(tmp_path)})
        path.parent.mkdir()
        path.write_text(f"[project]\n{ENTRY}")
        found = from_configure(path, None)
        assert found is not None
        assert found.source == "profile 'project' of ~/.ncloud/configure"

    def test_no_default_and_several_profiles(self, write: Write) -> None:
        with pytest.raises(CredentialsError, match=r"several profiles .*: dev, prod; .*--profile"):
            from_configure(write(f"[prod]\n{ENTRY}[dev]\n{OTHER_ENTRY}"), None)

    def test_unknown_profile(self, write: Write) -> None:
        path = write(f"[production]\n{ENTRY}[staging]\n{OTHER_ENTRY}")
        with pytest.raises(CredentialsError) as error:
            from_configure(path, "prodction")
        assert "no profile 'prodction', did you mean 'production'?" in str(error.value)
        assert "(it has: production, staging)" in str(error.value)
        for name in ("x\n\u202e" + "y" * 100_000, SECRET):
            with pytest.raises(CredentialsError) as error:
                from_configure(path, name)
            assert str(error.value) == (
                f"{path} has no profile of the name that was asked for (it has: production, staging)"
            )
            with pytest.raises(CredentialsError, match=r"of the name that was asked for: .* does not"):
                from_configure(path.with_name("missing"), name)

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            (f"[a]\n{ENTRY}[a]\n{OTHER_ENTRY}", r"line 4: a second section \[a\]"),
            (f"[DEFAULT]\n{ENTRY}[DEFAULT]\n", r"line 4: a second section \[DEFAULT\]"),
            (f"{ENTRY}ncloud_access_key_id = {OTHER_KEY}\n", "line 3: a second ncloud_access_key_id"),
            (f"{ENTRY}[DEFAULT]\n{OTHER_ENTRY}", "line 4: a second ncloud_access_key_id"),
            (f"{ENTRY}{SECRET}\n", "line 3: neither"),
            (f"{ENTRY}{SECRET}=a\n{SECRET}=b\n", "line 4: a second setting of one name"),
            (f"[unclosed\n{ENTRY}", "line 1: not a section header"),
            (f"[]\n{ENTRY}", "line 1: not a section header"),
            (f"[a] b\n{ENTRY}", "line 1: not a section header"),
            (f"ncloud_access_key_id = {KEY}\n", "has no ncloud_secret_access_key$"),
            (f"ncloud_secret_access_key = {SECRET}\n", "has no ncloud_access_key_id$"),
            (f"ncloud_access_key_id =\nncloud_secret_access_key={SECRET}", "has no ncloud_access_key_id$"),
            (f"[DEFAULT]\n[other]\n{ENTRY}", "has no ncloud_access_key_id and no ncloud_secret_access_key$"),
            (ENTRY.replace(SECRET, "se cret"), "ncloud_secret_access_key in profile 'DEFAULT' .* malformed"),
            (ENTRY.replace(SECRET, "비밀"), "ncloud_secret_access_key in profile 'DEFAULT' .* malformed"),
            (ENTRY.encode("utf-16"), "is not UTF-8"),
            (b"#" * (MAX_FILE_BYTES + 1), "is larger than 1 MiB"),
        ],
    )
    def test_refused(self, write: Write, content: str | bytes, problem: str) -> None:
        with pytest.raises(CredentialsError, match=problem) as error:
            from_configure(write(content), None)
        for secret in (SECRET, OTHER_SECRET, KEY, "se cret", "비밀"):
            assert secret not in str(error.value)

    @pytest.mark.parametrize("content", ["", "# nothing\n", "[DEFAULT]\nncloud_api_url = https://x\n"])
    def test_a_file_without_keys(self, write: Write, content: str) -> None:
        path = write(content)
        assert from_configure(path, None) is None
        with pytest.raises(CredentialsError):
            from_configure(path, "project")

    @pytest.mark.parametrize(
        "secret",
        [
            SECRET,
            SECRET[:20],
            KEY,
            KEY.lower(),
            "ncp_iam_BPAMKR0123456789WXYZ",
            "SKSECRETSKSECRETSKSECRETSKSECRETSKSECRE1",
            "aB3dE6gH9jK2mN5pQ8sT1vW4",
            "abc+def/ghi=",
            f"prod-{SECRET}",
            "x" * 32,
            "비밀",
        ],
    )
    def test_a_secret_in_the_place_of_a_name_is_not_shown(self, write: Write, secret: str) -> None:
        def problem(content: str, profile: str | None = None) -> str:
            with pytest.raises(CredentialsError) as error:
                from_configure(write(content), profile)
            assert secret not in str(error.value)
            return str(error.value)

        assert "line 2: a second section of this name" in problem(f"[{secret}]\n[{secret}]\n")
        assert "no DEFAULT: prod, 1 more; choose" in problem(f"[{secret}]\n{ENTRY}[prod]\n{OTHER_ENTRY}")
        assert "(it has: prod, 1 more)" in problem(f"[{secret}]\n{ENTRY}[prod]\n{OTHER_ENTRY}", "stage")
        assert "the profile of line 2 of" in problem(f"\n[{secret}]\nncloud_access_key_id = {KEY}\n")
        assert "not a section header" in problem(f"[{secret}\n")
        assert "neither" in problem(f"{secret.strip('=')}\n")
        assert "malformed" in problem(ENTRY.replace(SECRET, f"{secret} {secret}"))
        assert "did you mean" not in problem(f"[{secret}]\n{ENTRY}", secret[:-1])
        found = from_configure(write(f"[{secret}]\n{ENTRY}"), None)
        assert found is not None
        assert secret not in found.source
        assert found.source.startswith("the profile of line 1 of ")

    def test_many_profiles_are_counted(self, write: Write) -> None:
        content = "".join(f"[p{number:02}]\n{ENTRY}" for number in range(100))
        with pytest.raises(CredentialsError, match=r"no DEFAULT: p00, p01, .*p19, 80 more; choose one"):
            from_configure(write(content), None)

    def test_no_file(self, tmp_path: Path) -> None:
        assert from_configure(tmp_path / "missing", None) is None
        with pytest.raises(CredentialsError, match=r"no profile 'project': .*missing does not exist"):
            from_configure(tmp_path / "missing", "project")

    @pytest.mark.parametrize("profile", [None, "project"])
    def test_not_a_file(self, tmp_path: Path, profile: str | None) -> None:
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "loop").symlink_to(tmp_path / "loop")
        for path in (tmp_path, tmp_path / "pipe", tmp_path / "loop", Path("\0")):
            with pytest.raises(CredentialsError, match=r"is not a file|cannot be read"):
                from_configure(path, profile)

    def test_no_permission(self, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write(ENTRY)

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
        with pytest.raises(CredentialsError, match="cannot be read: Permission denied"):
            from_configure(path, None)

    @settings(deadline=None)
    @given(st.binary(max_size=300))
    def test_any_content_is_read_or_refused(self, tmp_path_factory: Any, content: bytes) -> None:
        path = tmp_path_factory.getbasetemp() / "any-configure"
        path.write_bytes(content)
        problem = ""
        try:
            from_configure(path, None)
        except CredentialsError as error:
            problem = str(error)
        assert problem.isprintable()

    def test_default_path(self, monkeypatch: pytest.MonkeyPatch) -> None:
        variable = "USERPROFILE" if os.name == "nt" else "HOME"
        assert default_configure_path({variable: "/home/me"}) == Path("/home/me/.ncloud/configure")
        monkeypatch.setattr(configure_file, "_HOME_VARIABLE", "USERPROFILE")
        env = {"HOME": "/h", "USERPROFILE": "/u"}
        assert default_configure_path(env) == Path("/u/.ncloud/configure")

    def test_default_path_without_a_home(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def none() -> Path:
            raise RuntimeError

        monkeypatch.setattr(Path, "home", none)
        assert default_configure_path({}) == Path("/.ncloud/configure")


def folder_of_keys(tmp_path: Path) -> Path:
    """A configure file in a folder of its own, as it should be."""
    path = tmp_path / "home/.ncloud/configure"
    path.parent.mkdir(parents=True, mode=0o700)
    path.write_text(ENTRY)
    path.chmod(0o600)
    return path


class TestAccessToTheFile:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return folder_of_keys(tmp_path)

    def warnings(self, path: Path) -> tuple[str, ...]:
        found = from_configure(path, None)
        assert pair(found) == (KEY, SECRET)
        assert found is not None
        return found.warnings

    @pytest.mark.parametrize("mode", [0o600, 0o400, 0o700, 0o611])
    def test_a_file_of_the_user_alone_is_used(self, path: Path, mode: int) -> None:
        path.chmod(mode)
        assert self.warnings(path) == ()

    @pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o444, 0o755])
    def test_a_file_that_others_can_read_is_a_warning(self, path: Path, mode: int) -> None:
        path.chmod(mode)
        assert self.warnings(path) == (f"other users can read the keys in {path}; run: chmod 600 {path}",)

    @pytest.mark.parametrize("mode", [0o666, 0o660, 0o620, 0o602, 0o662, 0o1666])
    def test_a_file_that_others_can_change_is_refused(self, path: Path, mode: int) -> None:
        path.chmod(mode)
        for profile in (None, "DEFAULT"):
            with pytest.raises(CredentialsError) as error:
                from_configure(path, profile)
            assert str(error.value) == f"other users can change {path}; run: chmod 600 {path}"

    @pytest.mark.parametrize(("permissions", "is_refused"), [(4, False), (6, True)])
    def test_an_access_control_list_counts(self, path: Path, permissions: int, is_refused: bool) -> None:
        everybody = 0xFFFFFFFF
        entries = [(1, 6, everybody), (2, permissions, 65534), (4, 0, everybody)]
        entries += [(0x10, permissions, everybody), (0x20, 0, everybody)]
        packed = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
        try:
            os.setxattr(path, "system.posix_acl_access", packed)
        except OSError as error:
            pytest.skip(f"NOT TESTED: no access control lists here ({error.strerror})")
        if is_refused:
            with pytest.raises(CredentialsError, match="other users can change"):
                from_configure(path, None)
        else:
            assert len(self.warnings(path)) == 1

    @pytest.mark.parametrize("mode", [0o777, 0o775, 0o770, 0o703])
    def test_a_folder_that_others_can_change_is_refused(self, path: Path, mode: int) -> None:
        path.parent.chmod(mode)
        with pytest.raises(CredentialsError) as error:
            from_configure(path, None)
        assert str(error.value) == f"other users can replace {path}; run: chmod 700 {path.parent}"

    @pytest.mark.parametrize("mode", [0o755, 0o711, 0o1777, 0o1775])
    def test_a_folder_in_which_others_cannot_replace_files_is_used(self, path: Path, mode: int) -> None:
        path.parent.chmod(mode)
        assert self.warnings(path) == ()

    @pytest.mark.parametrize("is_relative", [False, True])
    def test_of_a_link_the_file_itself_counts(self, path: Path, tmp_path: Path, is_relative: bool) -> None:
        between, target = tmp_path / "between/link", tmp_path / "elsewhere/keys"
        for file in (between, target):
            file.parent.mkdir(mode=0o700)
        path.rename(target)
        between.symlink_to("../elsewhere/keys" if is_relative else target)
        path.symlink_to("../../between/link" if is_relative else between)
        assert self.warnings(path) == ()
        target.chmod(0o644)
        assert len(self.warnings(path)) == 1
        target.chmod(0o666)
        with pytest.raises(CredentialsError, match="other users can change"):
            from_configure(path, None)
        target.chmod(0o600)
        for folder in (path.parent, between.parent, target.parent):
            folder.chmod(0o777)
            with pytest.raises(CredentialsError, match="other users can replace"):
                from_configure(path, None)
            folder.chmod(0o700)
        assert self.warnings(path) == ()

    def test_a_folder_that_is_a_link_counts_as_what_it_leads_to(self, path: Path, tmp_path: Path) -> None:
        real = tmp_path / "real"
        path.parent.rename(real)
        path.parent.symlink_to(real)
        assert self.warnings(path) == ()
        real.chmod(0o777)
        with pytest.raises(CredentialsError, match="other users can replace"):
            from_configure(path, None)

    def test_what_belongs_to_another_user_is_refused(
        self, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # What belongs to root is used, and this test may run as root: other owners are made up.
        original = configure_file._is_ours
        strangers: list[os.stat_result] = []
        monkeypatch.setattr(
            configure_file,
            "_is_ours",
            lambda found: original(found) and not any(os.path.samestat(found, other) for other in strangers),
        )
        target = tmp_path / "keys"
        path.rename(target)
        path.symlink_to(target)
        assert self.warnings(path) == ()
        for place in (path, path.parent, target, target.parent):
            strangers[:] = [place.lstat()]
            with pytest.raises(CredentialsError, match="belongs to another user, who can change the keys"):
                from_configure(path, None)

    def test_only_root_and_the_user_own_the_keys(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def owned_by(user: int) -> bool:
            fields = list(path.stat())
            fields[4] = user
            return configure_file._is_ours(os.stat_result(fields))

        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        assert [user for user in (0, 1, 999, 1000, 1001, 65534) if owned_by(user)] == [0, 1000]

    def test_where_there_are_no_modes_nothing_is_refused(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path.chmod(0o666)
        monkeypatch.setattr(configure_file, "_HAS_MODES", False)
        assert self.warnings(path) == ()

    @pytest.mark.parametrize("command", ["plan", "run"])
    def test_a_warning_is_printed_once(self, program: Any, emulated: Any, command: str) -> None:
        emulator = emulated(seed=seed({"web": ["a"], "api": ["b"]}))
        program = program.at(emulator)
        path = folder_of_keys(program.folder)
        keys = (program.env["NCLOUD_ACCESS_KEY_ID"], program.env["NCLOUD_SECRET_ACCESS_KEY"])
        path.write_text("ncloud_access_key_id = {}\nncloud_secret_access_key = {}\n".format(*keys))
        path.chmod(0o644)
        variables = {"HOME": str(path.parent.parent), **dict.fromkeys(NCLOUD, "")}
        policy = write_policy(program, policy_text(extra="    limits: {keep_at_least: 0}\n"))
        yes = ["--yes"] if command == "run" else []
        done = program(command, policy, *yes, "--rate", "500", **variables)
        assert done.returncode == 0, done.stderr
        said = "warning: other users can read the keys in ~/.ncloud/configure; run: chmod 600 ~/"
        assert done.stderr.count(said) == 1
        path.chmod(0o666)
        done = program(command, policy, *yes, "--rate", "500", **variables)
        assert done.returncode == 4
        assert "other users can change ~/.ncloud/configure" in done.stderr


Answer = str | bytes | dict[str, Any] | web.Response


class Metadata:
    """A metadata service on loopback: what it answers can be changed, and it counts what it is asked."""

    def __init__(self) -> None:
        self.roles: Answer = "my-role\n"
        self.keys: Answer = keys()
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.base = ""

    @property
    def fetches(self) -> int:
        return len([path for path in self.asked if not path.endswith("/")])

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append(request.raw_path)
        await self.gate.wait()
        answer = self.roles if request.raw_path.endswith("/") else self.keys
        if isinstance(answer, web.Response):
            return web.Response(status=answer.status, headers=answer.headers, body=answer.body)
        if isinstance(answer, dict):
            answer = json.dumps(answer)
        return web.Response(body=answer.encode() if isinstance(answer, str) else answer)


def keys(expiration: str = "2026-09-21T15:13:20Z", **changed: Any) -> dict[str, Any]:
    """An answer with keys that expire an hour after NOW unless told."""
    return {
        "Code": "Success",
        "AccessKeyId": KEY,
        "SecretAccessKey": SECRET,
        "Expiration": expiration,
        **changed,
    }


@pytest_asyncio.fixture
async def metadata() -> AsyncIterator[Metadata]:
    service = Metadata()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", service.handle)
    async with TestServer(app, host="127.0.0.1") as server:
        service.base = str(server.make_url("/"))
        yield service
        service.gate.set()


class TestServerRole:
    async def test_fetch(self, metadata: Metadata, monkeypatch: pytest.MonkeyPatch) -> None:
        # A proxy of the environment would hand the keys to someone else.
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        metadata.roles = "my-role\nanother\n"
        found = await ServerRole(metadata.base).fetch()
        assert found == Credentials(KEY, Secret(SECRET), "Server Role my-role", NOW + 3600)
        path = "/latest/meta-data/iam/security-credentials/"
        assert metadata.asked == [path, path + "my-role"]

    @pytest.mark.parametrize(
        "expiration",
        [
            "2026-09-21T15:13:20Z",
            "2026-09-21T15:13:20",
            "2026-09-22T00:13:20+09:00",
            "2026-09-22T00:13:20.000+0900",
        ],
    )
    async def test_expiration(self, metadata: Metadata, expiration: str) -> None:
        metadata.keys = keys(expiration)
        assert (await ServerRole(metadata.base).fetch()).expires == NOW + 3600

    @pytest.mark.parametrize("role", ["a", "A-b_c.d+e=f,g@h", "r" * 128, SECRET])
    async def test_role_names(self, metadata: Metadata, role: str) -> None:
        metadata.roles = role
        # What may be a key is asked for, and not shown.
        shown = "Server Role a" if role == "a" else "Server Role"
        assert (await ServerRole(metadata.base).fetch()).source == shown
        assert metadata.asked[-1].endswith(f"/{role}")

    @pytest.mark.parametrize("role", ["../x", "a b", "a/b", "r" * 129, "<html>", "역할", "a%2fb", "a?b"])
    async def test_hostile_role_names(self, metadata: Metadata, role: str) -> None:
        metadata.roles = role
        with pytest.raises(CredentialsError, match="other than a role name"):
            await ServerRole(metadata.base).fetch()
        assert metadata.fetches == 0

    @pytest.mark.parametrize(
        ("changed", "problem"),
        [
            ({"roles": ""}, "knows no Server Role"),
            ({"roles": web.Response(status=404)}, r"knows no Server Role \(HTTP 404\)"),
            ({"roles": web.Response(status=500)}, "answers HTTP 500"),
            ({"keys": web.Response(status=503)}, "answers HTTP 503"),
            ({"roles": web.Response(status=302, headers={"Location": "/elsewhere"})}, "answers HTTP 302"),
            ({"roles": b"\xff\xfe"}, "something other than text"),
            ({"roles": "r" * 70_000}, "more than 64 KiB"),
            ({"keys": "x" * 10_000_000}, "more than 64 KiB"),
            ({"keys": "not json"}, "something other than keys"),
            ({"keys": "[" * 60_000}, "something other than keys"),
            ({"keys": "[]"}, "something other than keys"),
            ({"keys": "null"}, "something other than keys"),
            ({"keys": keys(AccessKeyId="")}, "has no AccessKeyId"),
            ({"keys": keys(AccessKeyId=17)}, "has no AccessKeyId"),
            ({"keys": keys(SecretAccessKey=None)}, "has no SecretAccessKey"),
            ({"keys": keys(SecretAccessKey="a\r\nb")}, "SecretAccessKey is malformed"),
            ({"keys": keys("tomorrow")}, "does not say when the keys expire"),
            ({"keys": keys(Expiration=None)}, "does not say when the keys expire"),
            ({"keys": keys(Token="abc")}, "another cloud"),
            (
                {"keys": {"Code": "Failed", "Message": "no\x1b[31m policy"}},
                r"has no AccessKeyId \(code Failed\)$",
            ),
            ({"keys": {"Code": SECRET, "Message": SECRET}}, "has no AccessKeyId$"),
            ({"keys": {"Code": [SECRET], SECRET: SECRET}}, "has no AccessKeyId$"),
            ({"roles": f"{SECRET}/{SECRET}"}, "something other than a role name"),
        ],
    )
    async def test_failures(self, metadata: Metadata, changed: dict[str, Answer], problem: str) -> None:
        for name, answer in changed.items():
            setattr(metadata, name, answer)
        with pytest.raises(CredentialsError, match=problem) as error:
            await ServerRole(metadata.base).fetch()
        assert str(error.value).isprintable()
        assert SECRET not in str(error.value)
        assert "/elsewhere" not in metadata.asked

    async def test_compressed_bodies_are_not_unpacked(self, metadata: Metadata) -> None:
        packed = gzip.compress(b"r" * 50_000_000)
        metadata.roles = web.Response(body=packed[:60_000], headers={"Content-Encoding": "gzip"})
        with pytest.raises(CredentialsError, match="other than text"):
            await ServerRole(metadata.base).fetch()

    async def test_no_answer_in_time(self, metadata: Metadata, monkeypatch: pytest.MonkeyPatch) -> None:
        assert server_role.METADATA_TIMEOUT_SECONDS == 3
        monkeypatch.setattr(server_role, "METADATA_TIMEOUT_SECONDS", 0.01)
        metadata.gate.clear()
        with pytest.raises(CredentialsError, match="no metadata service answers"):
            await ServerRole(metadata.base).fetch()

    async def test_nothing_listens(self, unused_port: int) -> None:
        with pytest.raises(CredentialsError, match="no metadata service answers"):
            await ServerRole(f"http://127.0.0.1:{unused_port}").fetch()

    @pytest.mark.parametrize(
        "endpoint",
        [
            "http://169.254.169.254",
            "http://169.254.169.254:80/",
            "http://169.254.0.1/base",
            "http://127.0.0.1:8080",
            "http://localhost:8080",
            "http://[::1]:8080",
            "https://metadata.example.com/x",
        ],
    )
    def test_endpoints(self, endpoint: str) -> None:
        ServerRole.from_environment({"NCLOUD_METADATA_API_ENDPOINT": endpoint})

    @pytest.mark.parametrize(
        ("endpoint", "problem"),
        [
            ("http://metadata.example.com", "plain http"),
            ("http://169.254.169.254.example.com", "plain http"),
            ("http://10.0.0.1", "plain http"),
            ("http://[fe80::1]", "plain http"),
            ("http://2852039166", "plain http"),
            ("http://169.254.169.254@example.com", "without user"),
            ("https://user:pass@example.com", "without user"),
            ("https://example.com/?a=b", "without user"),
            ("https://example.com/#a", "without user"),
            ("ftp://127.0.0.1", "not an http"),
            ("file:///etc/passwd", "not an http"),
            ("169.254.169.254", "not an http"),
            ("http://", "not an http"),
            ("http://127.0.0.1/\r\nX: y", "not an http"),
            ("http://127.0.0.1:99999", "not a URL"),
            ("http://[::1", "not a URL"),
        ],
    )
    def test_refused_endpoints(self, endpoint: str, problem: str) -> None:
        with pytest.raises(CredentialsError, match=problem) as error:
            ServerRole.from_environment({"NCLOUD_METADATA_API_ENDPOINT": endpoint})
        assert "NCLOUD_METADATA_API_ENDPOINT" in str(error.value)
        assert "pass" not in str(error.value)
        assert str(error.value).isprintable()

    def test_default_endpoint(self) -> None:
        assert ServerRole.from_environment({})._base == "http://169.254.169.254"
        assert ServerRole.from_environment({"NCLOUD_METADATA_API_ENDPOINT": " "})._base == (
            "http://169.254.169.254"
        )


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class FakeRole(ServerRole):
    """A Server Role whose answers are given; an exception among them is raised."""

    def __init__(self, *answers: Credentials | Exception) -> None:
        super().__init__()
        self.answers = list(answers)
        self.fetches = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def fetch(self) -> Credentials:
        self.fetches += 1
        await self.gate.wait()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def role_keys(expires_in: float, number: int = 1) -> Credentials:
    return Credentials(f"AKIDROLE{number:012}", Secret(SECRET), "Server Role my-role", NOW + expires_in)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def find(env: dict[str, str], path: Path, profile: str | None = None, **more: Any) -> CredentialSource:
    more.setdefault("metadata", FakeRole(AssertionError("the Server Role is not asked")))
    return await CredentialSource.find(env, path, profile, **more)


class TestFind:
    async def test_environment_before_file(self, write: Write) -> None:
        source = await find(NCLOUD, write(OTHER_ENTRY))
        assert source.current.access_key == KEY
        assert source.current.source.startswith("environment (")

    async def test_file_before_server_role(self, write: Write) -> None:
        assert (await find({}, write(OTHER_ENTRY))).current.access_key == OTHER_KEY

    async def test_a_profile_wins_over_the_environment(self, write: Write) -> None:
        path = write(f"[project]\n{OTHER_ENTRY}")
        source = await find(NCLOUD, path, "project")
        assert source.current.access_key == OTHER_KEY
        assert source.current.source == (
            f"profile 'project' of {path}, asked for instead of the keys in the environment"
        )
        # Half a pair, or two that differ, do not matter when the environment is not used.
        assert (await find({"NCR_ACCESS_KEY": "x"}, path, "project")).current.access_key == OTHER_KEY
        assert (await find({}, path, "project")).current.source == f"profile 'project' of {path}"

    async def test_a_missing_profile_does_not_fall_back(self, write: Write, tmp_path: Path) -> None:
        for path in (write(ENTRY), tmp_path / "missing"):
            with pytest.raises(CredentialsError, match="no profile 'project'"):
                await find(NCLOUD, path, "project")

    async def test_an_ambiguous_environment_does_not_fall_back(self, write: Write) -> None:
        with pytest.raises(CredentialsError, match="set both or neither"):
            await find({"NCR_ACCESS_KEY": KEY}, write(ENTRY))

    async def test_a_broken_file_does_not_fall_back(self, write: Write) -> None:
        with pytest.raises(CredentialsError, match="has no ncloud_secret_access_key"):
            await find({}, write(f"ncloud_access_key_id = {KEY}"))

    async def test_server_role(self, metadata: Metadata, tmp_path: Path, clock: Clock) -> None:
        env = {"NCLOUD_METADATA_API_ENDPOINT": metadata.base}
        source = await CredentialSource.find(env, tmp_path / "missing", None, clock)
        assert source.current == Credentials(KEY, Secret(SECRET), "Server Role my-role", NOW + 3600)

    @pytest.mark.parametrize("no_role", ["unreachable", "404", "other cloud"])
    async def test_none(self, metadata: Metadata, tmp_path: Path, unused_port: int, no_role: str) -> None:
        base = f"http://127.0.0.1:{unused_port}" if no_role == "unreachable" else metadata.base
        metadata.roles = web.Response(status=404) if no_role == "404" else "role"
        metadata.keys = keys(Token="session")
        with pytest.raises(CredentialsError) as error:
            await CredentialSource.find({"NCLOUD_METADATA_API_ENDPOINT": base}, tmp_path / "missing", None)
        lines = str(error.value).splitlines()
        assert lines[0].startswith("no credentials found")
        assert len(lines) == 4
        assert [line.split(":")[0].strip() for line in lines[1:]] == ["environment", "file", "Server Role"]
        assert error.value.exit_code == 4

    async def test_a_failing_metadata_service_says_so(self, metadata: Metadata, tmp_path: Path) -> None:
        metadata.keys = web.Response(status=500)
        with pytest.raises(CredentialsError, match="answers HTTP 500"):
            await CredentialSource.find(
                {"NCLOUD_METADATA_API_ENDPOINT": metadata.base}, tmp_path / "missing", None
            )

    async def test_expired_from_the_start(self, tmp_path: Path, clock: Clock) -> None:
        with pytest.raises(CredentialsError, match="have expired"):
            await find({}, tmp_path / "missing", clock=clock, metadata=FakeRole(role_keys(0)))


class TestRefresh:
    async def test_lasting_keys_are_never_fetched(self) -> None:
        def no_clock() -> float:
            raise AssertionError("the clock is not needed")

        source = await find(NCLOUD, Path("/missing"), clock=no_clock)
        assert await source.refresh_if_needed() is False

    async def test_only_in_the_last_five_minutes(self, clock: Clock) -> None:
        role = FakeRole(role_keys(7200, 2))
        source = CredentialSource(role_keys(3600), role, clock)
        clock.now = NOW + 3300
        assert await source.refresh_if_needed() is False
        assert role.fetches == 0
        clock.now = NOW + 3300.5
        assert await source.refresh_if_needed() is True
        assert source.current == role_keys(7200, 2)
        assert await source.refresh_if_needed() is False
        assert role.fetches == 1

    async def test_concurrent_calls_fetch_once(self, clock: Clock) -> None:
        role = FakeRole(role_keys(7200, 2))
        role.gate.clear()
        source = CredentialSource(role_keys(60), role, clock)
        calls = [asyncio.create_task(source.refresh_if_needed()) for _ in range(50)]
        while not role.fetches:
            await asyncio.sleep(0)
        role.gate.set()
        assert await asyncio.gather(*calls) == [True] * 50
        assert role.fetches == 1

    async def test_concurrent_calls_fail_once(self, clock: Clock) -> None:
        role = FakeRole(CredentialsError("down"))
        source = CredentialSource(role_keys(60), role, clock)
        assert await asyncio.gather(*(source.refresh_if_needed() for _ in range(50))) == [False] * 50
        assert role.fetches == 1

    async def test_a_failure_is_tried_again_after_half_a_minute(self, clock: Clock) -> None:
        role = FakeRole(CredentialsError("down"), CredentialsError("down"), role_keys(7200, 2))
        source = CredentialSource(role_keys(200), role, clock)
        fetches = []
        for clock.now in (NOW, NOW + 1, NOW + 29.9, NOW + 30, NOW + 59, NOW + 60):
            fetches.append((await source.refresh_if_needed(), role.fetches))
        assert fetches == [(False, 1), (False, 1), (False, 1), (False, 2), (False, 2), (True, 3)]

    async def test_after_expiry_it_is_an_error(self, clock: Clock) -> None:
        role = FakeRole(CredentialsError("the service is down"))
        source = CredentialSource(role_keys(20), role, clock)
        assert await source.refresh_if_needed() is False
        clock.now = NOW + 20
        for _ in range(3):
            with pytest.raises(CredentialsError, match=r"Server Role my-role have expired; .* is down"):
                await source.refresh_if_needed()
        assert role.fetches == 1
        clock.now = NOW + 30
        role.answers = [role_keys(3600, 2)]
        assert await source.refresh_if_needed() is True

    async def test_the_same_keys_again_are_no_change(self, clock: Clock) -> None:
        role = FakeRole(role_keys(200))
        source = CredentialSource(role_keys(200), role, clock)
        assert await source.refresh_if_needed() is False
        assert await source.refresh_if_needed() is False
        assert role.fetches == 1
        clock.now = NOW + 200
        with pytest.raises(CredentialsError, match="none that last longer"):
            await source.refresh_if_needed()

    async def test_expired_keys_do_not_replace_valid_ones(self, clock: Clock) -> None:
        source = CredentialSource(role_keys(200), FakeRole(role_keys(-1, 2)), clock)
        assert await source.refresh_if_needed() is False
        assert source.current == role_keys(200)

    async def test_a_clock_set_back_does_not_stop_it(self, clock: Clock) -> None:
        role = FakeRole(CredentialsError("down"))
        source = CredentialSource(role_keys(-3000), role, clock)
        with pytest.raises(CredentialsError):
            await source.refresh_if_needed()
        clock.now = NOW - 3100
        assert await source.refresh_if_needed() is False
        assert role.fetches == 2

    async def test_a_cancelled_fetch_holds_nobody_up(self, clock: Clock) -> None:
        role = FakeRole(role_keys(7200, 2))
        role.gate.clear()
        source = CredentialSource(role_keys(60), role, clock)
        first = asyncio.create_task(source.refresh_if_needed())
        second = asyncio.create_task(source.refresh_if_needed())
        while not role.fetches:
            await asyncio.sleep(0)
        first.cancel()
        role.gate.set()
        assert await second is True
        with pytest.raises(asyncio.CancelledError):
            await first
        assert role.fetches == 2
