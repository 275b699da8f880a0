"""The page on other registries tells the truth: its commands run, and print what it shows."""

import re
import shlex

import pytest
from oci_server import LOGIN, OciServer
from real_registry import PROGRAM, running
from test_oci_real import ago
from test_readme import ROOT, assert_shows, sessions

PAGE = (ROOT / "docs/registries.md").read_text()
[POLICY] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
[CONSOLE] = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.skipif(PROGRAM is None, reason="NOT TESTED on a real registry: install docker-registry")
def test_the_example_does_what_the_page_shows(program, tmp_path):
    content = OciServer()
    for number in range(6):
        content.image("team/app", f"pr-{number}", ago(10 * number), f"build {number}")
    part = content.image("team/web", "pr-9-amd64", ago(60), "amd64")
    content.index("team/web", "release", [part, content.image("team/web", None, ago(60), "arm64")])
    content.image("team/web", "pr-1", ago(20), "one")
    content.image("team/web", "pr-2", ago(21), "two")
    content.image("team/legacy", "2021-01", ago(1000), "legacy")
    program.env.update(PRUNER_OCI_USERNAME=LOGIN[0], PRUNER_OCI_PASSWORD=LOGIN[1])
    with running(tmp_path / "registry") as registry:
        registry.push(content)
        (tmp_path / "lab.yaml").write_text(POLICY.replace("http://127.0.0.1:5000", registry.url))
        for command, shown in sessions(CONSOLE):
            name, *arguments = shlex.split(command)
            assert name == "pruner"
            done = program(*arguments)
            assert done.returncode == 0, done.stderr
            printed = [re.sub(r"sha256:[0-9a-f]+", "sha256:…", line) for line in done.stdout.splitlines()]
            assert_shows(shown, printed)
