"""One answer against what was seen before: an image that is suddenly empty or missing is asked for again."""

import pytest

from pruner.engine import confirming
from pruner.engine.confirming import confirm
from pruner.engine.feed import Accepted
from pruner.engine.final_check import outcome_of
from pruner.engine.relisting import list_again
from pruner.engine.state import RunState
from pruner.errors import ListingError
from pruner.model import ReasonKind, Status, Tag, Target
from pruner.plan.records import Entry, ImageRecord

GOES = Entry(1, "lab", "web", "goes", "p", "p.yaml:1", ReasonKind.DELETE_RULE, "old", "sha256:a")
STAYS = Tag(Target("lab", "web", "stays"), "sha256:b")
THERE = Tag(GOES.target, "sha256:a")
SOME_STAY = ImageRecord("lab", "web", 2, 1)
ALL_GO = ImageRecord("lab", "web", 1, 1)


class Reader:
    """Answers lists with what it is given, one after the other, the last for good."""

    def __init__(self, *lists, images=("web",)):
        self.lists = list(lists)
        self._images = images

    async def tags(self, registry, image, want=None):
        return self.lists.pop(0) if len(self.lists) > 1 else self.lists[0]

    async def images(self, registry):
        return list(self._images)

    async def tag(self, target):
        return next((tag for tag in self.lists[0] or () if tag.target == target), None)


async def no_wait(seconds):
    return False


async def listed(reader, record, **options):
    return await list_again(reader, record, lambda names: None, no_wait, **options)


@pytest.mark.parametrize("answer", [None, []])
async def test_one_answer_that_says_there_is_nothing_is_not_believed(answer):
    assert await listed(Reader(answer, [STAYS]), SOME_STAY) == [STAYS]
    assert await listed(Reader(answer, [THERE]), ALL_GO, may_be_empty=True) == [THERE]


async def test_a_missing_image_that_is_listed_among_the_images_is_a_contradiction():
    with pytest.raises(ListingError, match="contradictory"):
        await listed(Reader(None), SOME_STAY)
    assert await listed(Reader(None, images=()), SOME_STAY) is None
    assert await listed(Reader(None), ALL_GO, may_be_empty=True) is None


async def confirmed(reader, record, monkeypatch):
    monkeypatch.setattr(confirming, "WAITS", (0.0, 0.0))
    ended = []
    accepted = [Accepted(GOES, outcome_of(GOES, Status.DELETED))]
    state = RunState([])
    state.sleep = no_wait
    await confirm(accepted, record, reader, state, lambda entry, outcome: ended.append(outcome.status))
    return ended


@pytest.mark.parametrize("answer", [None, []])
async def test_one_answer_without_tags_confirms_no_deletion(answer, monkeypatch):
    reader = Reader(answer, [STAYS, THERE])
    assert await confirmed(reader, SOME_STAY, monkeypatch) == [Status.FAILED]
    assert await confirmed(Reader(answer, [THERE]), ALL_GO, monkeypatch) == [Status.FAILED]


async def test_an_image_all_of_whose_tags_went_is_confirmed(monkeypatch):
    assert await confirmed(Reader(None), ALL_GO, monkeypatch) == [Status.DELETED]
    assert await confirmed(Reader([]), ALL_GO, monkeypatch) == [Status.DELETED]
    assert await confirmed(Reader([STAYS]), SOME_STAY, monkeypatch) == [Status.DELETED]


async def test_a_contradiction_leaves_it_unknown(monkeypatch):
    assert await confirmed(Reader(None), SOME_STAY, monkeypatch) == [Status.UNKNOWN]
