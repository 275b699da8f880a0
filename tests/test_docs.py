"""The pages are whole and fresh: links, commands and options, what is generated, what is described."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import click
import pytest
from test_readme import ROOT, console_blocks, sessions

from benchmarks.performance_page import TABLE
from benchmarks.results import JSON, number
from pruner.cli.main import COMMANDS, cli
from pruner.errors import ExitCode
from pruner.policy.document import LimitsDocument, PolicyDocument, RuleDocument
from scripts.generate import MAN, PAGE, man_pages, page

PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))
OUTSIDE = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "benchmarks/README.md"]
"""Markdown that is no page of the site."""
CHECKED = (click.Choice, click.IntRange, click.FloatRange)
"""The types whose values are judged without a look at files."""


def read(name):
    return (ROOT / name).read_text()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built with every warning an error: links, anchors and the navigation are right."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return folder


class Loads(HTMLParser):
    """What a browser fetches for a page without being asked to."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.found += [attrs[name] for name in ("src", "srcset", "poster") if attrs.get(name)]
        if tag == "link":
            self.found.append(attrs["href"])


def test_the_site_is_built_and_loads_nothing_from_elsewhere(site):
    built = list(site.glob("*.html"))
    assert {path.stem for path in built} >= {path.removeprefix("docs/").removesuffix(".md") for path in PAGES}
    for path in built:
        text = path.read_text()
        assert 'class="mermaid"' not in text, "mermaid is loaded from elsewhere"
        assert [url for url in Loads(text).found if re.match(r"(\w+:)?//", url)] == [], path


def anchors(text):
    """The anchors of a page's headings, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", [*OUTSIDE, *PAGES])
def test_links_within_the_repository_lead_somewhere(name):
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```|`[^`]*`", "", read(name), flags=re.DOTALL)):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text()), link


def commands_of(line):
    """The words after each ``pruner`` of a shell line; what stands before and between is the shell's."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split = True
    words = list(lexer)
    starts = [index for index, word in enumerate(words) if word.rpartition("/")[2] == "pruner"]
    for start in starts:
        rest = words[start + 1 :]
        end = next((i for i, word in enumerate(rest) if set(word) <= set("();<>|&")), len(rest))
        yield rest[:end]


def parse(words):
    """Parse a command line as the program does, without running anything; UsageError if it is none."""
    command, context = cli, click.Context(cli, info_name="pruner")
    while True:
        given, left, _ = command.make_parser(context).parse_args(list(words))
        _check_values(command, context, given)
        if not isinstance(command, click.Group) or not left:
            return
        found = command.get_command(context, left[0])
        if found is None:
            raise click.UsageError(f"no command {left[0]}")
        command, context, words = found, click.Context(found, parent=context, info_name=left[0]), left[1:]


def _check_values(command, context, given):
    for option in command.params:
        value = given.get(option.name)
        if isinstance(value, str) and isinstance(option.type, CHECKED):
            option.type.convert(value, option, context)


def shell_lines():
    for name in [*OUTSIDE, *PAGES]:
        for block in console_blocks(name):
            for command, _ in sessions(block):
                yield from ((name, shlex.join(["pruner", *words])) for words in commands_of(command))


def test_examples_are_found():
    assert len(list(shell_lines())) >= 25


@pytest.mark.parametrize(("name", "line"), sorted(set(shell_lines())))
def test_every_command_that_a_page_shows_exists(name, line):
    parse(shlex.split(line)[1:])


@pytest.mark.parametrize("line", ["pruner plna", "pruner plan x --yes", "pruner runs prune --keep -1"])
def test_commands_that_do_not_exist_are_noticed(line):
    with pytest.raises(click.UsageError):
        parse(shlex.split(line)[1:])


def test_every_command_that_a_sentence_names_exists():
    """``pruner apply --max-age`` in a sentence: the command is there, and has the option."""
    context = click.Context(cli)
    for name in [*OUTSIDE, *PAGES]:
        for words in re.findall(r"`pruner ([a-z][a-z-]*[^`]*)`", read(name)):
            path, *rest = words.split()
            command = cli.get_command(context, path)
            assert command is not None, f"{name}: pruner {words}"
            if isinstance(command, click.Group) and rest and rest[0] in command.commands:
                command = command.commands[rest[0]]
            options = {opt for param in (*cli.params, *command.params) for opt in param.opts}
            assert {word for word in rest if re.fullmatch(r"--[a-z-]+", word)} <= options, f"{name}: {words}"


def test_the_page_of_commands_is_the_one_that_is_generated():
    assert PAGE.read_text() == page(PAGE.read_text()), "python -m scripts.generate"


def test_the_man_pages_are_those_that_are_generated():
    stored = {path.name: path.read_text() for path in MAN.iterdir()}
    assert stored == man_pages(), "python -m scripts.generate"
    assert {f"pruner-{name}.1" for name in COMMANDS} < set(stored)


@pytest.mark.skipif(shutil.which("man") is None, reason="NOT TESTED how man pages look: install man")
def test_man_pages_render_without_a_warning():
    for path in sorted(MAN.iterdir()):
        done = subprocess.run(
            ["man", "--warnings=w", "-E", "UTF-8", "-l", str(path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANWIDTH": "80"},
        )
        assert (done.returncode, done.stderr) == (0, ""), path
        assert "OPTIONS" in done.stdout or path.name == "pruner-schema.1"


def test_every_command_and_exit_code_is_described():
    for name in COMMANDS:
        assert f"`pruner {name}" in read("docs/commands.md").split("## An example")[0], name
    for code in ExitCode:
        assert re.search(rf"^\| .*\b{int(code)}\b.* \|", read("docs/exit-codes.md"), re.MULTILINE), code


def test_every_condition_of_the_language_is_described():
    text = read("docs/policies.md")
    for model in (RuleDocument, PolicyDocument, LimitsDocument):
        for name, field in model.model_fields.items():
            assert f"{field.alias or name}" in text, name


def test_the_performance_section_is_the_one_of_the_measured_figures():
    text = read("docs/performance.md")
    section = text.split("<!-- measured: start -->")[1].split("<!-- measured: end -->")[0]
    figures = json.loads(JSON.read_text())["benchmarks"]["end_to_end"]["figures"]
    rows = [line for line in figures if line["what"].startswith(TABLE)]
    assert len(rows) >= 5
    for line in rows:
        assert f"| {line['what'].removeprefix(TABLE)}" in section
        assert f"| {number(line['value'])} | " in section
