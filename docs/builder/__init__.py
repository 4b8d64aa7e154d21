"""The machinery that builds the site. It is not part of the installed package: docs/ must be on the import path.

mkdocs.yml names `hook`, so `mkdocs build --strict` alone builds everything; `hatnet docs` also serves the result.
`inputs` makes what pages need (tutorials, explorers) and checks equations, code and tests against one another.
`pages` extends the Markdown: formulas, live source code, tables made from the code, and what shared links show.
"""

GENERATED = "build/docs"  # where generated pages and data go, from the root of the checkout
