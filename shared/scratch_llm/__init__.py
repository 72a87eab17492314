"""What lessons and scripts use and no lesson teaches.

storyworld   a grammar (town) that tells short stories, and judges any text
corpora      the English that every Python carries; xz and gzip as rivals
style        the colours with their fixed meaning, and the map of the course
plots        figures and tables of losses that several lessons draw
exercises    the helper behind every exercise
machine      is this machine ready for the course? with advice
cli          command lines whose errors are one line
files        files that are written whole or not at all
runs         run folders, and what is written into them
text         text as it is shown: piece by piece, up to a stop, in tables
gpt2_vocabulary   GPT-2's tokens, where tiktoken's download is blocked
gpt2_files   which weights of GPT-2 there are, and where they lie
download     brings them, and public data sets
chat         talks to a server of models: Ollama's protocol, or OpenAI's
judging      what a judge is asked, and what its answers are worth
stub_chat    such a server in small, for lessons and tests
alpaca       instruction data out of JSON files, and public data
instruct_report   what a run of chapter 7 reports
fast         the same numbers sooner, where PyTorch is slow on a CPU

`pip install -r requirements.txt` installs this package in place.
"""
