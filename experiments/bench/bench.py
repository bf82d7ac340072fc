"""All fits and reference encodings on the clips, and the tables of what has ended.

    python experiments/bench/bench.py [--clips bunny,cup] [--models nerv] [--references | --report | --choose]

Fits with a result.json are not repeated; a failure is recorded and the rest continues.
"""

import argparse
import sys
from pathlib import Path

from clips import CLIPS, ROOT, is_there
from plan import HERE, Plan, choices, fits, read_plan
from rows import fit_rows, merged, recorded_rows, reference_rows
from runner import run_fits, run_references
from tables import write_choice, write_tables


def main() -> None:
    """Run the requested fits and encodings; exit status 1 if something failed."""
    plan = read_plan()
    options = parse()
    wanted = [name for name, clip in CLIPS.items() if not clip.held_out and is_there(name)]
    clips = chosen(options.clips, list(CLIPS), "clips", wanted)
    models = chosen(options.models, list(plan.models), "models", list(plan.models))
    absent = [name for name in clips if not is_there(name)]
    if absent and not options.report:
        sys.exit(f"--clips {absent[0]}: not there; python experiments/bench/clips.py {absent[0]}")
    failed = 0
    if options.choose:
        searched = choices(plan, options.seconds, clips, models, options.out)
        failed += run_fits(searched, options.seconds, options.jobs)
        write_choice(searched, options.tables)
    elif options.references:
        failed += run_references(clips, options.out)
    elif not options.report:
        failed += 0 if options.no_references else run_references(clips, options.out)
        failed += run_fits(fits(plan, options.seconds, clips, models, options.out), options.seconds, options.jobs)
    if not options.choose:
        report(plan, options.seconds, options.out, options.tables)
    sys.exit(1 if failed else 0)


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each fit")
    parser.add_argument("--jobs", type=int, default=2, help="fits side by side, one thread each")
    parser.add_argument("--clips", help="names, with commas; else all but those held out")
    parser.add_argument("--models", help="names of bench.yaml, with commas; else all")
    parser.add_argument("--out", type=Path, default=ROOT, help="where fits and encodings go")
    parser.add_argument("--tables", type=Path, default=HERE, help="where tables and pictures go")
    parser.add_argument("--choose", action="store_true", help="search learning rates on the clips for choosing")
    parser.add_argument("--report", action="store_true", help="only write the tables of what has ended")
    parser.add_argument("--references", action="store_true", help="the conventional codecs only, no fits")
    parser.add_argument("--no-references", action="store_true", help="no conventional codecs before the fits")
    return parser.parse_args()


def chosen(text: str | None, known: list[str], option: str, otherwise: list[str]) -> list[str]:
    """The names in `text`, `otherwise` if there is none; exits with one line for an unknown name."""
    names = otherwise if text is None else text.split(",")
    for name in names:
        if name not in known:
            sys.exit(f"--{option} {name}: unknown; choose from {', '.join(known)}")
    return names


def report(plan: Plan, seconds: float, out: Path, target: Path) -> None:
    """Write tables and pictures of all finished fits and encodings, and of what the tables have from elsewhere."""
    every = fits(plan, seconds, list(CLIPS), list(plan.models), out)
    here = [*fit_rows(every), *reference_rows(list(CLIPS), out)]
    rows = merged(here, recorded_rows(target / "results.csv"))
    write_tables(sorted(rows, key=lambda row: list(CLIPS).index(row.clip)), plan, target)


if __name__ == "__main__":
    main()
