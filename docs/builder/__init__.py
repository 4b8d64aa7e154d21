"""The documentation site: what turns the live files into pages. `hatnet docs` builds it.

`mathematics` and `code` are extensions of Python-Markdown that mkdocs.yml names, `tutorials` runs the scripts,
`traceability` holds equations, code and tests against one another, `build` puts all of it in order.
Needs the extra `docs`: `python -m pip install -e ".[docs]"`.
"""
