"""Sphinx's settings for the book; shared/build_book.py runs it.

Nothing on a page comes from elsewhere: formulas become MathML while the book
is built, and the font for them is copied out of the package ziamath.
"""

import re
from importlib.util import find_spec
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

# A name such as ln, and no bracket after it: a small space follows.
FUNCTION = re.compile(
    r"((?<!<msub>)(?<!<msup>)<mi>(?:ln|log|exp|sin|cos)</mi>)"
    r"(?=<m(?:i|n|sub|sup|subsup|frac|row)>)"
)
FONTS = Path(find_spec("ziamath").origin).parent / "fonts"

project = "Scratch LLM"
author = "the authors of Scratch LLM"
language = "en"

extensions = ["myst_nb"]
nb_execution_mode = "off"  # the stored outputs are what the tests compare
nb_merge_streams = True
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the code"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
myst_heading_slug_func = "build_book.jupyter_anchor"
suppress_warnings = ["myst.header"]  # a lesson may go from # to ###

html_theme = "sphinx_book_theme"
html_title = project
templates_path = ["templates"]
html_static_path = ["static", str(FONTS / "STIXTwoMath-Regular.ttf")]
html_css_files = ["book.css"]
html_favicon = "static/icon.svg"
html_js_files = ["book.js"]
html_context = {"default_mode": "auto"}  # light or dark, as the system is
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_math_renderer = "mathml"
html_theme_options = {
    "home_page_in_toc": True,
    "navigation_with_keys": False,
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
}


def mathml(display: str):
    """What writes a formula: display is inline or block."""

    def visit(self, node: nodes.Element) -> None:
        text = convert(node.astext(), display=display)
        text = FUNCTION.sub(r'\1<mspace width="0.17em" />', text)
        if display == "block":
            text = f'<div class="formula">{text}</div>\n'
        self.body.append(text)
        raise nodes.SkipNode

    return visit


def setup(app: Sphinx) -> dict:
    app.add_html_math_renderer(
        "mathml",
        inline_renderers=(mathml("inline"), None),
        block_renderers=(mathml("block"), None),
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}
