"""The registry service behind the gateway: carries operations out on the store and answers them."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

from pruner.emulator.answers import (
    NO_CONTENT,
    Answer,
    json_answer,
    permission_denied,
    registry_error,
    url_not_found,
)
from pruner.emulator.bodies import (
    image_detail_fields,
    image_fields,
    misshape,
    registry_fields,
    tag_fields,
)
from pruner.emulator.config import EmulatorConfig
from pruner.emulator.counters import Counters
from pruner.emulator.faults import Fault, split_subject
from pruner.emulator.paging import PageRequest, envelope, read_page, spoil
from pruner.emulator.store import Image, Registry, Store, Tag
from pruner.emulator.target import FORBIDDEN, Call, Operation


class RegistryService:
    """One account's registries, with what was deleted of them."""

    def __init__(
        self, config: EmulatorConfig, store: Store, counters: Counters, clock: Callable[[], float]
    ) -> None:
        """Serve a store; ``clock`` gives seconds since the epoch."""
        self.store = store
        self.deleted_tags: list[tuple[str, str, str]] = []
        """Registry, image and tag of every DELETE that removed one, in order."""
        self._config = config
        self._counters = counters
        self._clock = clock
        # Hashes only: the names of a million deleted tags would not fit the memory meant for an emulator.
        self._deleted_hashes: set[int] = set()
        self._inserted = 0

    def answer(self, call: Call, faults: Sequence[Fault] = ()) -> Answer:
        """Carry one operation out; ``faults`` are those that alter listings and items."""
        operation = call.operation
        if operation in FORBIDDEN:
            return registry_error(403, "The emulator deletes tags only.")
        if operation is Operation.UNKNOWN:
            return url_not_found()
        refusal = self._denial(call)
        if refusal is not None:
            return refusal
        if operation is Operation.LIST_REGISTRIES:
            return self._list_registries(call, faults)
        registry = self.store.registries.get(call.registry)
        if registry is None:
            return self._missing(404, f"Registry {call.registry} does not exist.")
        if operation is Operation.REGISTRY_INFO:
            return json_answer(200, registry_fields(registry))
        if operation is Operation.LIST_IMAGES:
            return self._list_images(call, registry, faults)
        image = registry.images.get(call.image)
        if image is None:
            return self._missing(404, f"Image {call.image} does not exist.")
        return self._answer_image(call, registry, image, faults)

    def move(self, subject: str, digest: str | None = None) -> bool:
        """Re-push a tag: another digest, updated now. False if there is no ``registry/image:tag``."""
        registry, image_name, tag = split_subject(subject)
        image = self.store.image(registry, image_name)
        now_ms = self._now_ms()
        pushed = digest or f"sha256:{sha256(f'{subject}@{now_ms}'.encode()).hexdigest()}"
        return image is not None and image.tags.move(tag, pushed, now_ms)

    def remove(self, subject: str) -> bool:
        """Take a tag away as somebody else would; it is not counted as deleted."""
        registry, image_name, tag = split_subject(subject)
        image = self.store.image(registry, image_name)
        return image is not None and image.tags.remove(tag) is not None

    def run_hook(self, fault: Fault) -> None:
        """Do what a hook says."""
        if fault.action == "move":
            self.move(fault.target or "")
        else:
            self.remove(fault.target or "")

    def _denial(self, call: Call) -> Answer | None:
        if call.registry and call.registry in self._config.deny_registries:
            if self._config.deny_with == "gateway":
                return permission_denied()
            return registry_error(403, f"Access to registry {call.registry} is denied.")
        if self._config.read_only and call.method == "DELETE":
            return permission_denied()
        return None

    def _answer_image(self, call: Call, registry: Registry, image: Image, faults: Sequence[Fault]) -> Answer:
        if call.operation is Operation.LIST_TAGS:
            return self._list_tags(call, image, faults)
        if call.operation is Operation.IMAGE_DETAIL:
            return json_answer(200, image_detail_fields(registry, image))
        if call.operation is Operation.DELETE_TAG:
            return self._delete_tag(call, image)
        tag = image.tags.get(call.tag)
        if tag is None:
            return self._missing_tag(call)
        item = tag_fields(registry.name, image.name, tag)
        misshape(item, [fault for fault in faults if fault.changes_shape], self._now_ms())
        return json_answer(200, item)

    def _delete_tag(self, call: Call, image: Image) -> Answer:
        key = hash((call.registry, call.image, call.tag))
        tag = image.tags.remove(call.tag)
        if tag is None:
            self._counters.duplicate_deletes += key in self._deleted_hashes
            return self._missing_tag(call)
        self._counters.deleted += 1
        self._deleted_hashes.add(key)
        if self._config.record_deleted:
            self.deleted_tags.append((call.registry, call.image, call.tag))
        if self._config.untag_siblings:
            for name in image.tags.siblings(tag):
                image.tags.remove(name)
                self._counters.siblings_untagged += 1
        return NO_CONTENT

    def _list_registries(self, call: Call, faults: Sequence[Fault]) -> Answer:
        registries = list(self.store.registries.values())
        return self._page(
            call,
            faults,
            lambda: len(registries),
            lambda wanted: [registry_fields(item) for item in registries[wanted.start : wanted.stop]],
        )

    def _list_images(self, call: Call, registry: Registry, faults: Sequence[Fault]) -> Answer:
        images = list(registry.images.values())
        return self._page(
            call,
            faults,
            lambda: len(images),
            lambda wanted: [image_fields(registry, item) for item in images[wanted.start : wanted.stop]],
        )

    def _list_tags(self, call: Call, image: Image, faults: Sequence[Fault]) -> Answer:
        for fault in faults:
            self._shift(image, fault)
        return self._page(
            call,
            faults,
            lambda: len(image.tags),
            lambda wanted: [
                tag_fields(call.registry, image.name, tag)
                for tag in image.tags.page(wanted.start, wanted.stop)
            ],
        )

    def _page(
        self,
        call: Call,
        faults: Sequence[Fault],
        count: Callable[[], int],
        items: Callable[[PageRequest], list[dict[str, Any]]],
    ) -> Answer:
        try:
            wanted = read_page(call, self._config.page_size_default, self._config.page_size_max)
        except ValueError as error:
            return registry_error(400, str(error))
        body = envelope(wanted, count(), items(wanted))
        if faults:
            spoil(body, wanted, [fault for fault in faults if fault.changes_page])
            shapes = [fault for fault in faults if fault.changes_shape]
            for item in body.get("results", ()):
                misshape(item, shapes, self._now_ms())
        return json_answer(200, body)

    def _shift(self, image: Image, fault: Fault) -> None:
        """Change the front of a listing while a client is in the middle of it."""
        if fault.action == "shift_delete":
            for tag in image.tags.page(0, 1):
                image.tags.remove(tag.name)
        elif fault.action == "shift_insert":
            self._inserted += 1
            name = f"inserted-{self._inserted}"
            digest = f"sha256:{sha256(f'{image.name}:{name}'.encode()).hexdigest()}"
            image.tags.add_first(Tag(name, digest, 1_000_000, self._now_ms()))

    def _missing_tag(self, call: Call) -> Answer:
        return self._missing(self._config.missing_tag_status, f"Tag {call.tag} does not exist.")

    def _missing(self, status: int, message: str) -> Answer:
        self._counters.missing += 1
        return registry_error(status, message)

    def _now_ms(self) -> int:
        return round(self._clock() * 1000)
