"""The HTML pages: everything inert, nothing from outside, and usable in a real browser."""

import asyncio
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from test_plan_file import HEADER, entry

from pruner.engine.journal import VERSION, Claim, Done, End, Journal, Start, Tick
from pruner.model import Outcome, Status, Target
from pruner.plan.file import PlanWriter, open_plan
from pruner.plan.records import ImageRecord, KeptTarget
from pruner.report import pages
from pruner.report.pages import write_plan_page, write_run_page

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\">\u202e\x1b[31m'&lt;"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def plan_of(tmp_path, rows=3, **more):
    path = tmp_path / "plan.jsonl"
    with path.open("wb") as file:
        writer = PlanWriter(file, HEADER)
        writer.kept(KeptTarget("acme", "app", "kept", HOSTILE))
        writer.listed(rows + 1)
        writer.image(ImageRecord("acme", "app", rows + 1, rows, 7))
        for number in range(rows):
            writer.entry(entry("app", f"t{number:05}", size=(number * 7919) % 100_000, updated=1, **more))
        writer.finish()
    return open_plan(path)


def plan_page(plan):
    file = io.BytesIO()
    write_plan_page(plan, file)
    return file.getvalue().decode()


def run_page(tmp_path, plan, error=HOSTILE):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.write(Start(VERSION, 1, 1, "x"))
    for second in range(5):
        journal.write(Tick(second * 1000, second, second * 10, second, 3, 10.0))
    for number, status in enumerate((Status.DELETED, Status.FAILED), 1):
        journal.write(Claim(number))
        target = Target("acme", "app", f"t{number - 1:05}")
        journal.write(Done(number, Outcome(target, status, 1, 500, error, "HTTP 500")))
    journal.write(End(9, "quota", error, {"requests": 40, "throttled": 4, "seconds": 4.0}))
    journal.close()
    file = io.BytesIO()
    write_run_page(plan, tmp_path / "journal.jsonl", "RUN", file)
    return file.getvalue().decode()


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("kind", ["plan", "run"])
def test_nothing_from_a_registry_becomes_markup(tmp_path, kind):
    plan = plan_of(tmp_path, digest=HOSTILE)
    page = plan_page(plan) if kind == "plan" else run_page(tmp_path, plan)
    parser = _Tags()
    parser.feed(page)
    assert not [tag for tag, _ in parser.found if tag == "img"]
    assert len([tag for tag, _ in parser.found if tag == "script"]) == 3
    assert not any(name.startswith("on") for _, attrs in parser.found for name in attrs)
    assert "\u202e" not in page
    assert "\x1b" not in page


@pytest.mark.parametrize("kind", ["plan", "run"])
def test_nothing_is_loaded_from_elsewhere(tmp_path, kind):
    plan = plan_of(tmp_path)
    page = plan_page(plan) if kind == "plan" else run_page(tmp_path, plan)
    parser = _Tags()
    parser.feed(page)
    assert not [attrs for _, attrs in parser.found if {"src", "href", "action"} & set(attrs)]
    policy = next(a["content"] for _, a in parser.found if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "script-src 'sha256-" in policy


def test_the_rows_are_json(tmp_path):
    page = plan_page(plan_of(tmp_path, rows=1203))
    rows = json.loads(re.search(r'id="rows">(.*?)</script>', page, re.DOTALL)[1])
    assert len(rows) == 1203
    assert rows[1202][1] == "t01202"


def test_too_many_rows_are_cut_and_said(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "MAX_TABLE_ROWS", 10)
    page = plan_page(plan_of(tmp_path, rows=11))
    assert "The first 10 of 11; all are in pruner plan --format csv." in page
    assert len(json.loads(re.search(r'id="rows">(.*?)</script>', page, re.DOTALL)[1])) == 10


def test_an_empty_plan_has_a_page(tmp_path):
    path = tmp_path / "plan.jsonl"
    with path.open("wb") as file:
        PlanWriter(file, HEADER).finish()
    assert "pruner plan" in plan_page(open_plan(path))


def test_a_run_page_tells_failures_stops_and_time(tmp_path):
    page = run_page(tmp_path, plan_of(tmp_path), error="the server says 500")
    for text in (
        "stopped (quota): the server says 500",
        "run the same policy again later",
        "10.0%",
        "refused/s",
    ):
        assert text in page


class Browser:
    """A headless Chromium, spoken to over its debugging port."""

    def __init__(self, page):
        self.page = page

    async def run(self, *expressions):
        import aiohttp

        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
        command += [f"--user-data-dir={self.page.parent / 'profile'}", self.page.as_uri()]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        try:
            line = next(line for line in process.stderr if "DevTools listening" in line)
            port = re.search(r":(\d+)/", line)[1]
            async with aiohttp.ClientSession() as session:
                return await self._evaluate(session, port, expressions)
        finally:
            process.kill()
            process.wait()
            process.stderr.close()

    async def _evaluate(self, session, port, expressions):
        for _ in range(100):
            async with session.get(f"http://127.0.0.1:{port}/json") as response:
                pages = [page for page in await response.json() if page["type"] == "page"]
            if pages and pages[0]["url"].startswith("file:"):
                break
            await asyncio.sleep(0.1)
        found = []
        async with session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            # The page may still take the place of an empty one: ask until it is there.
            for number, expression in enumerate([LOADED] * 3 + list(expressions)):
                ask = {"expression": expression, "awaitPromise": True, "returnByValue": True}
                await socket.send_json({"id": number, "method": "Runtime.evaluate", "params": ask})
                answer = await socket.receive_json()
                while answer.get("id") != number:
                    answer = await socket.receive_json()
                found.append(answer["result"]["result"].get("value"))
        return found[3:]


LOADED = (
    "new Promise(done => { const poll = () => document.getElementById('count')?.textContent ? done(1) : "
    "setTimeout(poll, 50); poll(); })"
)
CELLS = (
    "[...document.querySelectorAll('#body tr:not([aria-hidden]) td:nth-child({})')].map(c => c.textContent)"
)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
async def test_fifty_thousand_rows_sort_and_filter_in_a_browser(tmp_path):
    page = tmp_path / "plan.html"
    page.write_text(plan_page(plan_of(tmp_path, rows=50_000, digest=HOSTILE)))
    sort = "document.querySelectorAll('#head button')[4].click()"
    search = (
        "f = document.getElementById('filter'), f.value = 't00042 app', f.dispatchEvent(new Event('input'))"
    )
    timed = f"(() => {{ const t = performance.now(); {sort}; return performance.now() - t }})()"
    found = await Browser(page).run(
        "document.getElementById('count').textContent",
        "document.querySelectorAll('#body tr').length",
        sort,
        CELLS.format(5),
        timed,
        CELLS.format(5),
        search,
        CELLS.format(2),
        "document.getElementById('count').textContent",
        "document.title",
    )
    count, drawn, _, ascending, spent, descending, _, filtered, left, title = found
    assert count == "50,000 of 50,000 rows"
    assert drawn < 200
    assert ascending == sorted(ascending, key=lambda text: float(text.split()[0].replace(",", "")))
    assert descending[0] == "0.1 MB"
    assert descending != ascending
    assert spent < 5000
    assert filtered == ["t00042"]
    assert left == "1 of 50,000 rows"
    assert title == "pruner plan"
