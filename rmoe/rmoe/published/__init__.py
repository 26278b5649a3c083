"""Published checkpoints: whose layout it is, the state dict inside, and its way into our models and back.

``reading`` opens files, ``layouts`` renames, ``loading`` puts a renamed state into a model and reports; ``swin_moe``
gathers files of many ranks.
"""

from rmoe.published.layouts import LAYOUTS, Layout, network_options, recognise, to_ours, to_theirs
from rmoe.published.loading import (
    Report,
    build_backbone,
    build_classifier,
    import_backbone,
    import_classifier,
    load,
    resize_bias_table,
)
from rmoe.published.reading import read, unwrap
from rmoe.published.swin_moe import (
    build_swin_moe,
    export_swin_moe,
    export_tutel_layer,
    import_swin_moe,
    import_tutel,
    import_tutel_layer,
)

__all__ = [
    "LAYOUTS",
    "Layout",
    "Report",
    "build_backbone",
    "build_classifier",
    "build_swin_moe",
    "export_swin_moe",
    "export_tutel_layer",
    "import_backbone",
    "import_classifier",
    "import_swin_moe",
    "import_tutel",
    "import_tutel_layer",
    "load",
    "network_options",
    "read",
    "recognise",
    "resize_bias_table",
    "to_ours",
    "to_theirs",
    "unwrap",
]
