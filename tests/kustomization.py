"""A small renderer of kustomizations: as much of them as the overlays of deploy/ use, and no more."""

from pathlib import Path

import yaml

KNOWN = {"apiVersion", "kind", "namespace", "resources", "patches", "configMapGenerator"}
CLUSTER_WIDE = {"ClusterRole", "ClusterRoleBinding"}


def documents(path: Path) -> list[dict]:
    """The objects of a YAML file."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def render(folder: Path) -> list[dict]:
    """The objects of a kustomization. Names of generated ConfigMaps get no hash."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    unknown = kustomization.keys() - KNOWN
    assert not unknown, f"{folder}: the renderer does not know {unknown}"
    objects = []
    for resource in kustomization.get("resources", ()):
        path = folder / resource
        objects += render(path) if path.is_dir() else documents(path)
    objects += [_config_map(folder, entry) for entry in kustomization.get("configMapGenerator", ())]
    for patch in kustomization.get("patches", ()):
        assert patch.keys() == {"path"}
        for change in documents(folder / patch["path"]):
            _patch(objects, change)
    if namespace := kustomization.get("namespace"):
        _set_namespace(objects, namespace)
    return objects


def _config_map(folder: Path, entry: dict) -> dict:
    assert entry.keys() == {"name", "files"}
    data = {Path(name).name: (folder / name).read_text() for name in entry["files"]}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": entry["name"]}, "data": data}


def _patch(objects: list[dict], change: dict) -> None:
    [target] = [
        item
        for item in objects
        if item["kind"] == change["kind"] and item["metadata"]["name"] == change["metadata"]["name"]
    ]
    _merge(target, change)


def _merge(target: dict, change: dict) -> None:
    """Mappings are merged, all else is replaced; lists with merge keys are not patched here."""
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            assert not any(isinstance(item, dict) for item in value if isinstance(value, list))
            target[key] = value


def _set_namespace(objects: list[dict], namespace: str) -> None:
    accounts = {item["metadata"]["name"] for item in objects if item["kind"] == "ServiceAccount"}
    for item in objects:
        if item["kind"] not in CLUSTER_WIDE:
            item["metadata"]["namespace"] = namespace
        for subject in item.get("subjects", ()):
            assert subject["name"] in accounts
            subject["namespace"] = namespace


def pod_templates(objects: list[dict]) -> dict[str, dict]:
    """The pod specification of each workload, by ``kind/name``."""
    found = {}
    for item in objects:
        spec = item.get("spec", {})
        if item["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if "template" in spec:
            found[f"{item['kind']}/{item['metadata']['name']}"] = spec["template"]["spec"]
    return found


def containers(pod: dict) -> list[dict]:
    """All containers of a pod, those that prepare it first."""
    return [*pod.get("initContainers", ()), *pod["containers"]]
