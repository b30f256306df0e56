"""What `--help` shows of each command in use."""

EXAMPLES: dict[str, tuple[str, ...]] = {
    "fit": (
        "lvkam fit digits",
        "lvkam fit digits --inference elbo --set num_epochs=50 num_latents=8 --out runs/elbo",
        "lvkam fit models/mine.py --inference inference/mine.py --data rings.csv",
        "lvkam fit digits --config settings.toml --dry-run",
    ),
    "resume": ("lvkam resume runs/digits",),
    "evidence": (
        "lvkam evidence runs/digits",
        "lvkam evidence digits --num-data 20 --seed 1",
    ),
    "compare": (
        "lvkam compare digits",
        "lvkam compare digits --inference importance thermodynamic --num-data 20",
        "lvkam compare digits --run runs/other --set thermodynamic.num_chains=4",
        "lvkam compare runs/four runs/eight --inference importance thermodynamic --out compared",
    ),
    "sample": ("lvkam sample digits --num-samples 64",),
    "diagnose": ("lvkam diagnose runs/digits --num-data 5",),
    "new": (
        "lvkam new rings",
        "lvkam new rings --model digits --inference importance",
    ),
    "validate": (
        "lvkam validate --problems banana funnel --estimators Importance SteppingStone",
        "lvkam validate --num-seeds 3 --out validation.md",
    ),
}
"""The lines of each command; all of them parse, which a test sees to."""

_EXIT_CODES = """\
exit codes: 0 done, 1 failed while running, 2 wrong usage or input,
130 stopped by Ctrl-C, 143 by SIGTERM"""


def examples_of(command: str) -> str:
    """The end of a command's help.

    Args:
        command: Its name.

    Returns:
        The examples and what the exit codes mean.

    Example:
        >>> print(examples_of("resume"))
        examples:
          lvkam resume runs/digits
        <BLANKLINE>
        exit codes: 0 done, 1 failed while running, 2 wrong usage or input,
        130 stopped by Ctrl-C, 143 by SIGTERM
    """
    lines = "\n".join(f"  {line}" for line in EXAMPLES[command])
    return f"examples:\n{lines}\n\n{_EXIT_CODES}"
