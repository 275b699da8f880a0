"""Policies of other tools, said in ours. Pure: text in, a policy file out.

Each rule becomes one that selects the same images, with a comment that says where it came from. What cannot
be said exactly is an error; never does a policy delete more than the original. An image is what a digest
names, with all its tags; images without a tag are outside of what pruner sees and deletes.
"""

from collections.abc import Callable
from typing import Final

from pruner.policy.imports import acr, ecr, gar, harbor
from pruner.policy.imports.draft import Draft

IMPORTERS: Final[dict[str, Callable[[Draft, str], None]]] = {
    "acr": acr.read,
    "ecr": ecr.read,
    "gar": gar.read,
    "harbor": harbor.read,
}
