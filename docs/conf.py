"""Settings of the documentation site: Sphinx with the theme Furo, pages in Markdown. Nothing is loaded from another host."""

project = "vertune"
copyright = "the authors of vertune"
extensions = ["myst_parser"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "vertune"
html_copy_source = False
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["vertune.css"]
suppress_warnings = ["misc.highlighting_failure"]  # files with one JSON object per line are shown as JSON
