"""Write the page about a run again: report.md and report.png.

python src/report.py runs/storyteller-001
"""

import sys
from pathlib import Path

from pipeline.report import write_report
from scratch_llm.cli import ShortParser, run_script


def main(argv: list[str] | None = None) -> int:
    p = ShortParser(prog="report.py", description=__doc__.split("\n")[0])
    p.add_argument("run", type=Path, help="a run folder")
    run = p.parse_args(argv).run
    try:
        written = write_report(run)
    except (ValueError, OSError) as error:
        print(f"report.py: error: {error}", file=sys.stderr)
        return 2
    print("\n".join(map(str, written)))
    return 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
