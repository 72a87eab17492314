"""What lessons and scripts use and no lesson teaches.

storyworld   a grammar that tells short stories, and judges any text
style        the colours with their fixed meaning, and the map of the course
plots        figures and tables of losses that several lessons draw
exercises    the helper behind every exercise
download     GPT-2's weights and public data sets

`pip install -r requirements.txt` installs this package in place.
"""
