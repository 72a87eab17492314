// Opened as a file, a page may not read its neighbours: no excerpts then.
if (location.protocol === "file:") {
  DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
}
