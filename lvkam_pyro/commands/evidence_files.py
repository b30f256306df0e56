"""A comparison as files in a folder: tables and pictures."""

from lvkam_pyro.commands.pictures import save_evidence_pictures
from lvkam_pyro.comparison.comparison import EvidenceComparison
from lvkam_pyro.training.runs.files import replace_file, write_atomically
from lvkam_pyro.training.runs.run_folder import RunFolder


def keep_comparison(folder: RunFolder, comparison: EvidenceComparison) -> str:
    """Writes `evidence.csv`, `.json` and `.tex`, the forest plot, and a ladder's curve if any.

    Args:
        folder: Where; it is made if need be.
        comparison: What.

    Returns:
        Where it is kept, as the beginning of a sentence.

    Raises:
        OSError: If a file cannot be written.
    """
    folder.create()
    replace_file(folder.evidence(".csv"), comparison.to_csv)
    replace_file(folder.evidence(".json"), comparison.to_json)
    write_atomically(folder.evidence(".tex"), comparison.to_latex().encode())
    save_evidence_pictures(folder, comparison)
    return f"Kept in {folder.evidence('.csv')}"


def keep_nothing(comparison: EvidenceComparison) -> str:
    """Where several models without a folder of their own are kept: nowhere."""
    return f"Nothing is kept without --out; {len(comparison.rows)} results were finished"
