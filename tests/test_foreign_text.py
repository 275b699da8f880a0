"""Text that others write, wherever it is shown: escaped, on its line, and never a command of a CI system."""

import io
import json
import os
import re

import msgspec
import pytest
import yaml
from conftest import policy_text
from hypothesis import given
from hypothesis import strategies as st
from test_plan_file import HEADER

from pruner import names
from pruner.cli.consoles import result_console
from pruner.cli.main import _run
from pruner.cli.talk import Talk, show
from pruner.model import ReasonKind, Tag, Target
from pruner.plan.file import PlanWriter
from pruner.plan.inventory import ImageListing
from pruner.plan.inventory_file import InventoryWriter
from pruner.plan.records import Entry, Freed, FreedTotal, ImageRecord, KeptTarget, RegistryFacts
from pruner.policy.imports import IMPORTERS
from pruner.policy.imports.draft import Draft
from pruner.report.columns import Column, column_lines, print_lines
from pruner.report.markdown import cell, code_cell
from pruner.report.text import inert_cell

BAD = "\x1b[31m\n::error::x\u202e\r##[group]\u2028::warning::\x85##vso[task.x]\x9b\u200b"
NOW = 1_790_000_000_000
DAY = 86_400_000


def commands(text):
    """What GitHub Actions, Azure Pipelines or a terminal would take for a command."""
    text = text.replace("\r\n", "\n")
    lines = re.split(r"[\r\n\x85\u2028\u2029]", text)
    found = [line for line in lines if line.strip().startswith("::") or re.search(r"##(\[|vso\[)", line)]
    return found + [char for char in text if not char.isprintable() and char != "\n"]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the program in a folder of its own; everything that it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PRUNER_STATE_DIR", str(tmp_path / "state"))

    def said(*arguments, code=None):
        ended = _run(list(arguments))
        out, err = capsys.readouterr()
        assert code is None or ended == code, out + err
        return out + err

    return said


@pytest.fixture
def inventory(tmp_path):
    path = tmp_path / "inventory.jsonl"
    with path.open("wb") as file:
        writer = InventoryWriter(file, {"acme": RegistryFacts("https://a")}, NOW)
        old = [
            Tag(Target("acme", "app", name), f"sha256:{name}", 5, updated=NOW - 90 * DAY)
            for name in ("a", "b", "c")
        ]
        writer.take(ImageListing("acme", "app", old))
        writer.finish()
    return str(path)


# One place


@given(st.text(alphabet=": #[vsoVSO\n\r\x1b\x85\u2028a\t", max_size=30))
def test_no_text_is_a_command_once_it_is_inert(text):
    assert commands(names.inert(text)) == []
    assert commands(names.one_line(text)) == []
    assert "\n" not in names.one_line(text)


@pytest.mark.parametrize(
    "text", ["a::b", "policy.yaml:3:5: no", "# a", "## a", "#[a]", "a: b\n  c", "`::`", "日本 é"]
)
def test_ordinary_text_stays_as_it_is(text):
    assert names.inert(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("::error::x", r"\x3a:error::x"),
        ("a\n  ::error::x", "a\n  \\x3a:error::x"),
        ("a ##[error]x", r"a \x23#[error]x"),
        ("a ##VSO[task.x]", r"a \x23#VSO[task.x]"),
        ("###[x]", r"#\x23#[x]"),
        ("a\r::x", r"a\r::x"),
    ],
)
def test_a_command_is_escaped(text, shown):
    assert names.inert(text) == shown


# Messages


def said_by(capsys, text, **options):
    Talk(**options).error(text)
    return capsys.readouterr().err


def test_every_line_of_a_message_begins_with_the_prefix_or_blanks(capsys):
    assert said_by(capsys, "a\nb\n  c\n::error::d") == "pruner: a\n  b\n  c\n  \\x3a:error::d\n"


def test_no_message_is_a_command(capsys):
    Talk().say(BAD)
    Talk().warn(BAD)
    Talk(verbose=True).detail(BAD)
    assert commands(capsys.readouterr().err) == []


def test_a_message_in_json_keeps_its_text_and_is_no_command(capsys):
    line = said_by(capsys, BAD, as_json=True)
    assert json.loads(line)["message"] == BAD
    assert commands(line) == []


def test_a_line_of_a_result_is_one_line(capsys):
    show(BAD)
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert commands(out) == []


# Results without a terminal


def test_without_a_terminal_no_line_is_broken(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setenv("COLUMNS", "40")
    console = result_console()
    console.print("[red]a[/] " + "word " * 100 + "::error::x")
    columns = (Column(share=1), Column(share=2, style="dim"))
    print_lines(console, column_lines(console, [("x" * 300, "word " * 100)], columns))
    assert len(out.getvalue().splitlines()) == 2


def test_a_terminal_is_folded_to_its_width(monkeypatch):
    out = io.StringIO()
    out.isatty = lambda: True
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setenv("COLUMNS", "40")
    result_console().print("word " * 100)
    assert len(out.getvalue().splitlines()) > 10


def test_cells_are_escaped(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    console = result_console()
    print_lines(
        console, column_lines(console, [(BAD, BAD), ("", "::error::x")], (Column("a"), Column(style="dim")))
    )
    assert commands(out.getvalue()) == []


@pytest.mark.parametrize("shown", [cell, code_cell, inert_cell])
def test_cells_of_other_forms_are_escaped(shown):
    assert commands(shown(BAD)) == []
    assert "\n" not in shown(BAD)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x"])
def test_a_cell_is_no_formula(text):
    assert inert_cell(text) == f"'{text}"


# Commands


FILES = [f"a{BAD}.yaml", "::error::x.yaml", "=cmd.yaml", "##[error].yaml", "-x.yaml"]


@pytest.mark.parametrize(
    "content", [policy_text(delete="[{older_than: 14d}]"), "version: 3\n::x: 1\n", "a: [\n"]
)
@pytest.mark.parametrize("name", FILES)
def test_the_name_of_a_policy_s_file_is_escaped_wherever_it_is_shown(run, inventory, tmp_path, name, content):
    (tmp_path / name).write_text(content)
    offline = ("--inventory", inventory)
    forms = [("--format", form) for form in ("table", "markdown", "csv", "json")]
    everything = [
        ("check", "--", name),
        ("-v", "check", *offline, "--", name),
        *(("plan", *offline, *form, "--", name) for form in forms),
        ("explain", *offline, "--", name, "acme/app:a"),
        ("explain", *offline, "--all", "--", name),
        ("diff", *offline, "--", name, name),
    ]
    for arguments in everything:
        found = [text for text in commands(run(*arguments)) if "json" not in arguments]
        assert found == [], arguments


def test_the_file_of_a_rule_is_no_formula_of_a_csv_file(run, inventory, tmp_path):
    (tmp_path / "=cmd.yaml").write_text(policy_text(delete="[{older_than: 14d}]"))
    assert ",'=cmd.yaml:6," in run("plan", "--inventory", inventory, "--format", "csv", "=cmd.yaml", code=0)


def test_what_a_rule_says_is_escaped(run, inventory, tmp_path):
    hostile = json.dumps("b\n::error::x\u202e\x1b\\[2J")
    text = policy_text(
        delete=f"[{{not: {{tags: {{regex: {hostile}}}}}}}]", extra="    limits: {keep_at_least: 0}\n"
    )
    (tmp_path / "p.yaml").write_text(text)
    offline = ("--inventory", inventory)
    for form in ("table", "markdown", "csv"):
        assert commands(run("plan", "p.yaml", *offline, "--format", form, code=0)) == []
    assert commands(run("check", "p.yaml")) == []
    assert commands(run("explain", "p.yaml", "--all", *offline, code=0)) == []
    (tmp_path / "q.yaml").write_text(policy_text(delete="[{newer_than: 1m}]"))
    for form in ("table", "markdown"):
        assert commands(run("diff", "q.yaml", "p.yaml", *offline, "--format", form, code=0)) == []


@pytest.mark.parametrize("moment", [2**53, -(2**53), 10**18])
def test_a_plan_of_others_is_shown_escaped_whatever_it_says(run, tmp_path, moment):
    """The checks of a plan show that it was not edited, not who wrote it."""
    hostile = Entry(0, "acme", "app", "a", BAD, BAD, ReasonKind.DELETE_RULE, BAD, BAD, 5, moment, moment)
    with (tmp_path / f"plan{BAD}").open("wb") as file:
        writer = PlanWriter(file, msgspec.structs.replace(HEADER, tool=BAD, policy_files=(BAD,)))
        writer.kept(KeptTarget(BAD, BAD, BAD, BAD))
        writer.listed(3)
        writer.image(ImageRecord("acme", "app", 3, 1, 5))
        writer.entry(hostile)
        writer.freed([Freed("acme", "app", 5)], FreedTotal(5, {BAD: 3, "[red]b": 2}, {BAD: 1}))
        writer.finish()
    dry = ("apply", f"plan{BAD}", "--dry-run", "--max-age", "36500d", "--format")
    for form in ("table", "markdown", "csv"):
        assert commands(run(*dry, form, code=0)) == [], form
    assert "</html>" in run(*dry, "html", code=0)
    assert commands(run("plan", "edit-check", f"plan{BAD}", code=0)) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("resume", BAD),
        ("report", BAD),
        ("plan", f"none{BAD}"),
        ("apply", BAD),
        ("plan", "edit-check", BAD),
        ("diff", BAD, BAD),
        ("check", BAD),
        ("test", f"{BAD}.test.yaml"),
        ("test", BAD),
        ("explain", BAD),
        (BAD,),
        ("check", f"--{BAD}", "x"),
        ("check", "--now", BAD, "x"),
        ("check", "--inventory", BAD, "x"),
        ("plan", "x", "--rate", BAD),
        ("plan", "x", "--format", BAD),
        ("plan", "x", "--max-share", BAD),
        ("plan", "x", "--timeout", BAD),
        ("plan", "x", "--in-use", BAD),
        ("plan", "x", "-o", BAD + "/x"),
        ("import", BAD, "x"),
        ("import", "acr", BAD),
        ("import", "acr", "x", "--registry", BAD),
        ("in-use", "--from", BAD, "-o", "x"),
        ("delete", BAD),
        ("delete", "--from", BAD),
        ("--log-format", BAD, "check", "x"),
    ],
    ids=lambda arguments: " ".join(arguments).replace(BAD, "BAD"),
)
def test_what_an_error_quotes_is_escaped(run, arguments):
    said = run(*arguments)
    assert commands(said) == []
    assert all(line.startswith(("pruner: ", "  ")) for line in said.splitlines()), said


def test_an_argument_too_long_for_a_path_is_quoted_as_a_bad_reference(run):
    assert "is not" in run("explain", "a" * 5000, code=2)


def test_a_link_that_leads_nowhere_is_a_policy_that_cannot_be_read(run, tmp_path):
    (tmp_path / "p.yaml").symlink_to("nowhere")
    assert "p.yaml: cannot be read" in run("explain", "p.yaml", "acme/a:b", code=2)


def test_what_an_error_quotes_of_the_environment_is_escaped(run, monkeypatch):
    for name in ("PRUNER_STATE_DIR", "PRUNER_ENDPOINT", "PRUNER_REGION", "PRUNER_IN_USE"):
        monkeypatch.setenv(name, BAD)
    for arguments in (("resume",), ("runs",), ("list",), ("plan", "x")):
        assert commands(run(*arguments)) == []


# Policies of other tools


ACR = f"acr purge --filter '{BAD}:.*' --ago 30d --filter 'ok:a' --filter '[:{BAD}'"
GAR = json.dumps(
    [
        {
            "name": BAD,
            "action": {"type": "Delete"},
            "condition": {"tagState": "TAGGED", "tagPrefixes": [BAD], "olderThan": BAD},
        },
        {"name": "ok", "action": {"type": "Delete"}, "condition": {"tagState": "ANY"}},
    ]
)
HARBOR = json.dumps({"algorithm": BAD, "rules": [{"template": BAD}]})


@pytest.mark.parametrize(
    ("kind", "text"), [("acr", ACR), ("gar", GAR), ("harbor", HARBOR), ("acr", BAD), ("gar", BAD)]
)
@pytest.mark.parametrize("more", [(), ("--partial",)])
def test_what_an_import_quotes_is_escaped(run, tmp_path, kind, text, more):
    (tmp_path / f"in{BAD}").write_text(text)
    assert commands(run("import", kind, f"in{BAD}", *more)) == []


def test_what_is_left_out_cannot_add_to_the_policy():
    draft = Draft("a\nversion: 1\npolicies: []\n#", "acme", [], partial=True)
    IMPORTERS["acr"](draft, "acr purge --filter 'ok:a' --filter 'A\nregistries: {evil: {}}\n:b' --ago 30d")
    assert set(yaml.safe_load(draft.text())) == {"version", "policies"}
    assert [policy["registry"] for policy in yaml.safe_load(draft.text())["policies"]] == ["acme"]


@pytest.mark.parametrize("length", range(0, 120, 7))
def test_a_long_expression_is_not_broken_into_lines(length):
    draft = Draft("f", "acme", [])
    IMPORTERS["acr"](draft, f"acr purge --filter 'ok:{'x' * length} ::error::a ::error::b' --ago 30d")
    assert commands(draft.text()) == []


def test_a_folder_of_tests_with_a_bad_name_is_told_escaped(run, tmp_path):
    (tmp_path / f"d{BAD}").mkdir()
    os.mkfifo(tmp_path / f"d{BAD}" / "x.test.yaml")
    (tmp_path / f"d{BAD}" / "x.yaml").write_text(policy_text())
    said = run("test", f"d{BAD}", code=2)
    assert "it is a pipe" in said
    assert commands(said) == []
