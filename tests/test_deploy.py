"""What deploy/ holds is valid, says what the program understands, and does what docs/deploy.md promises."""

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from conftest import policy_text, seed
from kustomization import containers, documents, pod_templates, render
from test_readme import ROOT
from test_watching import METRICS

from pruner.app.options import ConnectionOptions
from pruner.app.places import check_host
from pruner.cli.main import COMMANDS
from pruner.errors import ExitCode, RefusedError
from pruner.registry.ncr.endpoint import docker_registry_url, region_endpoint
from pruner.registry.ncr.protocol import REGION_PREFIXES

DEPLOY = ROOT / "deploy"
KUSTOMIZE = DEPLOY / "kustomize"
OVERLAYS = [KUSTOMIZE / "overlays/nightly", KUSTOMIZE / "overlays/sharded"]
KUBERNETES = "1.33"


def program_or_skip(name, what):
    """The path of a program; without it the test is skipped loudly."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"NOT TESTED: {what} (install {name})")
    return path


def options_of(name):
    """The options of a command, as its help names them."""
    command = importlib.import_module(f"pruner.cli.commands.{name.replace('-', '_')}").command
    return {option for parameter in command.params for option in parameter.opts}


def assert_understood(words):
    """The program knows the command and all of its options."""
    name, *arguments = words
    assert name in COMMANDS, words
    known = options_of(name)
    used = {word.partition("=")[0] for word in arguments if word.startswith("-")}
    assert used <= known, words


def commands_in(script):
    """The pruner commands in lines of shell, as lists of words."""
    for line in script.replace("\\\n", " ").splitlines():
        for found in re.finditer(r"(?<![\w./-])pruner ([a-z][a-z-]*)( [^|<>;]*)?", line):
            yield [found[1], *shlex.split(found[2] or "")]


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, **options)


def shellcheck(script, shell="bash"):
    program = program_or_skip("shellcheck", "shell steps")
    # The values that the runner sets are not assigned in the script.
    done = run(program, "--shell", shell, "--exclude", "SC2154", "-", input=script)
    assert done.returncode == 0, done.stdout


MANIFESTS = [
    path
    for path in sorted(KUSTOMIZE.rglob("*.yaml"))
    if path.name != "kustomization.yaml" and path.parent.name != "policies"
]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: str(path.relative_to(KUSTOMIZE)))
def test_each_manifest_is_valid(path):
    for document in documents(path):
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


@pytest.fixture(params=OVERLAYS, ids=lambda path: path.name)
def overlay(request):
    return request.param


def test_what_an_overlay_renders_is_valid_and_in_one_namespace(overlay):
    objects = render(overlay)
    for item in objects:
        kubernetes_validate.validate(item, KUBERNETES, strict=True)
    assert {item["metadata"].get("namespace") for item in objects} == {None, "pruner"}


def test_kustomize_renders_what_these_tests_look_at(overlay):
    kubectl = program_or_skip("kubectl", "the renderer of these tests beside kustomize")
    done = run(kubectl, "kustomize", overlay)
    assert done.returncode == 0, done.stderr
    plain = re.sub(r"\b(pruner-policies)-[0-9a-z]{10}\b", r"\1", done.stdout)
    theirs = list(yaml.safe_load_all(plain))

    def key(item):
        return item["kind"], item["metadata"]["name"]

    assert sorted(theirs, key=key) == sorted(render(overlay), key=key)


def test_what_an_overlay_refers_to_exists(overlay):
    objects = render(overlay)
    have = {(item["kind"], item["metadata"]["name"]) for item in objects}
    # The keys are a secret, and the certificates of the cluster are in every namespace.
    have |= {("Secret", "pruner-keys"), ("ConfigMap", "kube-root-ca.crt")}
    for pod in pod_templates(objects).values():
        assert ("ServiceAccount", pod["serviceAccountName"]) in have
        for volume in pod["volumes"]:
            sources = [volume, *volume.get("projected", {}).get("sources", ())]
            for source in sources:
                if "configMap" in source:
                    assert ("ConfigMap", source["configMap"]["name"]) in have
                if "persistentVolumeClaim" in source:
                    assert ("PersistentVolumeClaim", source["persistentVolumeClaim"]["claimName"]) in have
        for container in containers(pod):
            for source in container.get("envFrom", ()):
                assert ("Secret", source["secretRef"]["name"]) in have
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted <= {volume["name"] for volume in pod["volumes"]}
    for item in objects:
        if item["kind"] == "ClusterRoleBinding":
            assert ("ClusterRole", item["roleRef"]["name"]) in have
            assert {("ServiceAccount", subject["name"]) for subject in item["subjects"]} <= have


def test_pods_satisfy_the_restricted_profile(overlay):
    for pod in pod_templates(render(overlay)).values():
        assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        kinds = {kind for volume in pod["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"configMap", "emptyDir", "persistentVolumeClaim", "projected"}
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def test_only_the_step_that_asks_the_cluster_has_a_token_and_only_others_have_keys(overlay):
    objects = render(overlay)
    [account] = [item for item in objects if item["kind"] == "ServiceAccount"]
    assert account["automountServiceAccountToken"] is False
    for pod in pod_templates(objects).values():
        assert pod["automountServiceAccountToken"] is False
        for container in containers(pod):
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            asks = container["args"][0] == "in-use"
            assert ("token" in mounted) == asks
            assert not (asks and "envFrom" in container)


def test_access_is_granted_to_list_and_nothing_else(overlay):
    objects = render(overlay)
    assert not [item for item in objects if item["kind"] in {"Role", "RoleBinding"}]
    [role] = [item for item in objects if item["kind"] == "ClusterRole"]
    granted = {
        (group, resource): rule["verbs"]
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert set(granted) == {
        ("", "pods"),
        *(("apps", kind) for kind in ("deployments", "replicasets", "statefulsets", "daemonsets")),
        *(("batch", kind) for kind in ("jobs", "cronjobs")),
    }
    assert all(verbs == ["list"] for verbs in granted.values())
    assert all(rule.keys() == {"apiGroups", "resources", "verbs"} for rule in role["rules"])


def test_the_program_understands_the_command_lines_of_the_pods(overlay):
    for pod in pod_templates(render(overlay)).values():
        for container in containers(pod):
            assert_understood(container["args"])


def test_the_policies_of_the_base_are_correct(program, overlay):
    [policies] = [item for item in render(overlay) if item["kind"] == "ConfigMap"]
    for name, text in policies["data"].items():
        (program.folder / name).write_text(text)
        done = program("check", "--strict", name)
        assert done.returncode == 0, done.stdout + done.stderr


def job(name):
    [found] = [item for item in render(OVERLAYS[1]) if item["metadata"]["name"] == name]
    return found["spec"]


def test_shards_start_again_unless_no_shard_can_succeed():
    spec = job("pruner-apply")
    assert spec["completionMode"] == "Indexed"
    assert f"--shards={spec['completions']}" in spec["template"]["spec"]["containers"][0]["args"]
    assert spec["backoffLimitPerIndex"] >= 1
    disrupted, fails, counted = spec["podFailurePolicy"]["rules"]
    assert disrupted["action"] == "Ignore"
    assert disrupted["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert fails["action"] == "FailJob"
    assert set(fails["onExitCodes"]["values"]) == {
        ExitCode.BAD_INPUT,
        ExitCode.REFUSED,
        ExitCode.CREDENTIALS,
    }
    assert counted["action"] == "Count"
    killed = 137
    assert set(counted["onExitCodes"]["values"]) - {killed} == (
        set(ExitCode) - {ExitCode.DONE} - set(fails["onExitCodes"]["values"])
    )


def test_the_three_jobs_share_the_state_of_many_nodes():
    objects = render(OVERLAYS[1])
    [claim] = [item for item in objects if item["kind"] == "PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert "/state/plan.jsonl" in job("pruner-apply")["template"]["spec"]["containers"][0]["args"]
    for name, option in (("pruner-plan", "--output"), ("pruner-report", "--plan")):
        assert f"{option}=/state/plan.jsonl" in job(name)["template"]["spec"]["containers"][0]["args"]


FAKE_KUBECTL = """#!/bin/sh
# Answers as a cluster whose Jobs end as END_plan, END_apply and END_report say, at the second look.
echo "$*" >>"$FAKE/log"
case $* in
  kustomize*) printf 'metadata:\n  namespace: pruner\n' ;;
  *" get job "*)
    name=$5
    [ -f "$FAKE/$name" ] || exit 0
    if [ -f "$FAKE/$name.seen" ]; then cat "$FAKE/$name"; else echo 'there '; : >"$FAKE/$name.seen"; fi ;;
  *" delete job "*) rm -f "$FAKE"/pruner-* ;;
  *component=*)
    step=${5##*=}
    eval "end=\\${END_$step:-Complete}"
    echo "there $end " >"$FAKE/pruner-$step" ;;
  *" logs "*) echo 'the report' ;;
esac
"""


@pytest.fixture
def sharded(tmp_path):
    """Run the script with a kubectl that only writes down what it is asked."""
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "kubectl").write_text(FAKE_KUBECTL)
    (fake / "kubectl").chmod(0o755)

    def start(**env):
        paths = {"PATH": f"{fake}:{os.environ['PATH']}", "FAKE": str(fake), "PRUNER_POLL_SECONDS": "0"}
        done = run(KUSTOMIZE / "run-sharded", env={**paths, **env})
        log = (fake / "log").read_text().splitlines()
        return done, [line.rpartition("=")[2] for line in log if "component=" in line], log

    start.folder = fake
    return start


def test_the_steps_of_many_pods_follow_one_another(sharded):
    done, steps, log = sharded()
    assert (done.returncode, steps) == (0, ["plan", "apply", "report"]), done.stderr
    assert done.stdout == "the report\n"
    first = next(number for number, line in enumerate(log) if "delete job" in line)
    assert first < next(number for number, line in enumerate(log) if line.startswith("apply"))


@pytest.mark.parametrize(
    ("ends", "code", "steps"),
    [
        ({"END_plan": "Failed"}, 1, ["plan"]),
        ({"END_apply": "FailureTarget Failed"}, 1, ["plan", "apply", "report"]),
        ({"END_report": "Failed"}, 1, ["plan", "apply", "report"]),
    ],
)
def test_a_failed_step_is_told(sharded, ends, code, steps):
    done, applied, _ = sharded(**ends)
    assert (done.returncode, applied) == (code, steps), done.stderr


def test_shards_at_work_are_left_alone(sharded):
    (sharded.folder / "pruner-apply").write_text("there ")
    done, steps, log = sharded()
    assert (done.returncode, steps) == (3, [])
    assert not [line for line in log if "delete" in line]


# Observability

OUTCOMES = {"deleted", "gone", "changed", "failed", "unknown", "not_attempted"}
GUARDS = {
    *("max_deletions", "max_deletions_per_image", "max_deletions_per_registry", "max_share", "max_growth"),
    *("max_age", "in_use", "lock", "confirmation", "other"),
}
OBSERVABILITY = DEPLOY / "observability"


def metrics_in(expression):
    for name, pattern in re.findall(r'(outcome|guard)=~?"([^"]*)"', expression):
        assert set(pattern.split("|")) <= (OUTCOMES if name == "outcome" else GUARDS), expression
    return set(re.findall(r"\bpruner_[a-z_]+", expression))


def test_the_alert_rules_hold_and_pass_their_tests():
    promtool = program_or_skip("promtool", "alert rules")
    for command in (("check", "pruner.rules.yaml"), ("test", "pruner.rules.test.yaml")):
        done = run(promtool, command[0], "rules", command[1], cwd=OBSERVABILITY)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_alert_rules_use_metrics_that_exist_and_each_has_a_test():
    [group] = yaml.safe_load((OBSERVABILITY / "pruner.rules.yaml").read_text())["groups"]
    tests = yaml.safe_load((OBSERVABILITY / "pruner.rules.test.yaml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    for rule in group["rules"]:
        assert metrics_in(rule["expr"])
        assert metrics_in(rule["expr"]) <= METRICS
        mine = [bool(case["exp_alerts"]) for case in cases if case["alertname"] == rule["alert"]]
        assert set(mine) == {True, False}, rule["alert"]
    for test in tests:
        for series in test["input_series"]:
            assert metrics_in(series["series"]) <= METRICS


def test_the_dashboard_shows_every_metric_and_no_other():
    dashboard = json.loads((OBSERVABILITY / "grafana-dashboard.json").read_text())
    used = set()
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            used |= metrics_in(target["expr"])
    assert used == METRICS
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    squares = [
        (x, y)
        for place in (panel["gridPos"] for panel in dashboard["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(squares) == len(set(squares))
    assert max(x for x, _ in squares) < 24


def test_the_expressions_of_the_dashboard_are_promql(tmp_path):
    promtool = program_or_skip("promtool", "the expressions of the dashboard")
    dashboard = json.loads((OBSERVABILITY / "grafana-dashboard.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    plain = [text.replace("$__rate_interval", "1m").replace("$instance", ".*") for text in expressions]
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(plain)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = run(promtool, "check", "rules", tmp_path / "rules.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


# GitHub, GitLab and pre-commit

ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS = {step["name"]: step for step in ACTION["runs"]["steps"]}
GITLAB = yaml.safe_load((DEPLOY / "gitlab/pruner.gitlab-ci.yml").read_text())


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ("github-actions", "action.yml"),
        ("github-workflows", "deploy/github/pruner.yml"),
        ("gitlab-ci", "deploy/gitlab/pruner.gitlab-ci.yml"),
    ],
)
def test_the_file_follows_its_schema(schema, path):
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    done = run(*checker, ROOT / path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_input_is_put_into_a_script():
    for step in STEPS.values():
        assert "${{" not in step["run"]
    workflow = yaml.safe_load((DEPLOY / "github/pruner.yml").read_text())
    for each in workflow["jobs"].values():
        assert not [step for step in each["steps"] if "run" in step]
    assert workflow["permissions"] == {"contents": "read"}


def test_pull_requests_see_no_key():
    jobs = yaml.safe_load((DEPLOY / "github/pruner.yml").read_text())["jobs"]
    assert "secrets." not in json.dumps(jobs["review"])
    assert "environment" not in jobs["review"]
    assert jobs["review"]["if"] == "github.event_name == 'pull_request'"


def test_the_workflow_gives_the_action_what_it_takes():
    jobs = yaml.safe_load((DEPLOY / "github/pruner.yml").read_text())["jobs"]
    uses = [
        step["with"] for each in jobs.values() for step in each["steps"] if "OWNER/pruner" in step["uses"]
    ]
    assert [given["command"] for given in uses] == ["test", "diff", "run", "inventory"]
    for given in uses:
        assert given.keys() <= ACTION["inputs"].keys()
        assert_understood([given["command"], *given.get("arguments", "").split()])


@pytest.mark.parametrize("name", STEPS)
def test_the_steps_of_the_action_are_sound(name):
    shellcheck(STEPS[name]["run"])
    for words in commands_in(STEPS[name]["run"]):
        assert_understood(words)


def script_of(name):
    return "\n".join(GITLAB[name]["script"])


@pytest.mark.parametrize("name", [name for name, value in GITLAB.items() if "script" in value])
def test_the_scripts_of_the_gitlab_template_are_sound(name):
    shellcheck(script_of(name), "sh")
    for words in commands_in(script_of(name)):
        assert_understood(words)


@pytest.mark.parametrize("path", ["deploy/build-image", "deploy/kustomize/run-sharded"])
def test_the_scripts_are_sound(path):
    shellcheck((ROOT / path).read_text(), "sh")
    assert os.access(ROOT / path, os.X_OK)


OLD_POLICY = policy_text(delete="[{tags: ['pr-*'], older_than: 200d}]")
NEW_POLICY = policy_text(delete="[{tags: ['pr-*'], older_than: 50d}]")
NEWLY = "acme/web:pr-2"
TAGS = {"web": [{"name": "pr-1", "age_days": 300}, "pr-2", {"name": "pr-3", "age_days": 1}, "main"]}


def git(folder, *arguments):
    who = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "init.defaultBranch=main"]
    done = run("git", *who, *arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def change(program, emulated, tmp_path):
    """A repository whose last commit makes a policy delete more, with an inventory of its registry."""
    emulator = emulated(seed=seed(TAGS))
    there = program.at(emulator)
    there.env["PATH"] = f"{Path(sys.executable).parent}:{there.env['PATH']}"
    repository = tmp_path / "repository"
    (repository / "policies").mkdir(parents=True)
    there.folder = repository
    git(repository, "init", "--quiet")
    there.emulator = emulator
    commits = []
    for policy in (OLD_POLICY, NEW_POLICY):
        (repository / "policies/web.yaml").write_text(policy)
        git(repository, "add", "policies")
        git(repository, "commit", "--quiet", "--message", "A policy")
        commits.append(git(repository, "rev-parse", "HEAD"))
    there.commits = commits
    assert there("inventory", "-o", "inventory.jsonl.gz").returncode == 0
    return there


def write_policy_test(there, deleted):
    """Put a test beside the policy, which says what it deletes."""
    (there.folder / "policies/web.test.yaml").write_text(
        "version: 1\ntests:\n  - name: old ones go\n    inventory:\n      acme/web:\n"
        "        - {tag: pr-1, age: 300d}\n        - {tag: main, age: 300d}\n"
        f"    expect: {{deleted: {deleted}}}\n"
    )


def act(there, step="Run pruner", **given):
    """Run a step of the action as the runner does, and read the summary of the job."""
    inputs = {"COMMAND": "diff", "POLICIES": "policies", "ARGUMENTS": "", "INVENTORY": "", "STATE_DIR": ""}
    inputs["PRUNER_ONLY_HOSTS"] = "127.0.0.1"
    script = there.folder.parent / "step.sh"
    script.write_text(STEPS[step]["run"])
    summary = there.folder.parent / "summary.md"
    files = {"GITHUB_STEP_SUMMARY": str(summary), "RUNNER_TEMP": str(there.folder.parent), "BASE": ""}
    done = run(
        *("bash", "--noprofile", "--norc", "-e", "-o", "pipefail", script),
        env={**there.env, **files, **inputs, **given},
        cwd=there.folder,
    )
    return done, summary.read_text() if summary.exists() else ""


def test_the_steps_take_what_the_action_gives_them():
    assert STEPS["Run pruner"]["env"].keys() == {
        *("COMMAND", "POLICIES", "INVENTORY", "STATE_DIR", "ARGUMENTS", "BASE", "PRUNER_ONLY_HOSTS")
    }
    given = " ".join(value for step in STEPS.values() for value in step["env"].values())
    assert set(re.findall(r"inputs\.([a-z-]+)", given)) == ACTION["inputs"].keys()


def test_a_pull_request_shows_what_would_newly_go(change):
    done, summary = act(change, INVENTORY="inventory.jsonl.gz", BASE=change.commits[0])
    assert done.returncode == 0, done.stderr
    assert "1 would newly go, 0 would newly stay" in summary
    assert NEWLY in summary
    assert "acme/web:pr-1" not in summary
    assert change.emulator.counters.deleted == 0


def test_a_base_that_was_not_fetched_is_fetched(change, tmp_path):
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{change.folder}", str(shallow))
    shutil.copy(change.folder / "inventory.jsonl.gz", shallow)
    change.folder = shallow
    done, summary = act(change, INVENTORY="inventory.jsonl.gz", BASE=change.commits[0])
    assert done.returncode == 0, done.stderr
    assert NEWLY in summary


def test_the_first_policies_of_all_are_shown_as_a_plan(change):
    git(change.folder, "mv", "policies", "rules")
    done, summary = act(change, POLICIES="rules", INVENTORY="inventory.jsonl.gz", BASE=change.commits[0])
    assert done.returncode == 0, done.stderr
    assert "There were no policies before." in summary
    assert "2 tags of 1 image would go" in summary


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"INVENTORY": "inventory.jsonl.gz"}, "'base' has to name a commit"),
        ({"BASE": "HEAD"}, "'inventory' has to name a file"),
        ({"COMMAND": "erase"}, "unknown command"),
    ],
)
def test_what_is_missing_is_said(change, given, says):
    done, _ = act(change, **given)
    assert done.returncode == 2
    assert done.stdout.startswith("::error::")
    assert says in done.stdout


def test_a_scheduled_run_deletes_and_says_so(change):
    state = change.folder / ".pruner-state"
    done, summary = act(change, COMMAND="run", STATE_DIR=str(state), ARGUMENTS="--deadline=55m\n--durable\n")
    assert done.returncode == 0, done.stderr
    assert change.emulator.counters.deleted == 2
    assert "| deleted | 2 |" in summary
    assert list(state.glob("runs/*/report.json"))


@pytest.mark.parametrize("command", ["check", "test", "plan", "inventory"])
def test_the_other_commands_of_the_action_work(change, command):
    write_policy_test(change, "['acme/web:pr-1']")
    done, summary = act(change, COMMAND=command, INVENTORY="" if command == "test" else "inventory.jsonl.gz")
    assert done.returncode == 0, done.stderr
    assert ("2 tags of 1 image would go" in summary) == (command == "plan")
    assert change.emulator.counters.deleted == 0


def test_inputs_are_words_and_never_shell(change):
    done, _ = act(
        change, COMMAND="plan", POLICIES="policies; touch owned", ARGUMENTS="$(touch owned)\n`touch owned`"
    )
    assert done.returncode == 2
    assert not (change.folder / "owned").exists()


@pytest.mark.slow
def test_the_action_installs_the_program(change):
    paths = change.folder.parent / "path"
    keep = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_"))}
    change.env.update(keep)
    change.env.pop("PYTHONPATH", None)
    done, _ = act(
        change, "Install pruner", PYTHON=sys.executable, GITHUB_PATH=str(paths), GITHUB_ACTION_PATH=str(ROOT)
    )
    assert done.returncode == 0, done.stderr
    installed = Path(paths.read_text().strip()) / "pruner"
    assert run(installed, "--version", env={"PATH": os.environ["PATH"]}).returncode == 0


def gitlab(there, name, **more):
    """Run the script of a job as a runner does."""
    variables = {**GITLAB["variables"], **GITLAB[name].get("variables", {})}
    variables = {**variables, "PRUNER_ONLY_HOSTS": "127.0.0.1", **more}
    variables = {key: value.replace("$CI_PROJECT_DIR", str(there.folder)) for key, value in variables.items()}
    return run("sh", "-e", env={**there.env, **variables}, cwd=there.folder, input=script_of(name))


def test_a_merge_request_shows_what_would_newly_go(change):
    write_policy_test(change, "['acme/web:pr-1']")
    for name in ("pruner-before", "pruner-diff"):
        done = gitlab(change, name, CI_MERGE_REQUEST_DIFF_BASE_SHA=change.commits[0])
        assert done.returncode == 0, done.stderr
    [page] = GITLAB["pruner-diff"]["artifacts"]["paths"]
    assert "1 would newly go" in (change.folder / page).read_text()
    assert NEWLY in (change.folder / page).read_text()
    assert change.emulator.counters.deleted == 0


def test_the_scheduled_job_deletes_and_keeps_state_report_and_inventory(change):
    (change.folder / "inventory.jsonl.gz").unlink()
    done = gitlab(change, "pruner-run")
    assert done.returncode == 0, done.stderr
    assert change.emulator.counters.deleted == 2
    for path in (".pruner-state/runs", "pruner-report/summary.md", "inventory.jsonl.gz"):
        assert (change.folder / path).exists()


# Where keys may go


def pinned():
    """What each template says of the hosts that keys may go to."""
    yield "action.yml", ACTION["inputs"]["only-hosts"]["default"]
    yield "gitlab", GITLAB["variables"]["PRUNER_ONLY_HOSTS"]
    for overlay in OVERLAYS:
        for name, pod in pod_templates(render(overlay)).items():
            for container in containers(pod):
                if "envFrom" in container:
                    [own] = [item for item in container["env"] if item["name"] == "PRUNER_ONLY_HOSTS"]
                    yield f"{overlay.name}: {name}", own["value"]
    [own] = [value for value in settings("pruner.service")["Environment"] if "ONLY_HOSTS" in value]
    yield "pruner.service", own.strip('"').partition("=")[2]


def test_every_template_sends_keys_to_ncr_only():
    found = dict(pinned())
    assert len(found) == 6
    assert len(set(found.values())) == 1, found
    options = ConnectionOptions(only_hosts=tuple(found["gitlab"].split()))
    for region in REGION_PREFIXES:
        check_host(region_endpoint(region).origin, options)
        check_host(docker_registry_url(region, "acme"), options)
    for origin in ("https://evil.example.com", "https://ncr.ntruss.com.example.com", "http://127.0.0.1:1"):
        with pytest.raises(RefusedError):
            check_host(origin, options)


def test_a_policy_that_names_another_endpoint_gets_no_signature_from_the_action(change):
    for command in ("plan", "run"):
        done, _ = act(change, COMMAND=command, PRUNER_ONLY_HOSTS=ACTION["inputs"]["only-hosts"]["default"])
        assert done.returncode == ExitCode.REFUSED
        assert "127.0.0.1 is not one of the hosts" in done.stderr
    asked = change.emulator.counters.requests
    done = gitlab(change, "pruner-run", PRUNER_ONLY_HOSTS=GITLAB["variables"]["PRUNER_ONLY_HOSTS"])
    assert done.returncode == ExitCode.REFUSED
    assert change.emulator.counters.requests == asked


HOOKS = {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}


def hook(there, name):
    """Run a hook as pre-commit does: only if a file matches, with no names of files."""
    files = git(there.folder, "ls-files").splitlines()
    told = HOOKS[name]
    wanted = [
        file
        for file in files
        if re.search(told["files"], file) and not re.search(told.get("exclude", "^$"), file)
    ]
    assert told["pass_filenames"] is False
    done = (
        run(*shlex.split(told["entry"]), *told["args"], cwd=there.folder, env=there.env) if wanted else None
    )
    return wanted, done


def test_the_hooks_pass_and_fail_as_they_should(change):
    write_policy_test(change, "[]")
    (change.folder / "README.md").write_text("no policy\n")
    git(change.folder, "add", "--all")
    wanted, checked = hook(change, "pruner-check")
    assert wanted == ["policies/web.yaml"]
    assert checked.returncode == 0, checked.stderr
    wanted, tested = hook(change, "pruner-test")
    assert wanted == ["policies/web.test.yaml", "policies/web.yaml"]
    assert tested.returncode == 1
    (change.folder / "policies/web.yaml").write_text("version: 1\npolicies: []\nwrong: 1\n")
    assert hook(change, "pruner-check")[1].returncode == ExitCode.BAD_INPUT


# systemd

UNITS = DEPLOY / "systemd"


def settings(unit):
    """The settings of a unit; those that are given several times have several values."""
    found = {}
    for line in (UNITS / unit).read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def test_the_units_are_correct(tmp_path):
    analyze = program_or_skip("systemd-analyze", "systemd units")
    for unit in ("pruner.service", "pruner.timer"):
        text = (UNITS / unit).read_text()
        # The program has to be there for this check, not where a machine in use would have it.
        (tmp_path / unit).write_text(text.replace("/opt/pruner/bin/pruner", "/bin/true"))
    done = run(analyze, "verify", tmp_path / "pruner.service", tmp_path / "pruner.timer")
    assert done.returncode == 0, done.stderr
    assert "pruner" not in done.stderr


def test_the_service_runs_what_the_program_understands_and_is_confined():
    service = settings("pruner.service")
    [command] = service["ExecStart"]
    program, *words = shlex.split(command)
    assert program == "/opt/pruner/bin/pruner"
    assert_understood(words)
    assert {int(code) for code in service["SuccessExitStatus"][0].split()} == {
        ExitCode.PARTIAL,
        ExitCode.TERMINATED,
    }
    for name, value in {
        "DynamicUser": "yes",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "StateDirectory": "pruner",
        "CapabilityBoundingSet": "",
    }.items():
        assert service[name] == [value]
    assert service["EnvironmentFile"] == ["/etc/pruner/keys.env"]
    assert not [value for value in service["Environment"] if "KEY" in value]


# The page

PAGE = (ROOT / "docs/deploy.md").read_text()


def test_the_page_names_every_file_and_only_such_as_exist():
    named = set(re.findall(r"\]\(\.\./([^)#]+)\)", PAGE))
    for path in named:
        assert (ROOT / path).exists(), path
    for path in DEPLOY.iterdir():
        assert any(name.startswith(f"deploy/{path.name}") for name in named), path
    assert {"action.yml", ".pre-commit-hooks.yaml"} <= named


def test_the_program_understands_the_commands_of_the_page():
    commands = [
        words for block in re.findall(r"```\w*\n(.*?)```", PAGE, re.DOTALL) for words in commands_in(block)
    ]
    assert commands
    for words in commands:
        assert_understood(words)


def test_the_overlay_of_the_page_renders(tmp_path):
    kubectl = program_or_skip("kubectl", "the overlay of docs/deploy.md")
    [text] = re.findall(r"```yaml\n(# kustomization\.yaml.*?)```", PAGE, re.DOTALL)
    shutil.copytree(KUSTOMIZE, tmp_path / "kustomize")
    mine = tmp_path / "kustomize/overlays/mine"
    shutil.copytree(ROOT / "policies", mine / "policies")
    (mine / "kustomization.yaml").write_text(text)
    done = run(kubectl, "kustomize", mine)
    assert done.returncode == 0, done.stderr
    objects = list(yaml.safe_load_all(done.stdout))
    assert {item["metadata"].get("namespace") for item in objects} == {None, "registry-care"}
    [pod] = pod_templates(objects).values()
    assert {container["image"] for container in containers(pod)} == {
        "registry.example.com/tools/pruner:0.1.0"
    }
    [policies] = [item for item in objects if item["kind"] == "ConfigMap"]
    assert policies["data"].keys() == {"ci-builds.yaml", "releases.yaml"}
