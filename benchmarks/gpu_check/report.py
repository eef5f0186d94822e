"""What came of the steps, as a page, as JSON, and both with the logs in one file to send."""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpu_check.judges import Verdict
from benchmarks.gpu_check.steps import Step


@dataclass(frozen=True)
class Outcome:
    """What came of one step."""

    step: Step
    verdict: Verdict | None
    """None where it was not run."""
    words: str
    """What it found, or why it was not run."""
    seconds: float = 0.0
    output: str = ""

    @property
    def state(self) -> str:
        """In two words at most."""
        if self.verdict is None:
            return "not run"
        return "as expected" if self.verdict.ok else "otherwise"


def page(outcomes: Sequence[Outcome], machine: str) -> str:
    """Markdown."""
    rows = [f"| {each.step.name} | {each.state} | {each.words} | {each.seconds:.0f} |" for each in outcomes]
    parts = [
        "# GPU check",
        machine,
        "\n".join(["| step | came out | what it found | s |", "|---|---|---|---|", *rows]),
    ]
    for each in outcomes:
        lines = [f"## {each.step.name}", f"`{' '.join(each.step.command)}`", f"Expected: {each.step.expects}."]
        if each.verdict is not None and not each.verdict.ok:
            lines.append(f"It came out otherwise: {each.words}. {each.step.otherwise}")
        elif each.verdict is None:
            lines.append(f"Not run: {each.words}.")
        if each.output.strip():
            lines.append("```text\n" + each.output.strip()[-20_000:] + "\n```")
        parts.append("\n\n".join(lines))
    return "\n\n".join(parts) + "\n"


def write(outcomes: Sequence[Outcome], machine: str, folder: Path, beside: Sequence[Path]) -> Path:
    """Write the page, the JSON and a zip of them with the files `beside` into `folder`; gives the zip's path."""
    text = page(outcomes, machine)
    (folder / "gpu-check.md").write_text(text, encoding="utf-8")
    facts = [
        {"step": each.step.name, "state": each.state, "words": each.words, "seconds": round(each.seconds, 1)}
        for each in outcomes
    ]
    (folder / "gpu-check.json").write_text(json.dumps({"machine": machine, "steps": facts}, indent=1) + "\n")
    path = folder / "gpu-check.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in (folder / "gpu-check.md", folder / "gpu-check.json", *beside):
            if file.is_file():
                archive.write(file, file.relative_to(folder) if file.is_relative_to(folder) else file.name)
    return path
