"""The HTML pages: nothing from a registry is believed, nothing is loaded, and a browser can use them."""

import asyncio
import base64
import hashlib
import io
import itertools
import json
import re
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser

import aiohttp
import pytest

from pruner.engine.journal import Claim, Done, End, Journal, RegistryStop, Start, Tick
from pruner.model import Outcome, ReasonKind, Status
from pruner.plan.file import PlanWriter, open_plan
from pruner.plan.records import FORMAT, VERSION, Entry, Header, ImageRecord, KeptTarget, RegistryFacts
from pruner.report.html import RunPage, plan_page, run_page, write_plan_page
from pruner.report.html.pictures import AgeHistogram, bar, nice_ceiling, samples, time_line
from pruner.report.html.rows import RowSpool, row_pieces
from pruner.report.outcomes import RunRecord, read_outcomes
from pruner.report.summary import Summary
from pruner.report.text import age_text, date_text, size_text

DAY = 86_400_000
NOW = 20_000 * DAY
HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
BIDI = "safe\u202etxt.exe\u2066\x00\x1b[2J\u2028end"
CLOSERS = "]]><!--</style><svg/onload=alert(1)>{{ 7*7 }}&lt;'\"`"


def header(**changes):
    facts = {
        "format": FORMAT,
        "version": VERSION,
        "tool": "1.0",
        "policy_fingerprint": "f" * 64,
        "policy_files": ("p.yaml",),
        "registries": {"acme": RegistryFacts("https://acme.example/ncr/api/v2")},
        "listed_at": NOW,
        "decided_at": NOW,
        "guards": {},
    }
    return Header(**{**facts, **changes})


def entry(image, tag, **more):
    facts = {"policy": "p", "source": "p.yaml:7", "kind": ReasonKind.DELETE_RULE, "reason": "tags *"}
    return Entry(0, "acme", image, tag, **{**facts, **more})


def write_plan(path, images, kept=(), staying=1, **header_changes):
    """A plan file: image -> entries; of each image ``staying`` tags stay."""
    with path.open("wb") as file:
        writer = PlanWriter(file, header(**header_changes))
        for record in kept:
            writer.kept(record)
        for image, entries in images.items():
            tags = staying + sum(not item.missing for item in entries)
            writer.listed(tags)
            writer.image(ImageRecord("acme", image, tags, len(entries), sum(e.size or 0 for e in entries)))
            for item in entries:
                writer.entry(item)
        writer.finish()
    return open_plan(path)


def hostile_plan(path):
    evil = entry("app", "b", reason=HOSTILE, source=CLOSERS, digest=HOSTILE, policy=BIDI, updated=NOW - DAY)
    kept = [KeptTarget("acme", "app", "z", f"{HOSTILE} {BIDI}")]
    return write_plan(
        path,
        {"app": [entry("app", "a", digest=BIDI), evil, entry("app", "c", reason=CLOSERS, policy=HOSTILE)]},
        kept,
        policy_files=(HOSTILE, BIDI),
        registries={HOSTILE: RegistryFacts(CLOSERS)},
        guards={HOSTILE: CLOSERS},
        tool=HOSTILE,
    )


def hostile_run(folder, plan):
    """A run of the hostile plan where even the errors are hostile."""
    journal = Journal(folder / "hostile.jsonl")
    journal.write(Start(1, NOW, 1, HOSTILE))
    for item in plan.records():
        if isinstance(item, Entry):
            facts = {"error": f"{HOSTILE} {BIDI} {CLOSERS}", "cause": HOSTILE, "policy": item.policy}
            journal.write(Done(item.seq, Outcome(item.target, Status.FAILED, 2, 500, elapsed=0.5, **facts)))
    journal.write(RegistryStop("acme", HOSTILE), End(NOW + 1000, "quota", f"{HOSTILE}{BIDI}"))
    journal.close()
    return journal.path


def generated_plan(path, images, each):
    """A large plan with a bit of everything."""
    reasons = ("tags pr-*, older_than 14d", "tags sha-*, not_pulled_for 90d", "newest 10 of each branch")

    def entries(image):
        for number in range(each):
            yield entry(
                image,
                f"pr-{number}",
                digest="sha256:" + hashlib.sha256(f"{image}{number}".encode()).hexdigest(),
                size=None if number % 50 == 7 else 1_000_000 + number * 977_777 % 90_000_000,
                updated=None if number % 100 == 3 else NOW - (number * 7919 % 500 + 14) * DAY,
                last_pulled=None if number % 3 else NOW - number % 90 * DAY,
                reason=reasons[number % 3],
                source=f"policies/ci-builds.yaml:{15 + 4 * (number % 3)}",
                policy=("ci-builds", "releases")[number % 2],
            )

    names = [f"team-{number % 7}/service-{number:03}" for number in range(images)]
    return write_plan(path, {name: list(entries(name)) for name in sorted(names)}, staying=120)


ERRORS = (
    (Status.FAILED, 409, "HTTP 409", "the tag is immutable"),
    (Status.FAILED, 503, "HTTP 503", "503 Service Unavailable"),
    (Status.UNKNOWN, None, "lostreply", "connection reset after the request was sent"),
)


def outcome_of(item):
    """How an entry of a generated run ended: mostly well."""
    facts = {"started": NOW, "policy": item.policy, "size": item.size}
    if item.seq % 23 == 0:
        status, http, cause, error = ERRORS[item.seq // 23 % 3]
        return Outcome(item.target, status, 4, http, error, cause, elapsed=item.seq % 700 / 100, **facts)
    if item.seq % 29 == 0:
        return Outcome(item.target, Status.CHANGED, 0, error="it was pushed again", **facts)
    if item.seq % 31 == 0:
        return Outcome(item.target, Status.GONE, 1, 404, elapsed=0.04, **facts)
    return Outcome(item.target, Status.DELETED, 1 + item.seq % 2, 200, elapsed=0.05, **facts)


def generated_run(folder, plan, ticks=240, undone=0):
    """A run in two sessions with throttling; the last ``undone`` targets are not attempted."""
    journal = Journal(folder / "journal.jsonl")
    half = ticks // 2
    entries = [item for item in plan.records() if isinstance(item, Entry)][
        : plan.entries_left - undone or None
    ]
    for session, start in enumerate((NOW, NOW + DAY)):
        journal.write(Start(1, start, 1, "1.0"))
        requests = throttled = 0
        for second in range(half):
            requests += 40 + (second * 37) % 25
            throttled += second % 9 if second % 40 < 12 else 0
            rate = 50 + 20 * ((second // 15) % 3)
            journal.write(Tick(start + 1000 * (second + 1), requests, requests, throttled, second % 17, rate))
        for item in entries[session::2]:
            journal.write(Claim(item.seq), Done(item.seq, outcome_of(item)))
        stats = {"requests": requests, "throttled": throttled, "retries": 12, "seconds": float(half)}
        stop = ("quota", "the registry's quota is used up") if session and undone else (None, None)
        journal.write(End(start + 1000 * half, *stop, stats))
    journal.close()
    return journal.path


def plan_bytes(plan):
    file = io.BytesIO()
    write_plan_page(plan, file)
    return file.getvalue()


def run_bytes(plan, journal, run_id="20261123T120000000Z-0000"):
    file, page = io.BytesIO(), RunPage(io.StringIO())
    record, summary = RunRecord(), Summary()
    for outcome in read_outcomes(plan, journal, record):
        summary.take(outcome)
        page.take(outcome)
    page.write(file, plan, run_id, record, summary)
    return file.getvalue()


VOID = {"meta", "link", "br", "img", "input", "col", "hr", "source"}


class Page(HTMLParser):
    """A page as a strict reader sees it: every tag closed in order, what each element says."""

    def __init__(self, content):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.texts, self.raw = [], [], [], {}
        text = content.decode()
        assert text.startswith("<!DOCTYPE html>"), text[:80]
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs), f"an attribute stands twice in {tag}"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data):
        if self.open and self.open[-1] in ("script", "style"):
            self.raw.setdefault(self.open[-1], []).append(data)
        else:
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]

    @property
    def rows(self):
        """The rows of the table, repeated texts filled in."""
        data = [text for text in self.raw["script"] if text.startswith("[")]
        rows = json.loads("".join(data))
        for above, row in itertools.pairwise(rows):
            for index, cell in enumerate(row):
                if cell == 0 and isinstance(above[index], str):
                    row[index] = above[index]
        return rows


@pytest.fixture
def hostile_pages(tmp_path):
    plan = hostile_plan(tmp_path / "plan.jsonl")
    return plan_bytes(plan), run_bytes(plan, hostile_run(tmp_path, plan), HOSTILE)


@pytest.fixture
def small_pages(tmp_path):
    plan = generated_plan(tmp_path / "plan.jsonl", 5, 60)
    return plan_bytes(plan), run_bytes(plan, generated_run(tmp_path, plan))


def test_totals_bars_and_reasons_are_there_without_a_script(tmp_path):
    gone = entry("app", "no", missing=True, kind=ReasonKind.EXPLICIT_TARGET, source="t.txt:4")
    tags = [entry("app", "a", size=1000, updated=NOW - 20 * DAY), entry("app", "b", size=500), gone]
    kept = [KeptTarget("acme", "app", "z", "hold app:z (p.yaml:9)")]
    page = Page(plan_bytes(write_plan(tmp_path / "p", {"app": tags}, kept, staying=3)))
    assert "2 tags would go, 3 stay" in page.text
    assert "1.5 kB" in page.text
    assert "acme/app:z hold app:z (p.yaml:9)" in page.text
    assert "1 target already gone" in page.text
    labels = [attrs["aria-label"] for attrs in page.all("svg") if attrs.get("class") == "bar"]
    assert labels == ["acme/app: 2 of 5 tags go, 3 stay"]
    assert "p.yaml:7 p tags * 2 1.5 kB" in page.text
    assert "t.txt p tags * 1 ?" in page.text


def test_run_page_says_what_failed_and_what_to_do(tmp_path):
    plan = generated_plan(tmp_path / "plan.jsonl", 5, 60)
    page = Page(run_bytes(plan, generated_run(tmp_path, plan, undone=20)))
    assert "run partial" in page.text
    assert "Stopped (quota): the registry's quota is used up" in page.text
    assert "look at the image's tag mutability" in page.text
    assert "pruner resume 20261123T120000000Z-0000" in page.text
    assert "resumed 1 time" in page.text
    counts = [row[2] for row in page.rows]
    assert counts.count("not_attempted") == 20
    assert len(counts) == 300


def test_table_holds_what_the_plan_says(tmp_path):
    plan = generated_plan(tmp_path / "plan.jsonl", 3, 40)
    entries = [item for item in plan.records() if isinstance(item, Entry)]
    rows = Page(plan_bytes(plan)).rows
    assert [tuple(row) for row in rows] == list(plan_page.plan_rows(plan))
    assert [(row[1], row[8]) for row in rows] == [(item.tag, item.digest) for item in entries]


def test_pages_are_deterministic(tmp_path):
    plan = generated_plan(tmp_path / "plan.jsonl", 3, 40)
    journal = generated_run(tmp_path, plan)
    assert plan_bytes(plan) == plan_bytes(plan)
    assert run_bytes(plan, journal) == run_bytes(plan, journal)


def test_hostile_texts_stay_texts(hostile_pages):
    for content in hostile_pages:
        page = Page(content)
        assert page.all("img") == []
        assert len(page.all("script")) == 2
        assert not any(name.startswith("on") for _, attrs in page.elements for name in attrs)
        assert "owned" in page.text
        assert "{{ 7*7 }}" in page.text
        assert "49" not in page.text
        assert not re.search(
            "[\x00-\x09\x0b-\x1f\x7f\u2028\u2029\u202a-\u202e\u2066-\u2069]", content.decode()
        )
        assert "\\u202e" in page.text


def test_hostile_rows_are_read_back_as_harmless_text(hostile_pages):
    plan, run = (Page(content).rows for content in hostile_pages)
    assert HOSTILE in (row[8] for row in plan)
    assert any(row[8] == "safe\\u202etxt.exe\\u2066\\x00\\x1b[2J\\u2028end" for row in plan)
    assert all(HOSTILE in row[5] for row in run)


@pytest.mark.parametrize("text", ["</script>", "<!--<script>", "]]>", "&lt;", "\u2028\u2029", "\ud800", "\\"])
def test_no_cell_can_end_the_script(text):
    out = "".join(row_pieces([(text, None, 1.5), ("x", 0, 2)], 10))
    assert not set(out) & set("<>&\u2028\u2029")
    out.encode()
    (first, _, _), second = json.loads(out)
    assert first == text or first.startswith("\\u")
    assert second == ["x", 0, 2]


def test_repeated_texts_are_written_once_and_numbers_never_confused():
    rows = [("a", 0, None), ("a", 0, "x"), ("b", 0, None), ("b", 1, None)]
    assert json.loads("".join(row_pieces(rows, 9))) == [
        ["a", 0, None],
        [0, 0, "x"],
        ["b", 0, None],
        [0, 1, None],
    ]


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 1203])
@pytest.mark.parametrize("limit", [10, 1200])
def test_rows_that_wait_in_a_file_are_the_same(count, limit):
    rows = [(f"image-{n // 100}", "<é>", n) for n in range(count)]
    spool = RowSpool(io.StringIO(), limit)
    for row in rows:
        spool.add(row)
    assert "".join(spool.pieces()) in ("".join(row_pieces(rows, limit)), "[\n\n]")
    assert len(json.loads("".join(row_pieces(rows, limit)))) == min(count, limit)


def test_pages_are_well_formed_and_load_nothing(small_pages, hostile_pages):
    for content in (*small_pages, *hostile_pages):
        page = Page(content)
        links = [
            attrs[name] for _, attrs in page.elements for name in ("src", "href", "action") if name in attrs
        ]
        assert links == []
        assert page.all("link") == page.all("iframe") == page.all("form") == []
        assert not any("style" in attrs for _, attrs in page.elements)
        (style,) = page.raw["style"]
        assert "url(" not in style
        assert "@import" not in style
        names = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
        assert len(names) == len(set(names))


def test_content_security_policy_allows_this_script_and_style_only(small_pages):
    for content in small_pages:
        page = Page(content)
        (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv")]
        rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
        assert rules["default-src"] == "'none'"
        assert "unsafe" not in policy
        for rule, text in (("style-src", page.raw["style"][0]), ("script-src", page.raw["script"][-1])):
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert rules[rule] == f"'sha256-{digest}'"


def test_rows_above_the_cap_are_left_out_and_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(plan_page, "MAX_ROWS", 10)
    monkeypatch.setattr(run_page, "MAX_ROWS", 10)
    plan = generated_plan(tmp_path / "plan.jsonl", 2, 20)
    for content, place in (
        (plan_bytes(plan), "pruner plan --format csv"),
        (run_bytes(plan, generated_run(tmp_path, plan)), "outcomes.csv"),
    ):
        page = Page(content)
        assert len(page.rows) == 10
        assert "Only the first 10 of 40 rows are on this page. All of them are in" in page.text
        assert place in page.text


def test_no_cap_is_mentioned_when_all_rows_are_there(small_pages):
    assert all("Only the first" not in Page(content).text for content in small_pages)


def test_many_images_and_kept_targets_are_cut_with_a_note(tmp_path, monkeypatch):
    monkeypatch.setattr(plan_page, "MAX_IMAGES", 3)
    monkeypatch.setattr(plan_page, "MAX_KEPT", 2)
    kept = [KeptTarget("acme", "app", f"k{number}", "hold") for number in range(5)]
    images = {f"a{number}": [entry(f"a{number}", "t")] for number in range(6)}
    page = Page(plan_bytes(write_plan(tmp_path / "p", images, kept)))
    assert "The first 3 of 6 images" in page.text
    assert "… and 3 more targets" in page.text


def test_empty_plan_and_run_that_never_started(tmp_path):
    plan = write_plan(tmp_path / "plan.jsonl", {})
    page = Page(plan_bytes(plan))
    assert "0 tags would go, 0 stay" in page.text
    assert "Nothing would be deleted." in page.text
    run = Page(run_bytes(plan, tmp_path / "none.jsonl"))
    assert "Not started." in run.text
    assert "too short for a time line" in run.text
    assert len(page.all("script")) == len(run.all("script")) == 1


def test_edited_plan_says_so_and_counts_what_is_left(tmp_path):
    path = tmp_path / "plan.jsonl"
    write_plan(path, {"app": [entry("app", name, size=5) for name in "abc"]})
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for line in lines if b'"seq":2,' not in line))
    page = Page(plan_bytes(open_plan(path, allow_edited=True)))
    assert "1 removed: number 2" in page.text
    assert "2 tags would go, 2 stay" in page.text
    assert "10 B" in page.text


def test_page_is_written_in_pieces(tmp_path):
    plan = generated_plan(tmp_path / "plan.jsonl", 4, 1000)

    class Pieces:
        largest = 0

        def writelines(self, lines):
            for line in lines:
                self.largest = max(self.largest, len(line))

    write_plan_page(plan, pieces := Pieces())
    assert 0 < pieces.largest < 250_000 < len(plan_bytes(plan))


def test_jinja_is_imported_only_for_a_page():
    code = "import sys, pruner.report.html; sys.exit('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_bar_fills_its_width_and_hides_nothing():
    segments = bar([("deleted", 100_000), ("failed", 1), ("gone", 0)])
    assert [segment.kind for segment in segments] == ["deleted", "failed"]
    assert segments[-1].width > 0.5
    assert segments[-1].x + segments[-1].width == pytest.approx(100, abs=0.01)
    assert bar([]) == []


def test_histogram_counts_every_age_once():
    ages = AgeHistogram()
    for days in (0, 1, 6, 7, 13, 14, 2000, 9999):
        ages.take(days * DAY)
    ages.take(DAY - 1)
    ages.take(None)
    found = {column.label: column.tags for column in ages.columns() if column.tags}
    assert found == {
        "under 1 day": 2,
        "1 to 6 days": 2,
        "7 to 13 days": 2,
        "14 to 29 days": 1,
        "1825 days or more": 2,
        "unknown age": 1,
    }
    last = ages.columns()[-1]
    assert last.x + last.width < 100
    assert AgeHistogram().columns() == AgeHistogram().marks() == []


def ticked(starts, ticks):
    record = RunRecord()
    for at in starts:
        record.take(Start(1, at, 1, "1.0"))
    for at, requests, throttled, rate in ticks:
        record.take(Tick(at, 0, requests, throttled, 1, rate))
    return record


def test_time_line_derives_rates_within_sessions_only():
    record = ticked(
        [0, 100_000],
        [
            (1000, 50, 0, 10.0),
            (2000, 60, 2, 10.0),
            (4000, 80, 2, 0.0),
            (101_000, 5, 0, 10.0),
            (102_000, 9, 0, 10.0),
        ],
    )
    found = samples(record)
    assert [(sample.at, sample.sent, sample.refused) for sample in found] == [
        (1, 10, 2),
        (3, 10, 0),
        (4, 4, 0),
    ]
    assert [sample.granted for sample in found] == [10, None, 10]
    line = time_line(record)
    assert line.resumed == [75.0]
    assert len(line.panels[0].lines) == 2


@pytest.mark.parametrize("ticks", [[], [(1, 1, 0, 1.0)], [(5, 1, 0, 1.0), (5, 2, 0, 1.0), (4, 3, 0, 1.0)]])
def test_no_time_line_of_a_short_run_or_a_clock_set_back(ticks):
    assert time_line(ticked([0], ticks)) is None


@pytest.mark.parametrize(("value", "top"), [(0, 1), (1, 1), (3, 5), (50, 50), (51, 100), (1001, 2000)])
def test_axis_ends_at_a_round_number(value, top):
    assert nice_ceiling(value) == top


# --- in a real browser -------------------------------------------------------------------------------------

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
VIEW = "document.getElementById('viewport')"
in_browser = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")]


class Browser:
    """A page in a headless Chromium, steered by the DevTools protocol."""

    def __init__(self, socket, process):
        self.socket = socket
        self.process = process
        self.numbers = itertools.count(1)
        self.events = []
        self.session = None

    async def send(self, method, **params):
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params}
        await self.socket.send_json({**message, **({"sessionId": self.session} if self.session else {})})
        while True:
            reply = json.loads((await self.socket.receive(timeout=60)).data)
            if reply.get("id") == number:
                assert "error" not in reply, reply
                return reply["result"]
            self.events.append(reply)

    async def open(self, path, width=1280, height=900, scheme="light"):
        """Open a file, keep what the console says, and wait until it is drawn."""
        if self.session is None:
            target = (await self.send("Target.createTarget", url="about:blank"))["targetId"]
            attached = await self.send("Target.attachToTarget", targetId=target, flatten=True)
            self.session = attached["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                await self.send(f"{domain}.enable")
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        await self.send("Emulation.setDeviceMetricsOverride", **metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.send("Emulation.setEmulatedMedia", features=features)
        self.events.clear()
        await self.send("Page.navigate", url=path.as_uri())
        while await self.run("document.readyState") != "complete":
            await asyncio.sleep(0.02)
        return self

    async def run(self, script):
        """What a JavaScript expression gives; one that throws fails the test."""
        options = {"returnByValue": True, "awaitPromise": True}
        result = await self.send("Runtime.evaluate", expression=script, **options)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def press(self, key):
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            code = {"Enter": 13, "Tab": 9}.get(key, 0)
            await self.send(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text
            )

    async def rows(self):
        """The texts of the rows that are drawn."""
        return await self.run(
            "[...document.querySelectorAll('#table tr[aria-rowindex]')]"
            ".map(row => [...row.cells].map(cell => cell.textContent))"
        )

    async def column(self, title):
        titles = await self.run(
            "[...document.querySelectorAll('#table th')].map(th => th.textContent.trim())"
        )
        return [row[titles.index(title)] for row in await self.rows()]

    async def sort(self, title):
        await self.run(
            "[...document.querySelectorAll('#table th button')]"
            f".find(button => button.textContent === {json.dumps(title)}).click()"
        )

    async def filter(self, text):
        await self.run(
            f"(f => {{ f.value = {json.dumps(text)}; f.dispatchEvent(new Event('input')); }})"
            "(document.getElementById('filter'))"
        )

    async def choose(self, number, value):
        await self.run(
            f"(s => {{ s.value = {json.dumps(value)}; s.dispatchEvent(new Event('change')); }})"
            f"(document.querySelectorAll('select')[{number}])"
        )

    async def count(self):
        return await self.run("document.getElementById('count').textContent")

    async def busy(self):
        """Seconds of CPU time that the page took; Performance must be enabled, counting ticks of threads."""
        metrics = (await self.send("Performance.getMetrics"))["metrics"]
        return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")

    def problems(self):
        """What the console complained of, and every request that is not the page itself."""
        found = []
        for event in self.events:
            method, params = event.get("method"), event.get("params", {})
            if method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
                found.append(params)
            elif method == "Network.requestWillBeSent" and params["type"] != "Document":
                found.append(params["request"]["url"])
        return found


@pytest.fixture
async def browser(tmp_path):
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += ["--no-first-run", "--remote-debugging-port=0", f"--user-data-dir={tmp_path / 'profile'}"]
    with (tmp_path / "chromium.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, "about:blank", stdout=log, stderr=log)
    try:
        port = tmp_path / "profile/DevToolsActivePort"
        deadline = time.monotonic() + 60
        while not port.exists() or port.read_text().count("\n") < 1:
            assert process.returncode is None, (tmp_path / "chromium.log").read_text()
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        number, place = port.read_text().split("\n")
        async with aiohttp.ClientSession() as client:
            url = f"ws://127.0.0.1:{number}{place}"
            async with client.ws_connect(url, max_msg_size=0) as socket:
                yield Browser(socket, process)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def saved(tmp_path, content, name="page.html"):
    path = tmp_path / name
    path.write_bytes(content)
    return path


class TestInChromium:
    pytestmark = in_browser

    async def test_sorts_by_every_column_both_ways_and_back(self, browser, tmp_path):
        plan = generated_plan(tmp_path / "plan.jsonl", 2, 200)
        await browser.open(saved(tmp_path, plan_bytes(plan)))
        before = await browser.rows()
        rows = list(plan_page.plan_rows(plan))
        await browser.sort("size")
        sizes = [size_text(size) for size in sorted(row[3] for row in rows if row[3] is not None)]
        drawn = await browser.column("size")
        assert drawn == sizes[: len(drawn)]
        await browser.sort("size")
        assert (
            await browser.run("document.querySelector('th[aria-sort]').getAttribute('aria-sort')")
            == "descending"
        )
        drawn = await browser.column("size")
        assert drawn == sizes[::-1][: len(drawn)]
        await browser.sort("size")
        assert await browser.rows() == before
        await browser.sort("tag")
        assert (await browser.column("tag"))[:6] == ["pr-0", "pr-0", "pr-1", "pr-1", "pr-2", "pr-2"]
        assert browser.problems() == []

    async def test_unknown_values_come_last_whatever_the_direction(self, browser, tmp_path):
        tags = [
            entry("app", name, updated=age and NOW - age) for name, age in (("a", None), ("b", 5), ("c", 9))
        ]
        await browser.open(saved(tmp_path, plan_bytes(write_plan(tmp_path / "p", {"app": tags}))))
        for expected in (["b", "c", "a"], ["c", "b", "a"], ["a", "b", "c"]):
            await browser.sort("age")
            assert await browser.column("tag") == expected

    async def test_filters_by_words_and_menus_and_counts(self, browser, tmp_path):
        plan = generated_plan(tmp_path / "plan.jsonl", 4, 250)
        await browser.open(saved(tmp_path, plan_bytes(plan)))
        assert await browser.count() == "1,000 of 1,000 rows"
        await browser.filter("PR-24 not_pulled_for")
        assert await browser.count() == "12 of 1,000 rows"
        assert {tag[:5] for tag in await browser.column("tag")} == {"pr-24"}
        await browser.choose(0, "acme/team-1/service-001")
        assert await browser.count() == "3 of 1,000 rows"
        await browser.filter("nothing has this")
        assert await browser.count() == "0 of 1,000 rows"
        assert await browser.rows() == []
        await browser.filter("")
        await browser.choose(0, "")
        assert await browser.count() == "1,000 of 1,000 rows"

    async def test_run_page_filters_by_status(self, browser, tmp_path):
        plan = generated_plan(tmp_path / "plan.jsonl", 5, 100)
        await browser.open(saved(tmp_path, run_bytes(plan, generated_run(tmp_path, plan, undone=30))))
        assert await browser.count() == "500 of 500 rows"
        await browser.choose(1, "not_attempted")
        assert await browser.count() == "30 of 500 rows"
        assert set(await browser.column("status")) == {"not attempted"}
        await browser.choose(1, "failed")
        assert set(await browser.column("HTTP status")) == {"409", "503"}
        assert browser.problems() == []

    async def test_says_ages_sizes_and_times_as_the_other_reports_do(self, browser, tmp_path):
        ages = [0, 59_999, 60_000, 3_599_999, 3_600_000, 47 * 3_600_000, 2 * DAY, 400 * DAY, None]
        sizes = [0, 1, 999, 1000, 1500, 999_900, 73_534_579, 4 * 10**12, None]
        tags = [
            entry(
                "app",
                f"t{i}",
                updated=age if age is None else NOW - age,
                size=size,
                last_pulled=NOW - 61_000 * i,
            )
            for i, (age, size) in enumerate(zip(ages, sizes, strict=True))
        ]
        await browser.open(saved(tmp_path, plan_bytes(write_plan(tmp_path / "p", {"app": tags}))))
        rows = await browser.rows()
        assert [row[2] for row in rows] == [age_text(tag.updated, NOW) for tag in tags]
        assert [row[3] for row in rows] == [size_text(size) for size in sizes]
        assert {row[6] for row in rows} == {"p.yaml:7"}
        assert [row[4] for row in rows] == [date_text(tag.last_pulled) for tag in tags]

    async def test_fifty_thousand_rows_stay_usable(self, browser, tmp_path):
        plan = generated_plan(tmp_path / "plan.jsonl", 200, 250)
        path = saved(tmp_path, plan_bytes(plan))
        await browser.open(saved(tmp_path, b"<p>", "empty.html"))
        await browser.send("Performance.enable", timeDomain="threadTicks")
        before = await browser.busy()
        await browser.open(path)
        assert await browser.count() == "50,000 of 50,000 rows"
        assert await browser.busy() - before < 5
        for title in range(9):
            before = await browser.busy()
            await browser.run(f"document.querySelectorAll('#table th button')[{title}].click()")
            assert await browser.busy() - before < 2
        typing = (
            "f = document.getElementById('filter'); f.value = 'pr-12'; f.dispatchEvent(new Event('input'))"
        )
        before = await browser.busy()
        await browser.run(f"(() => {{ const {typing} }})()")
        assert await browser.busy() - before < 1
        await browser.filter("")
        assert await browser.run("document.querySelectorAll('#table tr').length") < 100
        await browser.run(f"{VIEW}.scrollTop = {VIEW}.scrollHeight")
        await browser.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert (
            await browser.run("document.querySelector('#table tbody tr:last-child').ariaRowIndex") == "50001"
        )
        assert browser.problems() == []

    async def test_every_row_can_be_scrolled_to(self, browser, tmp_path):
        plan = generated_plan(tmp_path / "plan.jsonl", 1, 3000)
        await browser.open(saved(tmp_path, plan_bytes(plan)))
        seen = await browser.run(
            """(async () => {
                const seen = new Set(), frame = () => new Promise(requestAnimationFrame);
                const viewport = document.querySelector('.viewport');
                for (let top = 0; top < viewport.scrollHeight; top += viewport.clientHeight - 40) {
                    viewport.scrollTop = top;
                    await frame(); await frame();
                    const box = viewport.getBoundingClientRect();
                    for (const row of document.querySelectorAll('#table tr[aria-rowindex]')) {
                        const place = row.getBoundingClientRect();
                        if (place.bottom > box.top && place.top < box.bottom) seen.add(row.ariaRowIndex);
                    }
                }
                return seen.size;
            })()"""
        )
        assert seen == 3000

    async def test_works_by_keyboard(self, browser, tmp_path):
        plan = generated_plan(tmp_path / "plan.jsonl", 1, 300)
        await browser.open(saved(tmp_path, plan_bytes(plan)))
        await browser.run("document.querySelectorAll('#table th button')[1].focus()")
        await browser.press("Enter")
        assert await browser.run("document.activeElement.parentElement.ariaSort") == "ascending"
        await browser.run(f"{VIEW}.focus()")
        for key in ("ArrowDown", "ArrowDown", "PageDown", "ArrowUp"):
            await browser.press(key)
        assert "pr-15" in await browser.run("document.getElementById('chosen').innerText")
        await browser.press("End")
        assert "pr-299" in await browser.run("document.getElementById('chosen').innerText")
        visible = f"(r => r.bottom <= {VIEW}.getBoundingClientRect().bottom + 1)"
        row = "document.querySelector('tr[aria-selected=true]').getBoundingClientRect()"
        assert await browser.run(f"{visible}({row})")

    async def test_hostile_texts_stay_inert(self, browser, tmp_path, hostile_pages):
        for content in hostile_pages:
            await browser.open(saved(tmp_path, content))
            for title in ("tag", "image"):
                await browser.sort(title)
            await browser.filter("owned")
            await browser.run("document.querySelector('#table tr[aria-rowindex]').click()")
            await browser.run("new Promise(done => setTimeout(done, 200))")
            assert "owned" in await browser.run("document.getElementById('chosen').textContent")
            assert await browser.run("document.images.length + document.scripts.length") == 1
            assert await browser.run("document.title.startsWith('pruner ')")
            assert browser.problems() == []

    async def test_content_security_policy_stops_what_is_slipped_in(self, browser, tmp_path):
        content = plan_bytes(generated_plan(tmp_path / "plan.jsonl", 1, 10))
        evil = b"<script>document.title = 'owned'</script>"
        evil += b"<img src='https://evil.example/x' onerror='document.title = 1'>"
        await browser.open(saved(tmp_path, content.replace(b"</main>", evil + b"</main>")))
        assert (await browser.run("document.title")).startswith("pruner plan")
        said = " ".join(event["entry"]["text"] for event in browser.problems() if "entry" in event)
        assert "Content Security Policy" in said

    async def test_prints_the_rows_in_view(self, browser, tmp_path):
        plan = generated_plan(tmp_path / "plan.jsonl", 8, 250)
        await browser.open(saved(tmp_path, plan_bytes(plan)))
        pdf = await browser.send("Page.printToPDF", printBackground=False)
        assert base64.b64decode(pdf["data"]).startswith(b"%PDF")
        await browser.run("window.dispatchEvent(new Event('beforeprint'))")
        assert await browser.run("document.querySelectorAll('#table tr[aria-rowindex]').length") == 1000
        assert "first 1,000 of 2,000 rows" in await browser.run(
            "document.getElementById('printed').textContent"
        )
        await browser.run("window.dispatchEvent(new Event('afterprint'))")
        assert await browser.run("document.querySelectorAll('#table tr[aria-rowindex]').length") < 100

    @pytest.mark.parametrize("width", [360, 800, 1280])
    async def test_page_never_scrolls_sideways(self, browser, tmp_path, width):
        plan = generated_plan(tmp_path / "plan.jsonl", 5, 60)
        for content in (plan_bytes(plan), run_bytes(plan, generated_run(tmp_path, plan, undone=9))):
            await browser.open(saved(tmp_path, content), width=width)
            assert await browser.run("document.documentElement.scrollWidth") <= width

    async def test_explains_itself_without_javascript(self, browser, tmp_path):
        content = plan_bytes(generated_plan(tmp_path / "plan.jsonl", 5, 60))
        await browser.open(saved(tmp_path, b"<p>"))
        await browser.send("Emulation.setScriptExecutionDisabled", value=True)
        path = saved(tmp_path, content, "plain.html")
        await browser.send("Page.navigate", url=path.as_uri())
        text = ""
        async with asyncio.timeout(60):
            while "need JavaScript" not in text or text.count('"svg"') <= 5:
                text = json.dumps(await browser.send("DOM.getDocument", depth=-1))
