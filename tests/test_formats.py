"""Formats are contracts: files that an earlier version wrote are read, and the documents describe them."""

import json
from pathlib import Path

import msgspec

from pruner.engine import journal as journal_format
from pruner.engine.journal import Progress
from pruner.plan import in_use_file, inventory_file, records
from pruner.plan.file import open_plan
from pruner.plan.in_use_file import InUseFile
from pruner.plan.inventory_file import InventoryFile
from pruner.policy.document import json_schema
from pruner.policy.loader import load_policies
from pruner.report import write
from pruner.report.summary import summarise

ROOT = Path(__file__).parent.parent
STORED = Path(__file__).parent / "stored"
FORMATS = (ROOT / "docs/formats.md").read_text()


def test_a_stored_policy_is_read():
    (policy,) = load_policies([str(STORED / "policy-1.yaml")]).policies
    assert len(policy.targets) == 6


def test_a_stored_plan_and_its_journal_are_read():
    plan = open_plan(STORED / "plan-1.jsonl")
    assert plan.entries_left == 6
    assert Progress.of(STORED / "journal-1.jsonl").done.count == 6
    record, summary = summarise(plan, STORED / "journal-1.jsonl")
    report = json.loads((STORED / "report-1.json").read_bytes())
    assert {status.value: count for status, count in summary.counts.items()} == {"deleted": 5, "gone": 1}
    assert report["counts"]["deleted"] == 5
    assert record.end is not None


def test_a_stored_inventory_is_read():
    images = list(InventoryFile(STORED / "inventory-1.jsonl").images())
    assert [(item.image, len(item.tags or ())) for item in images] == [("hello/world", 3), ("legacy/api", 24)]


def test_a_stored_file_of_what_is_in_use_is_read():
    found = InUseFile(STORED / "in-use-1.jsonl")
    assert [source.name for source in found.header.sources] == ["prod", "compose", "staging"]
    assert found.header.sources[2].missing == ("pods: HTTP 403: pods is forbidden",)
    assert [(use.workload, use.reference, use.digest is None) for use in found.uses] == [
        ("Deployment shop/web", "acme.kr.ncr.ntruss.com/web:v1", True),
        ("ReplicaSet shop/web-5d8", "acme.kr.ncr.ntruss.com/web:v1", False),
        ("compose.yaml:4", "nginx:1.27", True),
    ]


def test_the_shipped_schema_is_the_one_that_is_printed():
    assert json.loads((ROOT / "pruner/policy.schema.json").read_text()) == json_schema()


def test_every_field_of_every_format_is_described():
    structs = [records.Header, records.ImageRecord, records.Entry, records.KeptTarget, records.Footer]
    structs += [journal_format.Start, journal_format.Claim, journal_format.Done, journal_format.RegistryStop]
    structs += [journal_format.Tick, journal_format.End, inventory_file.InventoryHeader]
    structs += [records.RegistryFacts, records.InUseFacts]
    structs += [in_use_file.InUseHeader, in_use_file.Source, in_use_file.Use]
    fields = {field.encode_name for struct in structs for field in msgspec.structs.fields(struct)}
    fields |= set(json.loads((STORED / "report-1.json").read_bytes()))
    fields |= set(write.CSV_COLUMNS)
    assert [name for name in sorted(fields) if f"`{name}`" not in FORMATS] == []
