"""Arguments of the two trainings by the words that all commands share, as the keys of their configs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

#: Word of the grammar -> keys of a config.
WORDS: dict[str, tuple[str, ...]] = {
    "--data": ("--data.root",),
    "--weights": ("--model.weights",),
    "--seed": ("--seed_everything", "--data.seed"),
}
FLAGS = {"--save_labels": "--model.save_labels"}


def spelled_out(arguments: Sequence[str], words: Mapping[str, Sequence[str]] = WORDS) -> list[str]:
    """``--data FOLDER`` as ``--data.root FOLDER``, ``--save-labels`` as ``--model.save_labels true``, and so on."""
    result: list[str] = []
    rest = iter(arguments)
    for word in rest:
        name, equals, value = word.partition("=")
        name = name.replace("-", "_").replace("__", "--", 1) if name.startswith("--") else name
        if name in FLAGS and not equals:
            result += [FLAGS[name], "true"]
        elif name in words:
            given = value if equals else next(rest, None)
            result += [part for key in words[name] for part in ((key,) if given is None else (key, given))]
        else:
            result.append(word)
    return result
