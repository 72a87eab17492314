"""Fetch GPT-2's weights and public data sets, whole or not at all.

python gpt_download.py gpt2-small
python gpt_download.py gpt2-medium --route openai --to weights
python gpt_download.py sms-spam
"""

from scratch_llm.download import main

if __name__ == "__main__":
    raise SystemExit(main())
