"""How other people's checkpoints are laid out, and how they map onto our modules, both ways."""

from luperson_nl.published.exporting import EXPORTS, export_published
from luperson_nl.published.importing import Published, import_published
from luperson_nl.published.pretraining import export_pretraining, import_pretraining, restore
from luperson_nl.published.reading import find_state, layout_of, read

__all__ = [
    "EXPORTS",
    "Published",
    "export_pretraining",
    "export_published",
    "find_state",
    "import_pretraining",
    "import_published",
    "layout_of",
    "read",
    "restore",
]
