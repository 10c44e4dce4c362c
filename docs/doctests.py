"""The docstrings' examples as code, for mkdocstrings: paragraphs of `>>>` get fences."""

import re

import griffe

EXAMPLE = re.compile(r"^>>> (?:.+\n?)+", flags=re.M)


class Fences(griffe.Extension):
    """Puts every example of a docstring between fences."""

    def on_object(self, *, obj, **options):
        """Change the docstring of one module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = EXAMPLE.sub(
                lambda match: f"```pycon\n{match[0].rstrip()}\n```\n", obj.docstring.value
            )
